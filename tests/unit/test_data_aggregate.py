"""Aggregations: the three ways to compute one agree with each other and with NumPy and pandas."""

from __future__ import annotations

import math
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rayjup.data.aggregate import (
    AbsMax,
    AggregateFn,
    AggregateFnV2,
    ApproximateQuantile,
    ApproximateTopK,
    AsList,
    Count,
    CountDistinct,
    Max,
    Mean,
    Min,
    MissingValuePercentage,
    Quantile,
    Std,
    Sum,
    Unique,
    ValueCounter,
    VectorizedAggregateFnV2,
    ZeroPercentage,
)
from rayjup.data.aggregate.base import without_nan
from rayjup.data.aggregate.sketches import QuantileSketch

RNG = np.random.default_rng(3)
N = 300
TABLE = pa.table(
    {
        "k": RNG.integers(0, 5, N),
        "i": pa.array(RNG.integers(-9, 9, N), mask=RNG.random(N) < 0.2),
        "f": pa.array(RNG.normal(size=N).astype(np.float32), mask=RNG.random(N) < 0.2),
        "s": pa.array(RNG.choice(["a", "b", "é"], N), mask=RNG.random(N) < 0.2),
        "whole": RNG.integers(0, 3, N),
    }
)


def by_blocks(agg: AggregateFnV2[Any, Any], parts: list[pa.Table]) -> Any:
    """As the engine does it: accumulators travel pickled."""
    states = [pickle.loads(pickle.dumps(agg.aggregate_block(part))) for part in parts]
    out = states[0]
    for state in states[1:]:
        out = agg.merge(out, state)
    return agg.finish(out)


def by_polars(agg: AggregateFnV2[Any, Any], table: pa.Table) -> Any:
    expr = agg.to_polars(table.schema)
    assert expr is not None, agg.name
    return pl.from_arrow(table).select(expr).to_dicts()[0][agg.name]


def by_parts(agg: AggregateFnV2[Any, Any], parts: list[pa.Table]) -> Any:
    exprs = agg.partial_polars(parts[0].schema)
    assert exprs is not None
    made = pl.concat([pl.from_arrow(part).select(exprs) for part in parts])
    final = agg.final_polars()
    assert final is not None
    return made.select(final).to_dicts()[0][agg.name]


def parts_of(table: pa.Table) -> list[pa.Table]:
    return [table.slice(0, 100), table.slice(100, 1), table.slice(101)]


NUMBERS = TABLE.column("i").drop_null().to_numpy()
CASES: list[tuple[Any, Any]] = [
    (Count(), N),
    (Count("i"), N),
    (Count("i", ignore_nulls=True), len(NUMBERS)),
    (Sum("i"), NUMBERS.sum()),
    (Sum("i", ignore_nulls=False), None),
    (Sum("whole", ignore_nulls=False), TABLE.column("whole").to_numpy().sum()),
    (Min("i"), NUMBERS.min()),
    (Max("s"), "é"),
    (Max("i", ignore_nulls=False), None),
    (AbsMax("i"), np.abs(NUMBERS).max()),
    (Mean("i"), NUMBERS.mean()),
    (Mean("i", ignore_nulls=False), None),
    (Mean("f"), TABLE.column("f").drop_null().to_numpy().astype(float).mean()),
    (Std("i"), NUMBERS.std(ddof=1)),
    (Std("i", ddof=0), NUMBERS.std()),
    (Std("whole", ignore_nulls=False), TABLE.column("whole").to_numpy().std(ddof=1)),
    (Quantile("i", 0.3), np.quantile(NUMBERS, 0.3)),
    (Quantile("i", ignore_nulls=False), None),
    (CountDistinct("s"), 3),
    (CountDistinct("s", ignore_nulls=False), 4),
    (AsList("i"), TABLE.column("i").to_pylist()),
    (AsList("i", ignore_nulls=True), NUMBERS.tolist()),
    (Unique("s"), pd.unique(TABLE.column("s").to_pandas()).tolist()),
    (MissingValuePercentage("i"), TABLE.column("i").null_count / N * 100),
    (ZeroPercentage("i"), (NUMBERS == 0).sum() / len(NUMBERS) * 100),
    (ZeroPercentage("i", ignore_nulls=False), (NUMBERS == 0).sum() / N * 100),
]


