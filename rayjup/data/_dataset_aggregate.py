"""Groups and numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.data.logical.base import Op
from rayjup.data.logical.groups import Aggregate

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.grouped_data import GroupedData


class AggregateMixin:
    """Groups and numbers."""

    _op: Op
    _with: Callable[[Op], Dataset]

    def groupby(self, key: str | list[str] | None, num_partitions: int | None = None) -> GroupedData:
        """Rows grouped by one or several columns (by none: all of them in one group).

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.from_items([{"k": "a", "x": 1}, {"k": "b", "x": 2}, {"k": "a", "x": 3}]
        ...     ).groupby("k").sum("x").take_all()
        [{'k': 'a', 'sum(x)': 4}, {'k': 'b', 'sum(x)': 2}]
        """
        from rayjup.data.grouped_data import GroupedData

        return GroupedData(self, key, num_partitions=num_partitions)  # type: ignore[arg-type]

    def aggregate(self, *aggs: Any) -> Any:
        """One value per aggregation over all rows: a dict by name (the value itself for an ``AggregateFn``
        alone).

        Examples
        --------
        >>> import rayjup
        >>> from rayjup.data.aggregate import Max, Mean
        >>> rayjup.data.range(5).aggregate(Max("id"), Mean("id"))
        {'max(id)': 4, 'mean(id)': 2.0}
        """
        values = self._numbers(*aggs)
        return values

    def _numbers(self, *aggs: Any) -> dict[str, Any]:
        names = [str(a.name) for a in aggs]
        if len(set(names)) < len(names):
            raise ValueError(f"aggregate: two aggregations have the same name ({names}); give alias_name.")
        rows = self._with(Aggregate((self._op,), (), tuple(aggs))).take(1)
        if not rows:
            return dict.fromkeys(names)
        return {name: rows[0][name] for name in names}

    def _on(self, on: Any) -> list[str]:
        """The columns to compute something of; all where none are given."""
        if on is None:
            names = self.columns()  # type: ignore[attr-defined]
            return names or []
        return [on] if isinstance(on, str) else list(on)

    def _one(self, make: Callable[[str], Any], on: Any) -> Any:
        names = self._on(on)
        if not names:
            return None
        values = self._numbers(*(make(n) for n in names))
        if len(names) == 1 and (on is None or isinstance(on, str) or len(on) == 1):
            return next(iter(values.values()))
        return values

    def sum(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """The sum of a column, or a dict of sums; None without rows."""
        from rayjup.data.aggregate import Sum

        return self._one(lambda n: Sum(n, ignore_nulls=ignore_nulls), on)

    def min(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """The least value of a column, or a dict of them."""
        from rayjup.data.aggregate import Min

        return self._one(lambda n: Min(n, ignore_nulls=ignore_nulls), on)

    def max(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """The greatest value of a column, or a dict of them."""
        from rayjup.data.aggregate import Max

        return self._one(lambda n: Max(n, ignore_nulls=ignore_nulls), on)

    def mean(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Any:
        """The mean of a column, or a dict of them."""
        from rayjup.data.aggregate import Mean

        return self._one(lambda n: Mean(n, ignore_nulls=ignore_nulls), on)

    def std(self, on: str | list[str] | None = None, ddof: int = 1, ignore_nulls: bool = True) -> Any:
        """The standard deviation of a column, or a dict of them."""
        from rayjup.data.aggregate import Std

        return self._one(lambda n: Std(n, ddof=ddof, ignore_nulls=ignore_nulls), on)

    def unique(self, column: str, ignore_nulls: bool = False) -> list[Any]:
        """Each value of a column once, in order, null last.

        Examples
        --------
        >>> import rayjup
        >>> rayjup.data.from_items([2, 1, 2]).unique("item")
        [1, 2]
        """
        rows = self._with(Aggregate((self._op,), (column,), ())).take_all()
        values = [row[column] for row in rows]
        return [v for v in values if v is not None] if ignore_nulls else values
