"""Rows and batches taken out of a dataset."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block import convert
from rayjup.data.block.bundle import Bundle
from rayjup.data.block.unify import concat
from rayjup.data.logical.base import Op, Remote
from rayjup.data.logical.rearrange import Limit

if TYPE_CHECKING:
    from rayjup.data.context import DataContext
    from rayjup.data.dataset import Dataset, MaterializedDataset
    from rayjup.data.iterator import DataIterator


class ConsumeMixin:
    """Rows and batches taken out of a dataset."""

    _op: Op
    _context: DataContext
    _with: Callable[[Op], Dataset]
    _bundles: Callable[..., Iterator[Bundle]]
    _tables: Callable[[], Iterator[pa.Table]]
    materialize: Callable[[], MaterializedDataset]
    count: Callable[[], int]

    def _first(self, limit: int | None) -> pa.Table:
        """The first rows in one table."""
        if limit is None:
            return concat(list(self._tables()))
        part = self._with(Limit((self._op,), limit))
        out = concat(list(part._tables()))
        self._stats = part._stats
        return out

    def take(self, limit: int = 20) -> list[dict[str, Any]]:
        """The first rows.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.range(10).take(2)
        [{'id': 0}, {'id': 1}]
        """
        if limit < 0:
            raise ValueError(f"take: {limit} rows are not possible.")
        return list(convert.iter_rows(self._first(limit)))

    def take_all(self, limit: int | None = None) -> list[dict[str, Any]]:
        """All rows; an error if there are more than ``limit``."""
        rows = list(convert.iter_rows(self._first(None if limit is None else limit + 1)))
        if limit is not None and len(rows) > limit:
            raise ValueError(
                f"take_all: the dataset has more than {limit} rows; use take({limit}) or a higher limit."
            )
        return rows

    def take_batch(self, batch_size: int = 20, *, batch_format: str | None = "default") -> Any:
        """The first rows as a batch."""
        convert.check_format(batch_format)
        table = self._first(batch_size)
        if not table.num_rows:
            raise ValueError("take_batch: the dataset has no rows.")
        return convert.to_batch(table, batch_format)

    def show(self, limit: int = 20) -> None:
        """Print the first rows."""
        for row in self.take(limit):
            sys.stdout.write(f"{row}\n")

    def iterator(self) -> DataIterator:
        """An iterator that runs the plan each time it is asked for rows or batches."""
        from rayjup.data.iterator import DatasetIterator

        return DatasetIterator(self)  # type: ignore[arg-type]

    def iter_rows(self) -> Iterable[dict[str, Any]]:
        """The rows, one after another.

        Examples
        --------
        >>> import rayjup
        >>> [row["id"] for row in rayjup.data.range(3).iter_rows()]
        [0, 1, 2]
        """
        return self.iterator().iter_rows()

    def iter_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        batch_format: str | None = "default",
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        _collate_fn: Callable[[Any], Any] | None = None,
    ) -> Iterable[Any]:
        """The rows in batches.

        Parameters
        ----------
        prefetch_batches : int
            So many are prepared ahead (in a thread) where blocks come from the cluster.
        batch_size : int or None
            Rows per batch; None: the rows of a block.
        batch_format : str or None
            ``"numpy"`` or ``"default"``, ``"pandas"``, ``"pyarrow"``, ``"polars"``, ``"torch"``.
        drop_last : bool
            Leave out the last batch if it has fewer rows.
        local_shuffle_buffer_size, local_shuffle_seed
            Draw rows at random from a buffer of at least so many.

        Examples
        --------
        >>> import rayjup
        >>> [batch["id"].tolist() for batch in rayjup.data.range(5).iter_batches(batch_size=2)]
        [[0, 1], [2, 3], [4]]
        """
        return self.iterator()._iter_batches(
            prefetch_batches=prefetch_batches,
            batch_size=batch_size,
            batch_format=batch_format,
            drop_last=drop_last,
            local_shuffle_buffer_size=local_shuffle_buffer_size,
            local_shuffle_seed=local_shuffle_seed,
            collate_fn=_collate_fn,
        )

    def iter_torch_batches(self, **options: Any) -> Iterable[Any]:
        """The rows in batches of torch tensors; parameters as
        :meth:`rayjup.data.DataIterator.iter_torch_batches`."""
        return self.iterator().iter_torch_batches(**options)

    def iter_tf_batches(self, **options: Any) -> Iterable[Any]:
        """The rows in batches of TensorFlow tensors; see :meth:`rayjup.data.DataIterator.iter_tf_batches`."""
        return self.iterator().iter_tf_batches(**options)

    def iter_jax_batches(self, **options: Any) -> Iterable[Any]:
        """The rows in batches of JAX arrays; see :meth:`rayjup.data.DataIterator.iter_jax_batches`."""
        return self.iterator().iter_jax_batches(**options)

    # ------------------------------------------------------------------------------------- whole

    def to_pandas(self, limit: int | None = None) -> Any:
        """All rows in one DataFrame; an error if there are more than ``limit``."""
        table = self._first(None if limit is None else limit + 1)
        if limit is not None and table.num_rows > limit:
            raise ValueError(
                f"to_pandas: the dataset has more than {limit} rows; use limit({limit}), or give a "
                "higher limit."
            )
        return convert.to_pandas(table)

    def to_arrow_refs(self) -> list[Any]:
        """References to Arrow tables, one per block."""
        return [bundle.ref() for bundle in self.materialize()._bundles()]

    get_internal_block_refs = to_arrow_refs

    def to_pandas_refs(self) -> list[Any]:
        """References to DataFrames, one per block."""
        import rayjup

        return [rayjup.put(convert.to_pandas(b.table())) for b in self.materialize()._bundles()]

    def to_numpy_refs(self, *, column: str | None = None) -> list[Any]:
        """References to arrays (of one column) or dicts of arrays, one per block."""
        import rayjup
        from rayjup.data.block.accessor import BlockAccessor

        return [
            rayjup.put(BlockAccessor.for_block(b.table()).to_numpy(column))
            for b in self.materialize()._bundles()
        ]

    def iter_internal_ref_bundles(self) -> Iterator[Bundle]:
        """The blocks where they lie, with what is known of them."""
        return self._bundles()

    # ------------------------------------------------------------------------------------- sinks

    def write_datasink(
        self,
        datasink: Any,
        *,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Give all blocks to a sink.

        Parameters
        ----------
        datasink : Datasink
        ray_remote_args : dict, optional
            What each task that writes asks for.
        concurrency : int, optional
            So many tasks at a time.
        """
        import uuid

        import cloudpickle

        from rayjup.data._dataset_transform import remote_of
        from rayjup.data.datasource.datasink import WriteResult
        from rayjup.data.logical.estimate import known_schema
        from rayjup.data.logical.write import Write

        remote = remote_of(None, None, None, {}, ray_remote_args) if ray_remote_args else Remote()
        plan = self._op
        if self._context.checkpoint_config is not None:
            from rayjup.data.checkpoint import resumed

            plan, datasink = resumed(plan, datasink, self._context)
        write = Write((plan,), datasink, uuid.uuid4().hex, remote, concurrency)
        if datasink.on_write_start.__code__.co_argcount > 1:
            datasink.on_write_start(known_schema(self._op))
        else:
            datasink.on_write_start()
        if getattr(datasink, "_skip", False):
            return
        try:
            run = self._with(write)
            if not datasink.supports_distributed_writes:
                run = self.materialize()._with(write)
                run._context = run._context.copy()
                run._context.local_max_bytes = sys.maxsize
            rows = size = 0
            returns = []
            for table in run._tables():
                for row in table.to_pylist():
                    rows += row["num_rows"]
                    size += row["size_bytes"]
                    returns.append(cloudpickle.loads(row["write_return"]))
            self._stats = run._stats
            datasink.on_write_complete(WriteResult(rows, size, returns))
        except Exception as error:
            datasink.on_write_failed(error)
            raise

    def write_parquet(
        self,
        path: str,
        *,
        partition_cols: list[str] | None = None,
        filesystem: Any = None,
        catalog: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: Any = None,
        arrow_parquet_args_fn: Callable[[], dict[str, Any]] | None = None,
        min_rows_per_file: int | None = None,
        max_rows_per_file: int | None = None,
        min_bytes_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        num_rows_per_file: int | None = None,
        mode: Any = "append",
        **arrow_parquet_args: Any,
    ) -> None:
        """Write Parquet files, one per block, into a directory.

        Parameters
        ----------
        path : str
            A directory, or a URI of one.
        partition_cols : list of str, optional
            Rows with equal values go to a directory of their own (``column=value``).
        min_rows_per_file, max_rows_per_file, min_bytes_per_file
            How much a file holds.
        mode : SaveMode
            What to do with files that are there: ``append``, ``overwrite``, ``ignore``, ``error``.
        arrow_parquet_args_fn, **arrow_parquet_args
            Arguments of ``pyarrow.parquet.write_table``.

        Examples
        --------
        >>> import tempfile, rayjup
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rayjup.data.range(3).write_parquet(folder)
        ...     rayjup.data.read_parquet(folder).count()
        3
        """
        from rayjup.data.datasource.parquet_sink import ParquetDatasink

        self.write_datasink(
            ParquetDatasink(
                path,
                partition_cols=partition_cols,
                filesystem=filesystem,
                try_create_dir=try_create_dir,
                open_stream_args=arrow_open_stream_args,
                filename_provider=filename_provider,
                arrow_parquet_args_fn=arrow_parquet_args_fn,
                arrow_parquet_args=arrow_parquet_args,
                min_rows_per_file=min_rows_per_file or num_rows_per_file,
                max_rows_per_file=max_rows_per_file,
                min_bytes_per_file=min_bytes_per_file,
                mode=mode,
            ),
            ray_remote_args=ray_remote_args,
            concurrency=concurrency,
        )