@pytest.mark.parametrize(("agg", "expected"), CASES, ids=[f"{a.name}-{a._ignore_nulls}" for a, _ in CASES])
def test_three_ways_agree(agg: AggregateFnV2[Any, Any], expected: Any) -> None:
    agg = cloudpickle.loads(cloudpickle.dumps(agg))
    for got in (by_blocks(agg, parts_of(TABLE)), by_polars(agg, TABLE), by_parts(agg, parts_of(TABLE))):
        if isinstance(expected, list):
            assert [None if v != v else v for v in got] == [None if v != v else v for v in expected]
        elif expected is None or isinstance(expected, str):
            assert got == expected
        else:
            assert got == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize(("agg", "expected"), CASES, ids=[f"{a.name}-{a._ignore_nulls}" for a, _ in CASES])
def test_groups_agree(agg: AggregateFnV2[Any, Any], expected: Any) -> None:
    whole = agg.to_polars(TABLE.schema)
    parts, final = agg.partial_polars(TABLE.schema), agg.final_polars()
    assert whole is not None and parts is not None and final is not None
    frames = [pl.from_arrow(part).group_by("k").agg(parts) for part in parts_of(TABLE)]
    combined = dict(pl.concat(frames).group_by("k").agg(final).rows())
    for (key,), group in pl.from_arrow(TABLE).group_by("k", maintain_order=True):
        table = group.to_arrow()
        one = by_blocks(agg, [table])
        grouped = dict(pl.from_arrow(TABLE).group_by("k").agg(whole).rows())[key]
        for got in (grouped, combined[key]):
            if isinstance(one, list):
                assert sorted(map(str, got)) == sorted(map(str, one))
            else:
                assert got == pytest.approx(one, rel=1e-12) if isinstance(one, float) else got == one


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_gives_null(values: list[Any]) -> None:
    table = pa.table({"x": pa.array(values, pa.int64())})
    for agg in (Sum("x"), Min("x"), Max("x"), AbsMax("x"), Mean("x"), Std("x"), Quantile("x")):
        assert by_blocks(agg, [table]) is None
        assert by_polars(agg, table) is None
        assert by_parts(agg, [table, table]) is None
    assert by_blocks(Count("x", ignore_nulls=True), [table]) == 0
    assert by_blocks(ZeroPercentage("x"), [table]) is None


def test_a_single_value_has_no_sample_deviation() -> None:
    table = pa.table({"x": [3.0]})
    for got in (by_blocks(Std("x"), [table]), by_polars(Std("x"), table), by_parts(Std("x"), [table])):
        assert math.isnan(got)
    assert by_parts(Std("x", ddof=0), [table]) == 0


def test_small_integers_do_not_overflow_and_spread_does_not_cancel() -> None:
    table = pa.table(
        {"x": pa.array([2**31 - 1] * 4, pa.int32()), "far": [1e9 + 4.0, 1e9 + 7, 1e9 + 13, 1e9 + 16]}
    )
    assert by_polars(Sum("x"), table) == by_blocks(Sum("x"), [table]) == 4 * (2**31 - 1)
    halves = [table.slice(0, 2), table.slice(2)]
    assert by_parts(Std("far"), halves) == by_blocks(Std("far"), halves) == pytest.approx(math.sqrt(30))


def test_nan_can_count_as_missing() -> None:
    table = pa.table({"x": [1.0, math.nan, 3.0]})
    for agg, expected in ((Mean("x"), 2.0), (Std("x", ddof=0), 1.0), (Sum("x"), 4.0), (Quantile("x"), 2.0)):
        without_nan(agg)
        assert by_blocks(agg, [table]) == by_polars(agg, table) == by_parts(agg, [table]) == expected
    assert by_blocks(Max("x"), [table]) == by_polars(Max("x"), table) == 3.0
    assert by_polars(MissingValuePercentage("x"), table) == by_blocks(MissingValuePercentage("x"), [table])
    assert math.isnan(by_blocks(Mean("x"), [table]))


def test_lists_and_counts() -> None:
    table = pa.table({"l": [[1, 2], [2], None, [1, 2]], "s": ["a", "b", None, "a"]})
    halves = [table.slice(0, 2), table.slice(2)]
    assert by_blocks(Unique("l"), halves) == [[1, 2], [2], None]
    assert by_blocks(Unique("l", encode_lists=True), halves) == [1, 2]
    assert by_blocks(
        Unique("l", encode_lists=Unique.ListEncodingMode.FLATTEN, ignore_nulls=True), halves
    ) == [1, 2]
    assert by_blocks(CountDistinct("l"), halves) == 2
    assert by_blocks(ValueCounter("s"), halves) == {"values": ["a", "b", None], "counts": [2, 1, 1]}
    assert by_blocks(ValueCounter("l"), halves)["counts"] == [2, 1, 1]
    assert by_blocks(ApproximateTopK("s", 1), halves) == [{"s": "a", "count": 2}]
    assert by_blocks(ApproximateTopK("l", 2, encode_lists=True), halves) == [
        {"l": 2, "count": 3},
        {"l": 1, "count": 2},
    ]
    assert by_blocks(ApproximateTopK("l", 1), halves) == [{"l": [1, 2], "count": 2}]


