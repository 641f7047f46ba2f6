"""Statistics of one column, with or without its nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.block.convert import column_to_numpy, to_column


class BlockColumnAccessor:
    """Work on one column of a block.

    Nulls either don't count (``ignore_nulls=True``) or make the result null; NaN is a number here.
    """

    def __init__(self, col: Any) -> None:
        column = to_column(col)
        self._column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])

    @staticmethod
    def for_column(col: Any) -> BlockColumnAccessor:
        """An accessor for a column of any kind."""
        return BlockColumnAccessor(col)

    def _numbers(self) -> pa.ChunkedArray:
        return self._column.cast(pa.float64()) if pa.types.is_null(self._column.type) else self._column

    def _null(self, ignore_nulls: bool) -> bool:
        nulls = self._column.null_count
        return nulls == len(self._column) or (bool(nulls) and not ignore_nulls)

    @staticmethod
    def _out(value: pa.Scalar, as_py: bool) -> Any:
        return value.as_py() if as_py else value

    def count(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """How many values."""
        return self._out(pc.count(self._column, mode="only_valid" if ignore_nulls else "all"), as_py)

    def _reduce(self, function: Any, ignore_nulls: bool, as_py: bool) -> Any:
        if self._null(ignore_nulls):
            return None
        return self._out(function(self._numbers()), as_py)

    def sum(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The sum; None without values."""
        return self._reduce(pc.sum, ignore_nulls, as_py)

    def min(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The least value; None without values."""
        return self._reduce(pc.min, ignore_nulls, as_py)

    def max(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The greatest value; None without values."""
        return self._reduce(pc.max, ignore_nulls, as_py)

    def mean(self, *, ignore_nulls: bool, as_py: bool = True) -> Any:
        """The mean; None without values."""
        return self._reduce(pc.mean, ignore_nulls, as_py)

    def sum_of_squared_diffs_from_mean(
        self, *, ignore_nulls: bool, mean: Any = None, as_py: bool = True
    ) -> Any:
        """The sum of squared differences from the mean, or from ``mean`` where it is given."""
        if self._null(ignore_nulls):
            return None
        numbers = self._numbers().cast(pa.float64())
        if mean is None:
            mean = pc.mean(numbers)
        return self._out(pc.sum(pc.power(pc.subtract(numbers, mean), 2)), as_py)

    def quantile(self, *, q: float, ignore_nulls: bool, as_py: bool = True) -> Any:
        """A quantile, interpolated linearly."""
        if self._null(ignore_nulls):
            return None
        return self._out(pc.quantile(self._numbers(), q=q)[0], as_py)

    def unique(self) -> pa.Array:
        """Each value once."""
        return pc.unique(self._column)

    def value_counts(self) -> dict[str, list[Any]]:
        """``{"values": [...], "counts": [...]}``, nulls included."""
        counts = pc.value_counts(self._column)
        return {"values": counts.field("values").to_pylist(), "counts": counts.field("counts").to_pylist()}

    def hash(self) -> pa.Array:
        """64-bit hashes, equal for equal values in every process."""
        import polars

        hashes = polars.from_arrow(pa.table({"c": self._column})).hash_rows(seed=0)
        return hashes.to_arrow()

    def flatten(self) -> pa.ChunkedArray:
        """The elements of the lists, one after another."""
        return pc.list_flatten(self._column)

    def dropna(self) -> pa.ChunkedArray:
        """Without nulls and NaN."""
        column = pc.drop_null(self._column)
        if pa.types.is_floating(column.type):
            column = column.filter(pc.invert(pc.is_nan(column)))
        return column

    def is_composed_of_lists(self) -> bool:
        """True if each value is a list."""
        kind = self._column.type
        return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)

    def to_pylist(self) -> list[Any]:
        """Python values."""
        return self._column.to_pylist()

    def to_numpy(self, zero_copy_only: bool = False) -> np.ndarray:
        """An array; with ``zero_copy_only`` an error where that takes a copy."""
        if zero_copy_only:
            if self._column.num_chunks != 1:
                raise ValueError(f"the column has {self._column.num_chunks} chunks: an array takes a copy.")
            return self._column.chunk(0).to_numpy(zero_copy_only=True)
        return column_to_numpy(self._column)
