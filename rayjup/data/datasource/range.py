"""Consecutive numbers, as a column of integers or of tensors."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.metadata import BlockMetadata
from rayjup.data.datasource.datasource import Datasource, ReadTask

_STEP = 4 << 20


class RangeDatasource(Datasource):
    """The numbers 0 to ``n - 1``.

    Parameters
    ----------
    n : int
    column : str
        Name of the column.
    shape : tuple of int, optional
        Of tensors filled with the number; None: the number itself.
    """

    native = True

    def __init__(self, n: int, column: str = "id", shape: tuple[int, ...] | None = None) -> None:
        self.n, self.column, self.shape = int(n), column, shape

    @property
    def _row_bytes(self) -> int:
        return 8 * int(np.prod(self.shape)) if self.shape is not None else 8

    def get_name(self) -> str:
        """The name shown in plans and statistics."""
        return "Range"

    def estimate_inmemory_data_size(self) -> int | None:
        """Eight bytes per number."""
        return self.n * self._row_bytes

    def count_rows(self) -> int:
        """The number of rows."""
        return self.n

    def known_schema(self) -> pa.Schema:
        """The schema."""
        return _table(0, 1, self.column, self.shape).schema

    def scan_polars(self) -> Any:
        """As a Polars query."""
        if self.shape is not None:
            return None
        import polars as pl

        return pl.LazyFrame({self.column: pl.int_range(self.n, eager=True)})

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Equal parts."""
        schema = self.known_schema()
        edges = np.linspace(0, self.n, max(1, min(parallelism, self.n)) + 1).astype(np.int64).tolist()
        out = []
        for start, end in itertools.pairwise(edges):
            if per_task_row_limit is not None:
                end = min(end, start + per_task_row_limit)
            meta = BlockMetadata(end - start, (end - start) * self._row_bytes, None)
            read = functools.partial(_numbers, start, end, self.column, self.shape, self._row_bytes)
            out.append(ReadTask(read, meta, schema, per_task_row_limit))
        return out


def _numbers(
    start: int, end: int, column: str, shape: tuple[int, ...] | None, row: int
) -> Iterable[pa.Table]:
    rows = max(1, 8 * _STEP // max(1, row))
    for low in range(start, end, rows) if end > start else [start]:
        yield _table(low, min(end, low + rows), column, shape)


def _table(start: int, end: int, column: str, shape: tuple[int, ...] | None) -> pa.Table:
    numbers = np.arange(start, end, dtype=np.int64)
    if shape is None:
        return pa.table({column: pa.array(numbers)})
    from rayjup.data.extensions import ArrowTensorArray

    full = np.broadcast_to(numbers.reshape((-1,) + (1,) * len(shape)), (end - start, *shape))
    return pa.table({column: ArrowTensorArray.from_numpy(np.ascontiguousarray(full), column)})
