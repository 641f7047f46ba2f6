"""Approximate quantiles and most frequent values: exact for small data, small for large data."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate.base import AggregateFnV2
from rayjup.data.aggregate.values import _hashable, _is_list, _plain

__all__ = ["ApproximateQuantile", "ApproximateTopK", "QuantileSketch"]


class QuantileSketch:
    """A sketch of a distribution: levels of values, each standing for 2**level values.

    A level that is full is sorted, and every other value of it moves one level up; which half, alternates.
    Up to ``capacity`` values the answers are exact; beyond that the rank is off by about
    ``log2(n / capacity) / capacity``.

    Parameters
    ----------
    capacity
        How many values a level holds.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = max(8, capacity)
        self.levels: list[np.ndarray] = []
        self.turns = 0

    def add(self, values: np.ndarray, level: int = 0) -> None:
        """Take values in; each stands for ``2**level``."""
        while len(self.levels) <= level:
            self.levels.append(np.empty(0))
        self.levels[level] = np.concatenate([self.levels[level], values])
        while level < len(self.levels) and len(self.levels[level]) > self.capacity:
            ordered = np.sort(self.levels[level])
            # An odd one out stays where it is, so that no weight is lost.
            kept, even = (ordered[-1:], ordered[:-1]) if len(ordered) % 2 else (ordered[:0], ordered)
            self.levels[level] = kept
            self.turns += 1
            if level + 1 == len(self.levels):
                self.levels.append(np.empty(0))
            self.levels[level + 1] = np.concatenate([self.levels[level + 1], even[self.turns % 2 :: 2]])
            level += 1

    def merge(self, other: QuantileSketch) -> None:
        """Take in what the other has seen."""
        for level, values in enumerate(other.levels):
            if len(values):
                self.add(values, level)

    def weighted(self) -> tuple[np.ndarray, np.ndarray]:
        """All values in order, and how many each stands for."""
        if not self.levels:
            return np.empty(0), np.empty(0, dtype=np.int64)
        values = np.concatenate(self.levels)
        weights = np.repeat(2 ** np.arange(len(self.levels)), [len(level) for level in self.levels])
        order = np.argsort(values, kind="stable")
        return values[order], weights[order]

    def quantiles(self, qs: list[float], interpolate: bool) -> list[float] | None:
        """Quantiles: values that were seen, or between two of them linearly; ``None`` of nothing."""
        values, weights = self.weighted()
        if not len(values):
            return None
        ends = np.cumsum(weights)
        if not interpolate:
            ranks = np.ceil(np.asarray(qs) * ends[-1]).clip(1, ends[-1])
            return values[np.searchsorted(ends, ranks)].tolist()
        if ends[-1] == len(values):
            return np.quantile(values, qs).tolist()
        middles = ends - (weights + 1) / 2
        return np.interp(np.asarray(qs) * (ends[-1] - 1), middles, values).tolist()


