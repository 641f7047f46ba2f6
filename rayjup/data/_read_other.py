"""Datasets made of what other libraries hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.datasource.pieces import PiecesDatasource, need
from rayjup.data.read_options import read

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset, MaterializedDataset

_ROWS = 4096


def from_huggingface(
    dataset: Any,
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """A dataset of Hugging Face's ``datasets``; its Arrow memory is used as it is.

    Parameters
    ----------
    dataset
        A ``datasets.Dataset``, or a ``datasets.IterableDataset``, which is read as it streams.
    parallelism, concurrency, override_num_blocks
        For the tasks that read a stream.
    """
    datasets = need("datasets", "from_huggingface")
    if isinstance(dataset, datasets.DatasetDict):
        raise TypeError(
            f"from_huggingface takes one split; this is a DatasetDict with {', '.join(dataset)}. "
            f"Give dataset[{next(iter(dataset), 'train')!r}]."
        )
    if isinstance(dataset, datasets.IterableDataset):
        options = {
            "parallelism": parallelism,
            "concurrency": concurrency,
            "override_num_blocks": override_num_blocks,
        }
        return read(_StreamDatasource(dataset), options, "from_huggingface")
    if not isinstance(dataset, datasets.Dataset):
        raise TypeError(f"from_huggingface takes a datasets.Dataset, not a {type(dataset).__name__}.")
    from rayjup.data.read_api import from_arrow

    if dataset._indices is not None:
        dataset = dataset.flatten_indices()
    table = dataset.with_format("arrow")[:]
    count = override_num_blocks if override_num_blocks is not None else parallelism
    return from_arrow(table.replace_schema_metadata(None), override_num_blocks=count if count > 0 else None)


class _StreamDatasource(PiecesDatasource):
    """A dataset that streams; a shard per piece."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def get_name(self) -> str:
        """For plans."""
        return "FromHuggingface"

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def pieces(self, parallelism: int) -> Sequence[int]:
        """The shards."""
        return list(range(self._dataset.num_shards))

    def read_piece(self, piece: int) -> Iterator[pa.Table]:
        """The rows of a shard."""
        shard = self._dataset.shard(self._dataset.num_shards, piece)
        yield from shard.with_format("arrow").iter(batch_size=_ROWS)


def from_torch(dataset: Any, local_read: bool = False) -> Dataset:
    """The elements of a dataset of PyTorch, in column ``item``.

    Parameters
    ----------
    dataset
        A ``torch.utils.data.Dataset``, with or without indices.
    local_read
        Whether it can only be read on this machine.
    """
    if not hasattr(dataset, "__getitem__") and not hasattr(dataset, "__iter__"):
        raise TypeError(f"from_torch takes a torch.utils.data.Dataset, not a {type(dataset).__name__}.")
    return read(_TorchDatasource(dataset, local_read), {}, "from_torch")


class _TorchDatasource(PiecesDatasource):
    """A dataset of PyTorch; one with indices in ranges of them."""

    def __init__(self, dataset: Any, local_read: bool) -> None:
        self._dataset, self._local = dataset, local_read

    def get_name(self) -> str:
        """For plans."""
        return "FromTorch"

    @property
    def supports_distributed_reads(self) -> bool:
        """Unless it can only be read here."""
        return not self._local

    def _length(self) -> int | None:
        import torch

        streams = isinstance(self._dataset, torch.utils.data.IterableDataset)
        return None if streams or not hasattr(self._dataset, "__getitem__") else len(self._dataset)

    def estimate_inmemory_data_size(self) -> int | None:
        """By the size of the first element."""
        length = self._length()
        if not length:
            return None
        return length * max(1, self._table([self._dataset[0]]).nbytes)

    def pieces(self, parallelism: int) -> Sequence[tuple[int, int] | None]:
        """Ranges of indices."""
        length = self._length()
        if length is None:
            return [None]
        step = max(1, -(-length // max(1, parallelism)))
        return [(start, min(start + step, length)) for start in range(0, length, step)] or [(0, 0)]

    def piece_rows(self, piece: tuple[int, int] | None) -> int | None:
        """The length of the range."""
        return None if piece is None else piece[1] - piece[0]

    def read_piece(self, piece: tuple[int, int] | None) -> Iterator[pa.Table]:
        """The elements of a range."""
        items: list[Any] = []
        elements = iter(self._dataset) if piece is None else (self._dataset[i] for i in range(*piece))
        for element in elements:
            items.append(element)
            if len(items) >= _ROWS:
                yield self._table(items)
                items = []
        if items:
            yield self._table(items)

    @staticmethod
    def _table(items: list[Any]) -> pa.Table:
        from rayjup.data.block.convert import from_values

        return pa.table({"item": from_values([_plain(item) for item in items], "item")})


def _plain(item: Any) -> Any:
    """An element without tensors inside tuples, which Arrow would not know."""
    if isinstance(item, (tuple, list)):
        return type(item)(_plain(part) for part in item) if type(item) in (tuple, list) else item
    if hasattr(item, "detach"):
        array = item.detach().cpu().numpy()
        return array.item() if array.ndim == 0 else array
    return item


def from_tf(dataset: Any) -> MaterializedDataset:
    """The elements of a ``tf.data.Dataset``; a tuple becomes a column ``item``."""
    from rayjup.data.read_api import from_items

    return from_items(list(dataset.as_numpy_iterator()))


def from_dask(df: Any) -> MaterializedDataset:
    """A dataset of a Dask DataFrame, a block per partition."""
    from rayjup.data.read_api import from_pandas

    dask = need("dask", "from_dask")
    return from_pandas(list(dask.compute(*df.to_delayed())))


def from_spark(
    df: Any, *, parallelism: int | None = None, override_num_blocks: int | None = None
) -> MaterializedDataset:
    """A dataset of a Spark DataFrame, by way of Arrow."""
    from rayjup.data.read_api import from_arrow

    if hasattr(df, "toArrow"):
        table = df.toArrow()
        return from_arrow(table, override_num_blocks=override_num_blocks or parallelism)
    from rayjup.data.read_api import from_pandas

    return from_pandas(df.toPandas(), override_num_blocks=override_num_blocks or parallelism)


def from_modin(df: Any) -> MaterializedDataset:
    """A dataset of a Modin DataFrame."""
    from rayjup.data.read_api import from_pandas

    return from_pandas(df._to_pandas() if hasattr(df, "_to_pandas") else df.modin.to_pandas())


def from_mars(df: Any) -> MaterializedDataset:
    """A dataset of a Mars DataFrame."""
    from rayjup.data.read_api import from_pandas

    return from_pandas(df.execute().to_pandas())


def from_daft(df: Any) -> Dataset:
    """A dataset of a Daft DataFrame."""
    from rayjup.data.read_api import from_arrow

    return from_arrow(df.to_arrow())
