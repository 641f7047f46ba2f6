"""Where data comes from: the interface of sources."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.metadata import BlockMetadata

if TYPE_CHECKING:
    from rayjup.data.context import DataContext
    from rayjup.data.expressions import Expr


def undefined(instance: object, method: str) -> NotImplementedError:
    """The error of a method that subclasses have to define."""
    return NotImplementedError(f"{type(instance).__name__} must define {method}.")


class ReadTask:
    """A part of a source: called (anywhere) it yields the blocks of that part.

    Parameters
    ----------
    read_fn : callable
        Without arguments; returns an iterable of blocks (Arrow tables or DataFrames).
    metadata : BlockMetadata
        What is known before reading.
    schema : pyarrow.Schema, optional
    per_task_row_limit : int, optional
        Read no more rows than these.
    """

    def __init__(
        self,
        read_fn: Callable[[], Iterable[Any]],
        metadata: BlockMetadata,
        schema: pa.Schema | None = None,
        per_task_row_limit: int | None = None,
    ) -> None:
        self._read_fn = read_fn
        self._metadata = metadata
        self._schema = schema
        self._per_task_row_limit = per_task_row_limit

    @property
    def metadata(self) -> BlockMetadata:
        """What is known before reading."""
        return self._metadata

    @property
    def schema(self) -> pa.Schema | None:
        """The schema, where it is known before reading."""
        return self._schema

    @property
    def read_fn(self) -> Callable[[], Iterable[Any]]:
        """What reads."""
        return self._read_fn

    @property
    def per_task_row_limit(self) -> int | None:
        """The most rows it reads."""
        return self._per_task_row_limit

    def __call__(self) -> Iterable[Any]:
        result = self._read_fn()
        if isinstance(result, (pa.Table, pa.RecordBatch)) or not hasattr(result, "__iter__"):
            raise TypeError(
                f"the function of a ReadTask must return an iterable of blocks, not a "
                f"{type(result).__name__}. Return [table], or yield tables."
            )
        if self._per_task_row_limit is None:
            yield from result
            return
        left = self._per_task_row_limit
        for block in result:
            if left <= 0:
                return
            rows = len(block)
            yield block if rows <= left else block[:left]
            left -= rows


class Datasource:
    """Where data comes from. Subclasses give read tasks; ``read_datasource`` makes a dataset of one.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rayjup.data.block import BlockMetadata
    >>> class Squares(Datasource):
    ...     def __init__(self, n):
    ...         self.n = n
    ...     def estimate_inmemory_data_size(self):
    ...         return 8 * self.n
    ...     def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
    ...         def read(start, end):
    ...             yield pa.table({"x": [i * i for i in range(start, end)]})
    ...         return [ReadTask(lambda: read(0, self.n), BlockMetadata(self.n, 8 * self.n, None))]
    """

    _projection: dict[str, str] | None = None
    _predicate: Any = None

    def get_name(self) -> str:
        """The name shown in plans and statistics: the class without ``Datasource``."""
        name = type(self).__name__
        return name.removesuffix("Datasource") or name

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """About ``parallelism`` parts of the source."""
        raise undefined(self, "get_read_tasks(parallelism, per_task_row_limit=None)")

    def estimate_inmemory_data_size(self) -> int | None:
        """Bytes in memory when all is read; None where that is not known."""
        raise undefined(self, "estimate_inmemory_data_size()")

    @property
    def should_create_reader(self) -> bool:
        """False: a source is its own reader."""
        return type(self).get_read_tasks is Datasource.get_read_tasks

    @property
    def supports_distributed_reads(self) -> bool:
        """True if read tasks may run on any node; False: only where the driver is."""
        return True

    def supports_predicate_pushdown(self) -> bool:
        """True if the source itself can leave out rows."""
        return False

    def supports_projection_pushdown(self) -> bool:
        """True if the source itself can leave out and rename columns."""
        return False

    def get_projection_map(self) -> dict[str, str] | None:
        """The columns that are read, with their new names; None: all."""
        return self._projection

    def get_current_predicate(self) -> Expr | None:
        """What is true of each row that is read; None: nothing special."""
        return self._predicate

    def apply_projection(self, projection_map: dict[str, str] | None) -> Datasource:
        """A copy that reads only the given columns (old name -> new name)."""
        if projection_map is None:
            return self
        out = copy.copy(self)
        if self._projection is None:
            out._projection = dict(projection_map)
        else:
            out._projection = {
                old: projection_map[new] for old, new in self._projection.items() if new in projection_map
            }
        return out

    def apply_predicate(self, predicate_expr: Expr) -> Datasource:
        """A copy that reads only rows for which the expression (in the source's own column names) is true."""
        out = copy.copy(self)
        out._predicate = predicate_expr if self._predicate is None else self._predicate & predicate_expr
        return out


class RandomIntRowDatasource(Datasource):
    """Rows of random integers; columns ``c_0``, ``c_1``, ... For tests and examples.

    Parameters
    ----------
    n : int
        Rows.
    num_columns : int
        Columns.
    """

    def __init__(self, n: int, num_columns: int) -> None:
        self._n, self._num_columns = n, num_columns

    def estimate_inmemory_data_size(self) -> int | None:
        """Eight bytes per value."""
        return self._n * self._num_columns * 8

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """Equal parts."""
        schema = pa.schema([(f"c_{i}", pa.int64()) for i in range(self._num_columns)])
        bounds = np.linspace(0, self._n, max(1, min(parallelism, self._n or 1)) + 1).astype(int)

        def read(rows: int) -> Iterable[pa.Table]:
            rng = np.random.default_rng()
            yield pa.table(
                [pa.array(rng.integers(0, 2**63 - 1, rows)) for _ in range(self._num_columns)], schema=schema
            )

        tasks = []
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            rows = end - start
            meta = BlockMetadata(rows, rows * self._num_columns * 8, None)
            tasks.append(ReadTask(functools.partial(read, rows), meta, schema, per_task_row_limit))
        return tasks
