"""Relational plans as Polars queries: scans, filters, groups, sorts and joins optimized as one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rayjup.data.block.unify import concat, unify_schemas
from rayjup.data.kernels import frames, grouping, joining, sorting
from rayjup.data.logical.base import Op
from rayjup.data.logical.columns import Drop, FilterExpr, Rename, Select, WithColumns
from rayjup.data.logical.combine import Join, Union
from rayjup.data.logical.groups import Aggregate
from rayjup.data.logical.rearrange import Limit, Sort
from rayjup.data.logical.sources import InputBlocks, Read


def query(op: Op) -> Any | None:
    """The plan as a lazy frame; None where a part of it has no exactly equal form."""
    make = _FORMS.get(type(op))
    return None if make is None else make(op)


def collect(frame: Any) -> pa.Table:
    """Run a query."""
    return frames.from_frame(frame.collect())


def _blocks(op: Op) -> Any | None:
    assert isinstance(op, InputBlocks)
    schemas = [b.schema for b in op.bundles if b.schema is not None]
    if not schemas or not all(s is not None and frames.all_supported(s) for s in schemas):
        return None
    if not unify_schemas(schemas).names:
        return None
    tables = [b.table() for b in op.bundles]
    table = concat(tables) if len(tables) > 1 else tables[0]
    return frames.to_frame(table).lazy()


def _read(op: Op) -> Any | None:
    assert isinstance(op, Read)
    scan = getattr(op.source, "scan_polars", None)
    return None if scan is None or op.limit is not None else scan()


def _names(frame: Any) -> list[str]:
    return frame.collect_schema().names()


def _select(op: Op) -> Any | None:
    assert isinstance(op, Select)
    frame = query(op.inputs[0])
    if frame is None or not {o for o, _ in op.names} <= set(_names(frame)):
        return None
    import polars as pl

    return frame.select([pl.col(old).alias(new) for old, new in op.names])


def _drop(op: Op) -> Any | None:
    assert isinstance(op, Drop)
    frame = query(op.inputs[0])
    if frame is None or not set(op.names) <= set(_names(frame)):
        return None
    return frame.drop(list(op.names))


def _rename(op: Op) -> Any | None:
    from rayjup.data.physical.steps import renamed

    assert isinstance(op, Rename)
    frame = query(op.inputs[0])
    if frame is None:
        return None
    names = _names(frame)
    return frame.rename(dict(zip(names, renamed(names, op), strict=True)))


def _with_columns(op: Op) -> Any | None:
    from rayjup.data.expressions import to_polars

    assert isinstance(op, WithColumns)
    if op.compute is not None:
        return None
    frame = query(op.inputs[0])
    if frame is None:
        return None
    schema = frames.arrow_schema(frame)
    out = []
    for name, expr in op.exprs:
        made = to_polars(expr, schema)
        if made is None:
            return None
        out.append(made.alias(name))
    return frame.with_columns(out)


def _filter(op: Op) -> Any | None:
    from rayjup.data.expressions import to_polars

    assert isinstance(op, FilterExpr)
    frame = query(op.inputs[0])
    if frame is None:
        return None
    made = to_polars(op.expr, frames.arrow_schema(frame))
    return None if made is None else frame.filter(made)


def _limit(op: Op) -> Any | None:
    assert isinstance(op, Limit)
    frame = query(op.inputs[0])
    return None if frame is None else frame.head(op.n)


def _sort(op: Op) -> Any | None:
    assert isinstance(op, Sort)
    frame = query(op.inputs[0])
    if frame is None:
        return None
    schema = frames.arrow_schema(frame)
    op.key.check(schema.names)
    return sorting.sort_frame(frame, op.key, schema)


def _aggregate(op: Op) -> Any | None:
    assert isinstance(op, Aggregate)
    frame = query(op.inputs[0])
    if frame is None:
        return None
    schema = frames.arrow_schema(frame)
    grouping.check_keys(schema.names, op.keys)
    exprs = grouping.whole_exprs(op.aggs, schema)
    return None if exprs is None else grouping.aggregate_lazy(frame, op.keys, exprs)


def _join(op: Op) -> Any | None:
    """Inner, left, semi and anti joins whose columns need no suffix."""
    assert isinstance(op, Join)
    if op.how not in ("inner", "left_outer", "left_semi", "left_anti"):
        return None
    left, right = query(op.inputs[0]), query(op.inputs[1])
    if left is None or right is None:
        return None
    one, other = left.collect_schema(), right.collect_schema()
    outputs = joining.output_names(
        one.names(), other.names(), op.how, op.left_on, op.right_on, op.left_suffix, op.right_suffix
    )
    if any(old != new for side in outputs for old, new in side):
        return None
    if [one[k] for k in op.left_on] != [other[k] for k in op.right_on]:
        return None
    return left.join(
        right,
        left_on=list(op.left_on),
        right_on=list(op.right_on),
        how=joining.HOW[op.how],
        maintain_order="left",
    )


def _union(op: Op) -> Any | None:
    import polars as pl

    assert isinstance(op, Union)
    parts = [query(child) for child in op.inputs]
    if any(p is None for p in parts):
        return None
    schemas = [p.collect_schema() for p in parts if p is not None]
    if any(s != schemas[0] for s in schemas):
        return None
    return pl.concat(parts)


_FORMS: dict[type[Op], Any] = {
    InputBlocks: _blocks,
    Read: _read,
    Select: _select,
    Drop: _drop,
    Rename: _rename,
    WithColumns: _with_columns,
    FilterExpr: _filter,
    Limit: _limit,
    Sort: _sort,
    Aggregate: _aggregate,
    Join: _join,
    Union: _union,
}
