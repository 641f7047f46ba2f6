"""Steps: each takes a stream of blocks and gives one; a stage is a chain of them.

Steps are pickled to where they run; classes of the user are made there, once per process or actor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayjup.data.block.unify import concat
from rayjup.data.kernels import grouping, sorting
from rayjup.data.logical import columns as lc

Blocks = Iterator[pa.Table]


class Step:
    """One piece of work on a stream of blocks."""

    name = "Step"

    def prepare(self) -> None:
        """Make what is needed (an instance of the user's class); called once before ``run``."""

    def run(self, blocks: Blocks) -> Blocks:
        """The blocks that come out."""
        raise NotImplementedError

    @property
    def by_row(self) -> bool:
        """True if the same comes out however the input is cut into blocks."""
        return True


@dataclass
class TableStep(Step):
    """Table to table."""

    name: str
    function: Callable[[pa.Table], pa.Table]
    rowwise: bool = True

    @property
    def by_row(self) -> bool:
        return self.rowwise

    def run(self, blocks: Blocks) -> Blocks:
        for block in blocks:
            yield self.function(block)


@dataclass(frozen=True)
class ColumnWork:
    """Select, drop, rename, compute: the operators of ``logical.columns`` on a table."""

    op: Any

    def __call__(self, table: pa.Table) -> pa.Table:
        op = self.op
        if not table.num_columns and not table.num_rows:
            return table
        if isinstance(op, lc.Select):
            _check(table, [old for old, _ in op.names], op.name)
            return table.select([old for old, _ in op.names]).rename_columns([new for _, new in op.names])
        if isinstance(op, lc.Drop):
            _check(table, op.names, op.name)
            return table.drop_columns(list(op.names))
        if isinstance(op, lc.Rename):
            return table.rename_columns(renamed(table.column_names, op))
        if isinstance(op, lc.WithColumns):
            return with_columns(table, op.exprs)
        assert isinstance(op, lc.FilterExpr)
        return filter_table(table, op.expr, op.name)


def renamed(names: Sequence[str], op: lc.Rename) -> list[str]:
    """The names after a renaming.

    Raises
    ------
    ValueError
        A column is not there, the numbers differ, or two columns would have the same name.
    """
    if op.every is not None:
        if len(op.every) != len(names):
            raise ValueError(f"rename_columns: {len(op.every)} names for {len(names)} columns {list(names)}.")
        out = list(op.every)
    else:
        mapping = dict(op.names)
        missing = [n for n in mapping if n not in names]
        if missing:
            raise ValueError(f"rename_columns: there is no column {missing[0]!r}; the columns are {list(names)}.")
        out = [mapping.get(n, n) for n in names]
    if len(set(out)) != len(out):
        raise ValueError(f"rename_columns: the new names {out} are not distinct.")
    return out


def _check(table: pa.Table, names: Sequence[str], what: str) -> None:
    missing = [n for n in names if n not in table.column_names]
    if missing:
        raise ValueError(f"{what}: there is no column {missing[0]!r}; the columns are {table.column_names}.")


def with_columns(table: pa.Table, exprs: Sequence[tuple[str, Any]]) -> pa.Table:
    """The table with columns computed by expressions, each seeing the columns of before."""
    from rayjup.data.expressions import evaluate

    out = table
    for name, expr in exprs:
        value = as_column(evaluate(expr, table), table.num_rows)
        if name in out.column_names:
            out = out.set_column(out.column_names.index(name), name, value)
        else:
            out = out.append_column(name, value)
    return out


def as_column(value: Any, rows: int) -> Any:
    """A value of an expression as a column: one value is repeated."""
    if isinstance(value, pa.Scalar):
        return pa.repeat(value, rows)
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        return value
    from rayjup.data.block.convert import to_column

    if hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict)) and len(value) == rows:
        return to_column(value)
    return pa.repeat(pa.scalar(value), rows)


def filter_table(table: pa.Table, expr: Any, what: str) -> pa.Table:
    """The rows for which an expression is true (null is not)."""
    import numpy as np

    from rayjup.data.block.accessor import take
    from rayjup.data.expressions import evaluate

    mask = as_column(evaluate(expr, table), table.num_rows)
    if not pa.types.is_boolean(mask.type):
        raise ValueError(f"{what}: the expression gives {mask.type}, not true or false.")
    if any(isinstance(f.type, pa.BaseExtensionType) for f in table.schema):
        keep = mask.fill_null(False).to_numpy(zero_copy_only=False) if isinstance(mask, pa.Array) else (
            mask.fill_null(False).to_numpy()
        )
        return take(table, np.flatnonzero(keep))
    return table.filter(mask)


@dataclass
class LimitStep(Step):
    """The first rows of what this task sees."""

    n: int
    name: str = "Limit"

    def run(self, blocks: Blocks) -> Blocks:
        left = self.n
        if left <= 0:
            for block in blocks:
                yield block.slice(0, 0)
                return
        for block in blocks:
            part = block.slice(0, left)
            left -= part.num_rows
            yield part
            if left <= 0:
                return


@dataclass
class PartialStep(Step):
    """What groups come to within this task."""

    keys: tuple[str, ...]
    aggs: tuple[Any, ...]
    name: str = "PartialAggregate"

    def run(self, blocks: Blocks) -> Blocks:
        parts: list[pa.Table] = []
        size = 0
        for block in blocks:
            if not block.num_rows:
                continue
            parts.append(block)
            size += block.nbytes
            if size > 64 << 20:
                yield grouping.partial(concat(parts), self.keys, self.aggs)
                parts, size = [], 0
        if parts:
            yield grouping.partial(concat(parts), self.keys, self.aggs)


@dataclass
class SortStep(Step):
    """The rows of this task in order."""

    key: sorting.SortKey
    name: str = "SortRun"

    @property
    def by_row(self) -> bool:
        return False

    def run(self, blocks: Blocks) -> Blocks:
        parts = list(blocks)
        if parts:
            yield sorting.sort_table(concat(parts), self.key)


@dataclass
class SizeStep(Step):
    """Blocks of the size wanted: small ones of the same task are put together, large ones cut.

    Parameters
    ----------
    max_bytes : int or None
        The size (None: leave blocks as they are).
    """

    max_bytes: int | None
    name: str = "Size"
    merge: bool = field(default=True)

    def run(self, blocks: Blocks) -> Blocks:
        from rayjup.data.kernels.shuffling import split_to_size

        waiting: list[pa.Table] = []
        size = 0
        for block in blocks:
            bytes_here = block.nbytes
            if self.max_bytes and bytes_here > self.max_bytes * 3 // 2:
                if waiting:
                    yield concat(waiting)
                    waiting, size = [], 0
                yield from split_to_size(block, self.max_bytes)
                continue
            if waiting and (not self.merge or (self.max_bytes and size + bytes_here > self.max_bytes)):
                yield concat(waiting)
                waiting, size = [], 0
            waiting.append(block)
            size += bytes_here
        if waiting:
            yield concat(waiting)


@dataclass
class RowsStep(Step):
    """Blocks of so many rows."""

    rows: int
    name: str = "TargetRows"

    def run(self, blocks: Blocks) -> Blocks:
        from rayjup.data.physical.batching import batches

        yield from batches(blocks, self.rows)


def run_steps(steps: Sequence[Step], blocks: Blocks) -> Blocks:
    """The blocks that come out of a chain."""
    for step in steps:
        blocks = step.run(blocks)
    return blocks
