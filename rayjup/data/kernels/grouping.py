"""Groups of rows: aggregated whole, or in parts that are combined; or cut out for a function.

Groups come in order of their keys, nulls last.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import take
from rayjup.data.block.unify import concat
from rayjup.data.kernels import frames

_STATE = ".state"


def check_keys(names: Sequence[str], keys: Sequence[str]) -> None:
    """Complain about keys that are not there; a table with no columns has no rows, either, and is right."""
    missing = [k for k in keys if k not in names]
    if names and missing:
        raise ValueError(f"groupby: there is no column {missing[0]!r}; the columns are {list(names)}.")


def whole_exprs(aggs: Sequence[Any], schema: pa.Schema) -> list[Any] | None:
    """One Polars expression for each aggregation; None where one has none."""
    out = []
    for agg in aggs:
        make = getattr(agg, "to_polars", None)
        expr = make(schema) if make is not None else None
        if expr is None:
            return None
        out.append(expr)
    return out


def partial_exprs(aggs: Sequence[Any], schema: pa.Schema) -> tuple[list[Any], list[Any]] | None:
    """Expressions for parts, and those that combine them; None where an aggregation has none."""
    parts: list[Any] = []
    finals: list[Any] = []
    for agg in aggs:
        make = getattr(agg, "partial_polars", None)
        part = make(schema) if make is not None else None
        final = agg.final_polars() if part is not None else None
        if part is None or final is None:
            return None
        parts += part
        finals.append(final)
    return parts, finals


def aggregate(table: pa.Table, keys: Sequence[str], aggs: Sequence[Any]) -> pa.Table:
    """One row per group (one in all without keys)."""
    check_keys(table.column_names, keys)
    wanted = _columns(table, keys, aggs)
    if wanted is not None:
        table = table.select(wanted)
    simple = frames.all_supported(table.schema) and table.num_columns
    exprs = whole_exprs(aggs, table.schema) if simple else None
    if exprs is not None:
        frame = frames.to_frame(table).lazy()
        return frames.from_frame(aggregate_lazy(frame, keys, exprs).collect())
    return combine([partial(table, keys, aggs, force_states=True)], keys, aggs)


def aggregate_lazy(frame: Any, keys: Sequence[str], exprs: Sequence[Any]) -> Any:
    """The lazy frame of the groups."""
    if not keys:
        return frame.select(exprs)
    if not exprs:
        return frame.select(list(keys)).unique().sort(list(keys), nulls_last=True)
    return frame.group_by(list(keys)).agg(exprs).sort(list(keys), nulls_last=True)


def _columns(table: pa.Table, keys: Sequence[str], aggs: Sequence[Any]) -> list[str] | None:
    """The columns that matter; None where an aggregation does not say."""
    from rayjup.data.logical.rules import agg_columns

    needed = agg_columns(aggs)
    if needed is None:
        return None
    wanted = [n for n in table.column_names if n in needed or n in keys]
    return wanted or table.column_names[:1]


def partial(
    table: pa.Table, keys: Sequence[str], aggs: Sequence[Any], force_states: bool = False
) -> pa.Table:
    """What the groups of a part come to; for :func:`combine`."""
    check_keys(table.column_names, keys)
    wanted = _columns(table, keys, aggs)
    if wanted is not None:
        table = table.select(wanted)
    if not force_states and table.num_columns and frames.all_supported(table.schema):
        exprs = partial_exprs(aggs, table.schema)
        if exprs is not None:
            frame = frames.to_frame(table).lazy()
            return frames.from_frame(aggregate_lazy(frame, keys, exprs[0]).collect())
        if any(pa.types.is_null(f.type) for f in table.schema):
            return _of_nothing(table, keys, aggs)
    return _states(table, keys, aggs)


def _of_nothing(table: pa.Table, keys: Sequence[str], aggs: Sequence[Any]) -> pa.Table:
    """Columns of nulls have a type in other parts perhaps: what comes of them here has none, either."""
    fields = [
        pa.field(f.name, pa.float64()) if pa.types.is_null(f.type) and f.name not in keys else f
        for f in table.schema
    ]
    typed = table.cast(pa.schema(fields))
    exprs = partial_exprs(aggs, typed.schema)
    if exprs is None:
        return _states(table, keys, aggs)
    out = frames.from_frame(aggregate_lazy(frames.to_frame(typed).lazy(), keys, exprs[0]).collect())
    columns = [
        pa.nulls(out.num_rows) if c.null_count == out.num_rows and n not in keys else c
        for n, c in zip(out.column_names, out.columns, strict=True)
    ]
    return pa.table(columns, names=out.column_names)


def _states(table: pa.Table, keys: Sequence[str], aggs: Sequence[Any]) -> pa.Table:
    """Python accumulators, pickled, one row per group."""
    rows: list[list[bytes]] = [[] for _ in aggs]
    firsts = []
    for group in groups(table, keys) if keys else [table]:
        if group.num_rows or not keys:
            firsts.append(group.slice(0, 1).select(list(keys)) if keys else None)
            for position, agg in enumerate(aggs):
                rows[position].append(pickle.dumps(_accumulate(agg, group)))
    if keys and not firsts:
        columns: list[Any] = [table.column(k) if k in table.column_names else pa.nulls(0) for k in keys]
    else:
        columns = list(concat([f for f in firsts if f is not None]).columns) if keys else []
    names = list(keys)
    for position in range(len(aggs)):
        columns.append(pa.array(rows[position], pa.binary()))
        names.append(f"{position}{_STATE}")
    return pa.table(columns, names=names)


def _accumulate(agg: Any, block: pa.Table) -> Any:
    """The accumulator of one aggregation over one block."""
    accumulator = agg.init(None)
    if not block.num_rows:
        return accumulator
    if agg.accumulate_block is not None:
        return agg.accumulate_block(accumulator, block)
    from rayjup.data.block.convert import iter_rows

    for row in iter_rows(block):
        accumulator = agg.accumulate_row(accumulator, row)
    return accumulator


def combine(parts: Sequence[pa.Table], keys: Sequence[str], aggs: Sequence[Any]) -> pa.Table:
    """The result of the groups, from what their parts came to."""
    states = [p for p in parts if any(n.endswith(_STATE) for n in p.column_names)]
    if aggs and (states or not any(p.num_columns for p in parts)):
        if len(states) < sum(1 for p in parts if p.num_columns and p.num_rows):
            raise TypeError(
                "the types of some columns differ so much between blocks that groups cannot be combined"
            )
        return _combine_states(states, keys, aggs)
    table = concat(list(parts))
    if not table.num_columns:
        return table
    if not aggs:
        return frames.from_frame(aggregate_lazy(frames.to_frame(table).lazy(), keys, []).collect())
    finals = [agg.final_polars() for agg in aggs]
    return frames.from_frame(aggregate_lazy(frames.to_frame(table).lazy(), keys, finals).collect())


def _combine_states(parts: Sequence[pa.Table], keys: Sequence[str], aggs: Sequence[Any]) -> pa.Table:
    from rayjup.data.block.convert import from_values

    table = concat(list(parts))
    results: list[list[Any]] = [[] for _ in aggs]
    firsts = []
    for group in groups(table, keys) if keys else [table]:
        if keys:
            firsts.append(group.slice(0, 1).select(list(keys)))
        for position, agg in enumerate(aggs):
            column = group.column(f"{position}{_STATE}") if group.num_columns else []
            results[position].append(_finish(agg, [pickle.loads(v.as_py()) for v in column]))
    if keys and firsts:
        columns: list[Any] = list(concat(firsts).columns)
    elif keys:
        columns = [table.column(k) if k in table.column_names else pa.nulls(0) for k in keys]
    else:
        columns = []
    columns += [from_values(r, str(a.name)) for r, a in zip(results, aggs, strict=True)]
    return pa.table(columns, names=[*keys, *(str(a.name) for a in aggs)])


def _finish(agg: Any, accumulators: list[Any]) -> Any:
    """Combine the accumulators of one group and make the result of it."""
    out = accumulators[0] if accumulators else agg.init(None)
    for other in accumulators[1:]:
        out = agg.merge(out, other)
    return agg.finish(out) if hasattr(agg, "finish") else agg.finalize(out)


def groups(table: pa.Table, keys: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of each group, in their order."""
    ordered, edges = ordered_groups(table, keys)
    for start, end in itertools.pairwise(edges):
        yield ordered.slice(start, end - start)


def ordered_groups(table: pa.Table, keys: Sequence[str]) -> tuple[pa.Table, list[int]]:
    """The table with the rows of each group together, and where each begins (and the last ends)."""
    import polars as pl

    check_keys(table.column_names, keys)
    if not table.num_rows:
        return table, [0]
    columns = [table.column(k) for k in keys]
    frame = frames.to_frame(pa.table(columns, names=[f"k{i}" for i in range(len(keys))]))
    names = frame.columns
    rows = (
        frame.with_row_index("row")
        .group_by(names, maintain_order=True)
        .agg(pl.col("row"))
        .sort(names, nulls_last=True)
    )
    lengths = rows["row"].list.len().to_numpy()
    order = rows["row"].explode().to_numpy()
    edges = [0, *np.cumsum(lengths).tolist()]
    return take(table, order), edges
