"""Functions that make tensors of batches, for ``iter_torch_batches(collate_fn=...)``."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pandas  # noqa: F401
    import pyarrow as pa

DataBatchT = TypeVar("DataBatchT")

__all__ = [
    "ArrowBatchCollateFn",
    "CollateFn",
    "DefaultCollateFn",
    "NumpyBatchCollateFn",
    "PandasBatchCollateFn",
    "is_tensor_batch_type",
]


class CollateFn(abc.ABC, Generic[DataBatchT]):
    """Makes tensors of a batch; subclass one of the kinds below and define ``__call__``."""

    @abc.abstractmethod
    def __call__(self, batch: DataBatchT) -> Any:
        """The tensors."""


class ArrowBatchCollateFn(CollateFn["pa.Table"]):
    """Is given Arrow tables."""


class NumpyBatchCollateFn(CollateFn[dict[str, np.ndarray]]):
    """Is given dicts of arrays."""


class PandasBatchCollateFn(CollateFn["pandas.DataFrame"]):
    """Is given DataFrames."""


class DefaultCollateFn(ArrowBatchCollateFn):
    """A tensor per column.

    Parameters
    ----------
    dtypes
        The type of all tensors, or by column.
    combine_chunks
        Whether a column is one tensor, instead of a list with one per chunk.
    num_workers
        How many columns are converted at a time; 0 or 1 for no threads.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rayjup.data.collate_fn import DefaultCollateFn
    >>> DefaultCollateFn(combine_chunks=True)(pa.table({"x": [1, 2]}))["x"]
    tensor([1, 2])
    """

    _DEFAULT_NUM_WORKERS = 4

    def __init__(
        self, dtypes: Any = None, combine_chunks: bool = False, num_workers: int = _DEFAULT_NUM_WORKERS
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers={num_workers} is negative.")
        self.dtypes, self.combine_chunks, self.num_workers = dtypes, combine_chunks, num_workers
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, batch: pa.Table) -> dict[str, Any]:
        """A tensor (or a list of them) per column."""
        names = batch.column_names
        columns = [batch.column(place) for place in range(batch.num_columns)]
        if self.num_workers < 2 or len(names) < 2:
            return dict(zip(names, map(self._column, names, columns), strict=True))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_workers)
        return dict(zip(names, self._pool.map(self._column, names, columns), strict=True))

    def _column(self, name: str, column: Any) -> Any:
        from rayjup.data.block.convert import column_to_numpy

        dtype = self.dtypes.get(name) if isinstance(self.dtypes, Mapping) else self.dtypes
        if self.combine_chunks:
            return self._tensor(name, column_to_numpy(column), dtype)
        return [self._tensor(name, column_to_numpy(chunk), dtype) for chunk in column.chunks]

    @staticmethod
    def _tensor(name: str, array: np.ndarray, dtype: Any) -> Any:
        import torch

        if array.dtype == object or array.dtype.kind in "USMm":
            raise TypeError(
                f"Column {name!r} holds {array.dtype}, which is no tensor: drop it before, "
                "or give another collate_fn."
            )
        if array.dtype in (np.uint16, np.uint32):
            array = array.astype(np.int64)
        tensor = torch.as_tensor(array if array.flags.writeable else array.copy())
        return tensor if dtype is None else tensor.to(dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}


def is_tensor_batch_type(batch: Any) -> bool:
    """Whether it is a tensor, a sequence of tensors, or a mapping to such."""
    import torch

    if isinstance(batch, torch.Tensor):
        return True
    if isinstance(batch, Mapping):
        return all(isinstance(key, str) and is_tensor_batch_type(value) for key, value in batch.items())
    if isinstance(batch, (list, tuple)):
        return all(isinstance(value, torch.Tensor) or is_tensor_batch_type(value) for value in batch)
    return False