class ApproximateQuantile(AggregateFnV2[bytes, Any]):
    """Quantiles of a column in bounded memory; nulls are left out.

    Parameters
    ----------
    on
        The column.
    quantiles
        Which ones, from 0 to 1.
    quantile_precision
        How many values each level of the sketch holds; up to so many values the result is exact.
    alias_name
        The name of the result, ``approx_quantile(column)`` by default.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rayjup.data.aggregate import ApproximateQuantile
    >>> quantiles = ApproximateQuantile("x", [0.1, 0.5, 0.9])
    >>> quantiles.finalize(quantiles.aggregate_block(pa.table({"x": [20.0, 40.0, 60.0, 80.0, 100.0]})))
    [20.0, 60.0, 100.0]
    """

    _interpolate = False

    def __init__(
        self,
        on: str,
        quantiles: list[float],
        quantile_precision: int = 800,
        alias_name: str | None = None,
    ) -> None:
        wrong = [q for q in quantiles if not 0 <= q <= 1]
        if wrong:
            raise ValueError(f"Quantiles are between 0 and 1; {wrong[0]} is not.")
        self._quantiles = [float(q) for q in quantiles]
        self._quantile_precision = quantile_precision
        super().__init__(
            alias_name or f"approx_quantile({on})",
            lambda: self.zero(quantile_precision),
            on=on,
            ignore_nulls=True,
        )

    def zero(self, quantile_precision: int) -> bytes:
        """The sketch of nothing."""
        return pickle.dumps(QuantileSketch(quantile_precision))

    def aggregate_block(self, block: Any) -> bytes:
        """The sketch of the block."""
        sketch = QuantileSketch(self._quantile_precision)
        column = self._column(block).drop_null()
        sketch.add(column.cast(pa.float64(), safe=False).to_numpy())
        return pickle.dumps(sketch)

    def combine(self, current_accumulator: bytes, new: bytes) -> bytes:
        """The sketch of both."""
        sketch = pickle.loads(current_accumulator)
        sketch.merge(pickle.loads(new))
        return pickle.dumps(sketch)

    def finalize(self, accumulator: bytes) -> list[float] | None:
        """The quantiles."""
        return pickle.loads(accumulator).quantiles(self._quantiles, self._interpolate)

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A list of floats."""
        return pa.field(self.name, pa.list_(pa.float64()))

    def __reduce__(self) -> tuple[Any, ...]:
        state = {key: value for key, value in self.__dict__.items() if key != "_zero_factory"}
        return _rebuilt, (type(self), self._target_col_name, self._quantiles, self._quantile_precision, state)


def _rebuilt(cls: Any, on: str, quantiles: list[float], precision: int, state: dict[str, Any]) -> Any:
    out = cls(on, quantiles, precision)
    out.__dict__.update(state)
    return out


class ApproximateTopK(AggregateFnV2[bytes, Any]):
    """The most frequent values of a column in bounded memory; nulls are left out.

    Values more frequent than ``n / 2**log_capacity`` are never missed, and counts are off by no more than
    that (the method of Misra and Gries). With fewer distinct values than ``2**log_capacity`` all is exact.

    Parameters
    ----------
    on
        The column.
    k
        How many values.
    log_capacity
        The binary logarithm of how many values are kept in memory.
    alias_name
        The name of the result, ``approx_topk(column)`` by default.
    encode_lists
        For columns of lists: whether their elements are counted instead of whole lists.
    """

    def __init__(
        self,
        on: str,
        k: int,
        log_capacity: int = 15,
        alias_name: str | None = None,
        encode_lists: bool = False,
    ) -> None:
        if k < 1:
            raise ValueError(f"k={k} is not a positive number.")
        self._k, self._log_capacity, self._encode_lists = k, log_capacity, encode_lists
        super().__init__(alias_name or f"approx_topk({on})", _no_items, on=on, ignore_nulls=True)

    def zero(self, log_capacity: int) -> bytes:
        """The counts of nothing."""
        return _no_items()

    def aggregate_block(self, block: Any) -> bytes:
        """The counts of the block."""
        column = self._column(block)
        if self._encode_lists and _is_list(column.type):
            column = pc.list_flatten(column)
        column = column.drop_null()
        counts: dict[Any, list[Any]] = {}
        if pa.types.is_nested(column.type) or isinstance(column.type, pa.BaseExtensionType):
            for value in _plain(column):
                counts.setdefault(_hashable(value), [value, 0])[1] += 1
        else:
            counted = pc.value_counts(column)
            for value, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True):
                counts[_hashable(value)] = [value, count]
        return pickle.dumps(self._shrunk(counts))

    def combine(self, current_accumulator: bytes, new: bytes) -> bytes:
        """The counts of both."""
        counts = pickle.loads(current_accumulator)
        for key, (value, count) in pickle.loads(new).items():
            counts.setdefault(key, [value, 0])[1] += count
        return pickle.dumps(self._shrunk(counts))

    def _shrunk(self, counts: dict[Any, list[Any]]) -> dict[Any, list[Any]]:
        capacity = 2**self._log_capacity
        if len(counts) <= capacity:
            return counts
        # What the first value beyond the capacity has, is taken off all: no sum exceeds the truth.
        least = sorted((count for _, count in counts.values()), reverse=True)[capacity]
        return {key: [value, count - least] for key, (value, count) in counts.items() if count > least}

    def finalize(self, accumulator: bytes) -> list[dict[str, Any]]:
        """The most frequent values with their counts, most frequent first."""
        items = sorted(pickle.loads(accumulator).values(), key=lambda item: -item[1])[: self._k]
        return [{str(self._target_col_name): value, "count": count} for value, count in items]


def _no_items() -> bytes:
    return pickle.dumps({})
