"""Statistics of the columns of a dataset, computed in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.block.convert import from_values
from rayjup.data.stats import DatasetSummary

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


def default_aggregations(kind: pa.DataType) -> Callable[[str], list[Any]] | None:
    """What is computed of a column of a type."""
    from rayjup.data import aggregate as agg

    if pa.types.is_boolean(kind):
        return lambda on: [agg.Count(on, ignore_nulls=False), agg.MissingValuePercentage(on)]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return lambda on: [
            agg.Count(on, ignore_nulls=False),
            agg.Mean(on),
            agg.Min(on),
            agg.Max(on),
            agg.Std(on, ddof=0),
            agg.ApproximateQuantile(on, quantiles=[0.5]),
            agg.MissingValuePercentage(on),
            agg.ZeroPercentage(on),
        ]
    if pa.types.is_temporal(kind):
        return lambda on: [
            agg.Count(on, ignore_nulls=False),
            agg.Min(on),
            agg.Max(on),
            agg.MissingValuePercentage(on),
        ]
    if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return lambda on: [agg.Count(on, ignore_nulls=False), agg.MissingValuePercentage(on)]
    return lambda on: [
        agg.Count(on, ignore_nulls=False),
        agg.MissingValuePercentage(on),
        agg.ApproximateTopK(on, k=10),
    ]


def _chosen(kind: pa.DataType, override: dict[Any, Callable[[str], list[Any]]] | None) -> Any:
    for wanted, make in (override or {}).items():
        if _matches(wanted, kind):
            return make
    return default_aggregations(kind)


def _matches(wanted: Any, kind: pa.DataType) -> bool:
    from rayjup.data.datatype import DataType

    mine = DataType.from_arrow(kind)
    if wanted == mine:
        return True
    category = getattr(wanted, "is_pattern_matching", None)
    return bool(category and category() and mine.is_of(wanted._category))


def summarize(
    dataset: Dataset,
    columns: list[str] | None,
    override: dict[Any, Callable[[str], list[Any]]] | None,
) -> DatasetSummary:
    """Aggregate each column as its type suggests."""
    schema = dataset.schema()
    if schema is None:
        raise ValueError("summary: the dataset has no rows and no columns.")
    base = schema.base_schema
    names = list(base.names) if columns is None else list(columns)
    missing = [n for n in names if n not in base.names]
    if missing:
        raise ValueError(f"summary: there is no column {missing[0]!r}; the columns are {base.names}.")
    aggs: list[Any] = []
    for name in names:
        make = _chosen(base.field(name).type, override)
        aggs += make(name) if make else []
    values = dataset._numbers(*aggs) if aggs else {}
    by_column: dict[str, dict[str, Any]] = {n: {} for n in names}
    for agg in aggs:
        statistic = agg.get_agg_name() if hasattr(agg, "get_agg_name") else str(agg.name).split("(")[0]
        value = values[str(agg.name)]
        if statistic.startswith("approx_quantile") and isinstance(value, list):
            value, statistic = value[0], "approx_quantile[0]"
        by_column[agg.get_target_column()][statistic] = value
    same: dict[str, dict[str, Any]] = {}
    other: dict[str, dict[str, Any]] = {}
    for name, found in by_column.items():
        for statistic, value in found.items():
            side = same if statistic in ("min", "max") else other
            side.setdefault(statistic, {})[name] = value
    return DatasetSummary(_table(same, names, base), _table(other, names, None), base, names)


def _table(rows: dict[str, dict[str, Any]], names: list[str], schema: pa.Schema | None) -> pa.Table:
    columns: dict[str, Any] = {"statistic": pa.array(list(rows), pa.string())}
    for name in names:
        values = [row.get(name) for row in rows.values()]
        if schema is not None and all(v is None for v in values):
            columns[name] = pa.nulls(len(values), schema.field(name).type)
        else:
            columns[name] = from_values(values, name)
    return pa.table(columns)
