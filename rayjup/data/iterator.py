"""Iterating over a dataset: rows, batches, tensors."""

from __future__ import annotations

import abc
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block import convert
from rayjup.data.physical.batching import batches, numpy_batches, shuffled

if TYPE_CHECKING:
    from rayjup.data.context import DataContext
    from rayjup.data.dataset import Dataset, MaterializedDataset
    from rayjup.data.schema import Schema


class _Again:
    """An iterable that starts anew each time it is iterated over."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()


class DataIterator(abc.ABC):
    """Gives the rows of a dataset, again each time it is asked: one epoch after another. Can be sent to
    tasks and actors."""

    @abc.abstractmethod
    def _blocks(self) -> Iterator[pa.Table]:
        """One epoch: the blocks as tables in this process."""

    @property
    def _remote(self) -> bool:
        """True if blocks come from elsewhere, so that preparing ahead is worth a thread."""
        return True

    @abc.abstractmethod
    def schema(self) -> Schema | None:
        """Names and types of the columns."""

    @abc.abstractmethod
    def stats(self) -> str:
        """What the last epoch did."""

    @abc.abstractmethod
    def get_context(self) -> DataContext:
        """The settings of the dataset."""

    def materialize(self) -> MaterializedDataset:
        """All rows of one epoch as a dataset whose blocks exist."""
        from rayjup.data.read_api import from_arrow

        return from_arrow(list(self._blocks()))

    def iter_rows(self) -> Iterable[dict[str, Any]]:
        """The rows as dicts."""

        def rows() -> Iterator[dict[str, Any]]:
            for table in self._blocks():
                yield from convert.iter_rows(table)

        return _Again(rows)

    def iter_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        batch_format: str | None = "default",
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterable[Any]:
        """The rows in batches; parameters as :meth:`rayjup.data.Dataset.iter_batches`."""
        return self._iter_batches(
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            batch_format=batch_format,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
        )

    def _iter_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        batch_format: str | None = "default",
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        collate_fn: Callable[[Any], Any] | None = None,
        finalize: Callable[[Any], Any] | None = None,
    ) -> Iterable[Any]:
        convert.check_format(batch_format)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"iter_batches: batch_size={batch_size} must be at least 1, or None.")
        if prefetch_batches < 0:
            raise ValueError(f"iter_batches: prefetch_batches={prefetch_batches} must not be negative.")
        if local_shuffle_buffer_size is not None and local_shuffle_buffer_size < 1:
            raise ValueError(
                f"iter_batches: local_shuffle_buffer_size={local_shuffle_buffer_size} must be positive."
            )

        def made() -> Iterator[Any]:
            tables = self._blocks()
            as_arrays = batch_format in ("default", "numpy")
            if as_arrays and local_shuffle_buffer_size is None:
                found: Iterator[Any] = numpy_batches(tables, batch_size, drop_last)
                yield from found if collate_fn is None else map(collate_fn, found)
                return
            if local_shuffle_buffer_size is not None:
                parts = shuffled(tables, batch_size, local_shuffle_buffer_size, local_shuffle_seed, drop_last)
            else:
                parts = batches(tables, batch_size, drop_last)
            for table in parts:
                batch = convert.to_batch(table, batch_format)
                yield batch if collate_fn is None else collate_fn(batch)

        def epoch() -> Iterator[Any]:
            out = ahead(made, prefetch_batches) if prefetch_batches and self._remote else made()
            return out if finalize is None else map(finalize, out)

        return _Again(epoch)

    def iter_torch_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        device: Any = "auto",
        collate_fn: Any = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        pin_memory: bool = False,
    ) -> Iterable[Any]:
        """The rows in batches of torch tensors: a dict by column.

        Parameters
        ----------
        dtypes : torch.dtype or dict, optional
            For all columns, or by column.
        device : str or torch.device
            ``"auto"``: that of the training worker, else the CPU.
        collate_fn : callable, optional
            Makes what it likes of a batch (dict of arrays, or what the base class of a ``CollateFn`` says).
        pin_memory : bool
            In pinned memory, for faster copies to a GPU.

        Examples
        --------
        >>> import rayjup
        >>> [b["id"].tolist() for b in rayjup.data.range(3).iter_torch_batches(batch_size=2)]
        [[0, 1], [2]]
        """
        from rayjup.data.tensors import torch_options

        if dtypes is not None and collate_fn is not None:
            raise ValueError("iter_torch_batches: give collate_fn or dtypes, not both.")
        batch_format, collate, finalize = torch_options(dtypes, device, collate_fn, pin_memory)
        return self._iter_batches(
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            batch_format=batch_format,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
            collate_fn=collate,
            finalize=finalize,
        )

    def iter_tf_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterable[Any]:
        """The rows in batches of TensorFlow tensors: a dict by column. Needs ``tensorflow``."""
        from rayjup.data.tensors import to_tf

        return self._iter_batches(
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
            collate_fn=lambda batch: to_tf(batch, dtypes),
        )

    def iter_jax_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        collate_fn: Any = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        synchronize_batches: bool = False,
        paddings: Any = None,
    ) -> Iterable[Any]:
        """The rows in batches of JAX arrays: a dict by column. Needs ``jax``.

        Parameters
        ----------
        paddings : number or dict, optional
            Ragged columns are filled up with this value.
        """
        from rayjup.data.tensors import jax_collate

        return self._iter_batches(
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
            collate_fn=jax_collate(dtypes, collate_fn, paddings),
        )

    def to_tf(
        self,
        feature_columns: str | list[str],
        label_columns: str | list[str],
        *,
        additional_columns: str | list[str] | None = None,
        prefetch_batches: int = 1,
        batch_size: int = 1,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        feature_type_spec: Any = None,
        label_type_spec: Any = None,
        additional_type_spec: Any = None,
    ) -> Any:
        """A ``tf.data.Dataset`` of (features, labels) or (features, labels, additional). Needs
        ``tensorflow``."""
        from rayjup.data.tensors import tf_dataset

        return tf_dataset(
            self,
            feature_columns,
            label_columns,
            additional_columns,
            {
                "prefetch_batches": prefetch_batches,
                "batch_size": batch_size,
                "drop_last": drop_last,
                "local_shuffle_buffer_size": local_shuffle_buffer_size,
                "local_shuffle_seed": local_shuffle_seed,
            },
            (feature_type_spec, label_type_spec, additional_type_spec),
        )


class DatasetIterator(DataIterator):
    """Iterates over a whole dataset."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def _blocks(self) -> Iterator[pa.Table]:
        return self._dataset._tables()

    @property
    def _remote(self) -> bool:
        from rayjup.data.logical.rules import optimize
        from rayjup.data.physical.placement import runs_here

        return not runs_here(optimize(self._dataset._op), self._dataset.context)

    def schema(self) -> Schema | None:
        """Names and types of the columns."""
        return self._dataset.schema()

    def stats(self) -> str:
        """What the last epoch did."""
        return self._dataset.stats()

    def get_context(self) -> DataContext:
        """The settings of the dataset."""
        return self._dataset.context

    def materialize(self) -> MaterializedDataset:
        """The dataset with its blocks kept."""
        return self._dataset.materialize()

    def __repr__(self) -> str:
        return f"DataIterator({self._dataset!r})"


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(make: Callable[[], Iterator[Any]], count: int) -> Iterator[Any]:
    """What an iterator gives, prepared ``count`` items ahead by a thread."""
    items: queue.Queue[Any] = queue.Queue(maxsize=max(1, count))
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                items.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        source = make()
        try:
            for item in source:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:  # noqa: BLE001 - raised where it is iterated over
            put(_End(error))
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="rayjup-data-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        thread.join(timeout=10)
