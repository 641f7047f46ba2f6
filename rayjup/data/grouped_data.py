"""Rows grouped by keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from rayjup.data._dataset_transform import function_of, remote_of
from rayjup.data.block.convert import check_format
from rayjup.data.logical.groups import Aggregate, GroupWindow, MapGroups

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


class GroupedData:
    """Rows grouped by keys; made by :meth:`rayjup.data.Dataset.groupby`. Groups come in order of their keys.

    Parameters
    ----------
    dataset : Dataset
    key : str, list of str or None
    num_partitions : int or None
        In how many parts the rows are exchanged.
    """

    def __init__(self, dataset: Dataset, key: str | list[str] | None, *, num_partitions: int | None) -> None:
        self._dataset = dataset
        self._keys = () if key is None else (key,) if isinstance(key, str) else tuple(key)
        if not all(isinstance(k, str) for k in self._keys):
            raise ValueError(f"groupby: {key!r} must be the name of a column, or a list of names.")
        if num_partitions is not None and num_partitions < 1:
            raise ValueError(f"groupby: num_partitions={num_partitions} must be at least 1.")
        self._num_partitions = num_partitions

    def __repr__(self) -> str:
        return f"GroupedData(dataset={self._dataset!r}, key={list(self._keys)!r})"

    def aggregate(self, *aggs: Any) -> Dataset:
        """One row per group: the keys, and one column per aggregation.

        Examples
        --------
        >>> import rayjup
        >>> from rayjup.data.aggregate import Count, Mean
        >>> rayjup.data.from_items([{"k": 1, "x": 2.0}, {"k": 1, "x": 4.0}]).groupby("k").aggregate(
        ...     Count(), Mean("x")).take_all()
        [{'k': 1, 'count()': 2, 'mean(x)': 3.0}]
        """
        names = [str(a.name) for a in aggs]
        if len(set(names)) < len(names):
            raise ValueError(f"aggregate: two aggregations have the same name ({names}); give alias_name.")
        return self._dataset._with(
            Aggregate((self._dataset._op,), self._keys, tuple(aggs), self._num_partitions)
        )

    def _each(self, make: Callable[[str], Any], on: str | list[str] | None) -> Dataset:
        if on is None:
            names = [n for n in self._dataset.columns() or [] if n not in self._keys]
        else:
            names = [on] if isinstance(on, str) else list(on)
        return self.aggregate(*(make(n) for n in names))

    def count(self) -> Dataset:
        """The number of rows of each group, in column ``count()``."""
        from rayjup.data.aggregate import Count

        return self.aggregate(Count())

    def sum(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """The sum of a column, of several, or of all, in columns ``sum(name)``."""
        from rayjup.data.aggregate import Sum

        return self._each(lambda n: Sum(n, ignore_nulls=ignore_nulls), on)

    def min(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """The least value of a column, of several, or of all."""
        from rayjup.data.aggregate import Min

        return self._each(lambda n: Min(n, ignore_nulls=ignore_nulls), on)

    def max(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """The greatest value of a column, of several, or of all."""
        from rayjup.data.aggregate import Max

        return self._each(lambda n: Max(n, ignore_nulls=ignore_nulls), on)

    def mean(self, on: str | list[str] | None = None, ignore_nulls: bool = True) -> Dataset:
        """The mean of a column, of several, or of all."""
        from rayjup.data.aggregate import Mean

        return self._each(lambda n: Mean(n, ignore_nulls=ignore_nulls), on)

    def std(self, on: str | list[str] | None = None, ddof: int = 1, ignore_nulls: bool = True) -> Dataset:
        """The standard deviation of a column, of several, or of all."""
        from rayjup.data.aggregate import Std

        return self._each(lambda n: Std(n, ddof=ddof, ignore_nulls=ignore_nulls), on)

    def map_groups(
        self,
        fn: Any,
        *,
        zero_copy_batch: bool = True,
        compute: Any = None,
        batch_format: str | None = "default",
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, int] | tuple[int, int, int] | None = None,
        ray_remote_args_fn: Callable[[], dict[str, Any]] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Call a function with the rows of each group; what it gives are the rows of the result.

        Parameters
        ----------
        fn : callable
            Takes a batch in ``batch_format`` and gives one, or yields some; or a class whose instances do.

        The others are as in :meth:`rayjup.data.Dataset.map_batches`.

        Examples
        --------
        >>> import rayjup
        >>> ds = rayjup.data.from_items([{"k": 1, "x": 3}, {"k": 2, "x": 5}, {"k": 1, "x": 4}])
        >>> ds.groupby("k").map_groups(lambda g: {"k": g["k"][:1], "top": [g["x"].max()]}).take_all()
        [{'k': 1, 'top': 4}, {'k': 2, 'top': 5}]
        """
        check_format(batch_format)
        function = function_of(
            "map_groups",
            fn,
            compute=compute,
            concurrency=concurrency,
            fn_args=fn_args,
            fn_kwargs=fn_kwargs,
            fn_constructor_args=fn_constructor_args,
            fn_constructor_kwargs=fn_constructor_kwargs,
            remote=remote_of(num_cpus, num_gpus, memory, ray_remote_args),
            ray_remote_args_fn=ray_remote_args_fn,
        )
        return self._dataset._with(
            MapGroups((self._dataset._op,), function, self._keys, batch_format, self._num_partitions)
        )

    def with_column(self, column_name: str, expr: Any, **ray_remote_args: Any) -> Dataset:
        """A column that an expression gives for each group on its own; the rows keep their places."""
        from rayjup.data.expressions import Expr

        if not isinstance(expr, Expr):
            raise TypeError(f"with_column: {expr!r} is no expression; make one with col(), lit() or udf.")
        return self._dataset._with(GroupWindow((self._dataset._op,), self._keys, column_name, expr))
