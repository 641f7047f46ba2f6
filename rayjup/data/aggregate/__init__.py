"""Aggregations: what ``Dataset.aggregate`` and ``GroupedData.aggregate`` compute.

Map: ``base`` (the interfaces, also for aggregations of one's own), ``numbers`` (count, sum, mean, …),
``values`` (lists, distinct values, quantiles), ``shares`` (percentages), ``sketches`` (approximate
quantiles and most frequent values in little memory).

An aggregation works on parts: ``aggregate_block`` makes an accumulator of a block, ``combine`` joins two,
``finalize`` makes the result. Most of rayjup's can say the same as Polars expressions, which is what is used
where the types of the columns allow it.
"""

from __future__ import annotations

from rayjup.data.aggregate.base import AggregateFn, AggregateFnV2, VectorizedAggregateFnV2
from rayjup.data.aggregate.numbers import AbsMax, Count, Max, Mean, Min, Std, Sum
from rayjup.data.aggregate.shares import MissingValuePercentage, ZeroPercentage
from rayjup.data.aggregate.sketches import ApproximateQuantile, ApproximateTopK
from rayjup.data.aggregate.values import AsList, CountDistinct, Quantile, Unique, ValueCounter

__all__ = [
    "AbsMax",
    "AggregateFn",
    "AggregateFnV2",
    "ApproximateQuantile",
    "ApproximateTopK",
    "AsList",
    "Count",
    "CountDistinct",
    "Max",
    "Mean",
    "Min",
    "MissingValuePercentage",
    "Quantile",
    "Std",
    "Sum",
    "Unique",
    "ValueCounter",
    "VectorizedAggregateFnV2",
    "ZeroPercentage",
]
