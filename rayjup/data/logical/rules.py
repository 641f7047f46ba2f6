"""Rewrites of plans: only the columns and rows that matter are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rayjup.data.logical.base import Op, rewrite
from rayjup.data.logical.columns import Columns, Drop, FilterExpr, Rename, Select, WithColumns
from rayjup.data.logical.combine import Mix, Union
from rayjup.data.logical.groups import Aggregate
from rayjup.data.logical.rearrange import (
    Limit,
    RandomizeBlocks,
    RandomShuffle,
    Repartition,
    Sample,
    Sort,
)
from rayjup.data.logical.sources import Read


def optimize(op: Op) -> Op:
    """The plan that gives the same rows and reads less."""
    op = rewrite(op, push_predicate)
    op = prune(op, None)
    return push_limits(op)


def agg_columns(aggs: Sequence[Any]) -> set[str] | None:
    """The columns that aggregations read; None where one does not say."""
    out: set[str] = set()
    for agg in aggs:
        target = getattr(agg, "get_target_column", None)
        name = target() if target is not None else None
        if name is not None:
            out.add(name)
        elif type(agg).__name__ != "Count":
            return None
    return out


def expr_columns(expr: Any) -> set[str] | None:
    """The columns that an expression reads; None where that cannot be said."""
    found = expr.required_columns()
    return None if found is None else set(found)


# ------------------------------------------------------------------------------------------------- columns


def prune(op: Op, needed: set[str] | None) -> Op:
    """Have sources read no more columns than ``needed`` (None: all) and those that the plan itself uses."""
    if isinstance(op, Read):
        return _prune_read(op, needed)
    if not op.inputs:
        return op
    return op.with_inputs(*(prune(child, _wanted(op, needed)) for child in op.inputs))


def _wanted(op: Op, needed: set[str] | None) -> set[str] | None:
    """What an operator needs of its inputs, if ``needed`` of its output is used."""
    if isinstance(op, Aggregate):
        columns = agg_columns(op.aggs)
        return None if columns is None else columns | set(op.keys)
    if isinstance(op, Select):
        return {old for old, _ in op.names}
    if needed is None:
        return None
    if isinstance(op, Drop):
        return needed | set(op.names)
    if isinstance(op, Rename):
        back = {new: old for old, new in op.names}
        return None if op.every is not None else {back.get(n, n) for n in needed} | {o for o, _ in op.names}
    if isinstance(op, WithColumns):
        out = set(needed) - {name for name, _ in op.exprs}
        for _, expr in op.exprs:
            columns = expr_columns(expr)
            if columns is None:
                return None
            out |= columns
        return out
    if isinstance(op, FilterExpr):
        columns = expr_columns(op.expr)
        return None if columns is None else needed | columns
    if isinstance(op, Sort):
        return needed | set(op.key.columns)
    if isinstance(op, Repartition):
        return needed | set(op.keys or ())
    if isinstance(op, (Limit, Sample, RandomShuffle, RandomizeBlocks, Union, Mix)):
        return needed
    return None


def _prune_read(op: Read, needed: set[str] | None) -> Op:
    source = op.source
    if needed is None or not source.supports_projection_pushdown():
        return op
    schema = getattr(source, "schema_names", None)
    names = schema() if schema is not None else None
    if names is None:
        return op
    wanted = [n for n in names if n in needed] or names[:1]
    if len(wanted) == len(names):
        return op
    return dataclasses.replace(op, source=source.apply_projection({n: n for n in wanted}), known={})


# ------------------------------------------------------------------------------------------------- rows


def push_predicate(op: Op) -> Op:
    """A filter right above a source that can filter becomes part of it."""
    if not isinstance(op, FilterExpr):
        return op
    child = op.inputs[0]
    if isinstance(child, Select) and all(old == new for old, new in child.names):
        columns = expr_columns(op.expr)
        if columns is not None and columns <= {new for _, new in child.names}:
            return child.with_inputs(push_predicate(op.with_inputs(child.inputs[0])))
        return op
    if not isinstance(child, Read) or child.limit is not None:
        return op
    source = child.source
    if not source.supports_predicate_pushdown() or source.get_projection_map() is not None:
        return op
    accepts = getattr(source, "accepts_predicate", None)
    if accepts is not None and not accepts(op.expr):
        return op
    return dataclasses.replace(child, source=source.apply_predicate(op.expr), known={})


def push_limits(op: Op) -> Op:
    """A limit reaches through what keeps the number of rows: no part is read further than it."""

    def visit(node: Op, limit: int | None) -> Op:
        if isinstance(node, Read):
            if limit is None or (node.limit is not None and node.limit <= limit):
                return node
            known = {k: v for k, v in node.known.items() if k == "bytes"}
            return dataclasses.replace(node, limit=limit, known=known)
        if isinstance(node, Limit):
            below: int | None = node.n if limit is None else min(limit, node.n)
        elif node.keeps_rows or isinstance(node, (Columns, Union)):
            below = limit
        else:
            below = None
        if not node.inputs:
            return node
        return node.with_inputs(*(visit(child, below) for child in node.inputs))

    return visit(op, None)
