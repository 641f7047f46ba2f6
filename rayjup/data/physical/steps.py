"""Steps: each takes a stream of blocks and gives one; a stage is a chain of them.

Steps are pickled to where they run; classes of the user are made there, once per process or actor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from rayjup.data.block.unify import concat
from rayjup.data.kernels import grouping, sorting
from rayjup.data.logical import columns as lc

Blocks = Iterator[pa.Table]


class Step:
    """One piece of work on a stream of blocks."""

    name: str

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
class ColumnStep(Step):
    """Select, drop, rename, compute, filter: the operators of ``logical.columns``."""

    op: Any
    name: str = "Columns"

    def run(self, blocks: Blocks) -> Blocks:
        from rayjup.data.expressions import EvaluationContext
        from rayjup.data.physical.running import task_index

        context = EvaluationContext(task_index.get())
        for block in blocks:
            yield block if not block.num_columns and not block.num_rows else self.table(block, context)

    def table(self, table: pa.Table, context: Any) -> pa.Table:
        """One block."""
        op = self.op
        if isinstance(op, lc.Select):
            _check(table, [old for old, _ in op.names], op.name)
            return table.select([old for old, _ in op.names]).rename_columns([new for _, new in op.names])
        if isinstance(op, lc.Drop):
            _check(table, op.names, op.name)
            return table.drop_columns(list(op.names))
        if isinstance(op, lc.Rename):
            return table.rename_columns(renamed(table.column_names, op))
        if isinstance(op, lc.WithColumns):
            return with_columns(table, op.exprs, context)
        assert isinstance(op, lc.FilterExpr)
        return filter_table(table, op.expr, context)


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
            raise ValueError(
                f"rename_columns: there is no column {missing[0]!r}; the columns are {list(names)}."
            )
        out = [mapping.get(n, n) for n in names]
    if len(set(out)) != len(out):
        raise ValueError(f"rename_columns: the new names {out} are not distinct.")
    return out


def _check(table: pa.Table, names: Sequence[str], what: str) -> None:
    missing = [n for n in names if n not in table.column_names]
    if missing:
        raise ValueError(f"{what}: there is no column {missing[0]!r}; the columns are {table.column_names}.")


def with_columns(table: pa.Table, exprs: Sequence[tuple[str, Any]], context: Any = None) -> pa.Table:
    """The table with columns computed by expressions, all from the columns of before."""
    from rayjup.data.expressions import UnnestExpr, project, star

    named = [e if isinstance(e, UnnestExpr) else e.alias(name) for name, e in exprs]
    return project([star(), *named], table, context)


def filter_table(table: pa.Table, expr: Any, context: Any = None) -> pa.Table:
    """The rows for which an expression is true (null is not)."""
    import numpy as np

    from rayjup.data.block.accessor import take
    from rayjup.data.expressions import mask

    keep = mask(expr, table, context)
    if any(isinstance(f.type, pa.BaseExtensionType) for f in table.schema):
        flags = keep.fill_null(False)
        return take(table, np.flatnonzero(np.asarray(flags.to_pylist(), dtype=bool)))
    return table.filter(keep)


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