def test_frequent_values_are_found_within_bounds() -> None:
    values = np.concatenate([np.repeat([1, 2, 3], [5000, 3000, 2000]), np.arange(100, 20100)])
    RNG.shuffle(values)
    agg = ApproximateTopK("x", 3, log_capacity=10)
    parts = [pa.table({"x": part}) for part in np.array_split(values, 17)]
    found = by_blocks(agg, parts)
    assert [item["x"] for item in found] == [1, 2, 3]
    bound = len(values) / 2**10
    assert all(
        truth - bound <= item["count"] <= truth for item, truth in zip(found, (5000, 3000, 2000), strict=True)
    )


def test_approximate_quantiles() -> None:
    few = pa.table({"x": [20.0, 40.0, 60.0, 80.0, 100.0]})
    agg = cloudpickle.loads(cloudpickle.dumps(ApproximateQuantile("x", [0.1, 0.5, 0.9])))
    assert by_blocks(agg, [few]) == [20.0, 60.0, 100.0]
    values = RNG.normal(size=200_000)
    parts = [pa.table({"x": part}) for part in np.array_split(values, 13)]
    for q, got in zip(
        [0.01, 0.5, 0.99], by_blocks(ApproximateQuantile("x", [0.01, 0.5, 0.99]), parts), strict=True
    ):
        assert abs((values < got).mean() - q) < 0.005
    exact = QuantileSketch(1000)
    exact.add(values[:900])
    assert exact.quantiles([0.25], interpolate=True) == pytest.approx([np.quantile(values[:900], 0.25)])
    assert sum(weight for weight in exact.weighted()[1]) == 900
    with pytest.raises(ValueError, match="between 0 and 1"):
        ApproximateQuantile("x", [1.5])


def test_names_and_fields() -> None:
    assert Mean("x").name == "mean(x)" and Mean("x").get_agg_name() == "mean"
    assert Mean("x", alias_name="m").name == "m" and Mean("x").get_target_column() == "x"
    schema = pa.schema([("x", pa.int32())])
    assert Sum("x").output_field(schema) == pa.field("sum(x)", pa.int64())
    assert Min("x").output_field(schema) == pa.field("min(x)", pa.int32())
    assert Count().output_field(schema) == pa.field("count()", pa.int64(), nullable=False)


def test_ones_own() -> None:
    class Longest(AggregateFnV2[int, int]):
        def __init__(self) -> None:
            super().__init__("longest", lambda: 0, on="s", ignore_nulls=True)

        def aggregate_block(self, block: Any) -> Any:
            lengths = [len(v) for v in block["s"].to_pylist() if v is not None]
            return max(lengths) if lengths else None

        def combine(self, current_accumulator: int, new: int) -> int:
            return max(current_accumulator, new)

    table = pa.table({"s": [None, "abc", "a"]})
    assert by_blocks(Longest(), [table.slice(0, 1), table.slice(1)]) == 3
    assert by_blocks(Longest(), [table.slice(0, 1)]) is None

    class Together(VectorizedAggregateFnV2[Any, Any]):
        def aggregate_block(self, block: Any) -> Any:
            return block.num_rows

        def _combine_column(self, accumulators: Any) -> Any:
            return sum(accumulators)

    assert by_blocks(Together("rows", lambda: 0, on=None, ignore_nulls=True), [table, table]) == 6
    old = AggregateFn(
        init=lambda key: 0, merge=lambda a, b: a + b, name="n", accumulate_row=lambda a, row: a + 1
    )
    assert old.finalize(old.merge(old.init(None), 2)) == 2


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"'mean\(nope\)' is over column 'nope'.*'k', 'i'"):
        Mean("nope").aggregate_block(TABLE)
    with pytest.raises(ValueError, match="over column 'nope'"):
        Mean("nope")._validate(TABLE.schema)
    with pytest.raises(ValueError, match="needs the name of a column"):
        Sum()
    with pytest.raises(ValueError, match="both were given"):
        AggregateFn(lambda k: 0, max, "n", accumulate_row=max, accumulate_block=max)
    with pytest.raises(ValueError, match="not between 0 and 1"):
        Quantile("x", 2)
    with pytest.raises(NotImplementedError, match="defines no combine"):
        AggregateFnV2("n", int, on=None, ignore_nulls=True).combine(1, 2)
