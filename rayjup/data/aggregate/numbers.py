"""Count, sum, least, greatest, mean, standard deviation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate.base import AggregateFnV2, is_number, is_ordered

if TYPE_CHECKING:
    import polars as pl


def _need(on: str | None, name: str) -> str:
    if not isinstance(on, str):
        raise ValueError(f"{name} needs the name of a column as `on`; it was given {on!r}.")
    return on


def _unless_null(expr: pl.Expr, nulls: pl.Expr, ignore: bool) -> pl.Expr:
    """The expression; null where there are nulls that count."""
    import polars as pl

    return expr if ignore else pl.when(nulls == 0).then(expr)


class Count(AggregateFnV2[int, int]):
    """How many rows there are, or how many values a column has.

    Parameters
    ----------
    on
        The column; all rows by default.
    ignore_nulls
        Whether nulls of the column are left out.
    alias_name
        The name of the result, ``count(column)`` by default.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rayjup.data.aggregate import Count
    >>> Count("x", ignore_nulls=True).aggregate_block(pa.table({"x": [1, None]}))
    1
    """

    def __init__(
        self, on: str | None = None, ignore_nulls: bool = False, alias_name: str | None = None
    ) -> None:
        super().__init__(alias_name or f"count({on or ''})", _zero, on=on, ignore_nulls=ignore_nulls)

    def aggregate_block(self, block: Any) -> int:
        """How many there are in the block."""
        if self._target_col_name is None:
            from rayjup.data.block.convert import to_table

            return to_table(block).num_rows
        return pc.count(self._column(block), mode="only_valid" if self._ignore_nulls else "all").as_py()

    def combine(self, current_accumulator: int, new: int) -> int:
        """The sum."""
        return current_accumulator + new

    def output_field(self, input_schema: pa.Schema) -> pa.Field:
        """An integer."""
        return pa.field(self.name, pa.int64(), nullable=False)

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression."""
        import polars as pl

        if self._target_col_name is None or not self._ignore_nulls:
            return pl.len().cast(pl.Int64).alias(self.name)
        return self._pl(schema).count().cast(pl.Int64).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """The number in the part."""
        expr = self.to_polars(schema)
        return None if expr is None else [expr.alias(self._part(0))]

    def final_polars(self) -> pl.Expr:
        """The sum of the parts."""
        import polars as pl

        return pl.col(self._part(0)).sum().alias(self.name)


def _zero() -> int:
    return 0


def _nothing() -> None:
    return None


class Sum(AggregateFnV2[Any, Any]):
    """The sum of a column; null where there is no value.

    Parameters
    ----------
    on
        The column.
    ignore_nulls
        Whether nulls are left out; otherwise they make the sum null.
    alias_name
        The name of the result, ``sum(column)`` by default.
    """

    def __init__(
        self, on: str | None = None, ignore_nulls: bool = True, alias_name: str | None = None
    ) -> None:
        super().__init__(alias_name or f"sum({_need(on, 'Sum')})", _zero, on=on, ignore_nulls=ignore_nulls)

    def aggregate_block(self, block: Any) -> Any:
        """The sum of the block."""
        column = self._column(block)
        if column.null_count == len(column) or (column.null_count and not self._ignore_nulls):
            return None
        return pc.sum(column).as_py()

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The sum of both."""
        return current_accumulator + new

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """The widest type of the same kind."""
        kind = self._type(input_schema)
        if kind is None:
            return None
        try:
            return pa.field(self.name, pc.sum(pa.nulls(1, kind)).type)
        except pa.ArrowNotImplementedError:
            return None

    def _wide(self, schema: pa.Schema) -> pl.Expr | None:
        import polars as pl

        kind = self._type(schema)
        if not is_number(kind):
            return None
        wide = pl.Float64 if pa.types.is_floating(kind) else pl.Int64
        if pa.types.is_unsigned_integer(kind):
            wide = pl.UInt64
        return self._pl(schema).cast(wide)

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression; numbers only."""
        import polars as pl

        column = self._wide(schema)
        if column is None:
            return None
        total = pl.when(column.count() > 0).then(column.sum())
        return _unless_null(total, column.null_count(), self._ignore_nulls).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """Sum, number of values, number of nulls."""
        column = self._wide(schema)
        if column is None:
            return None
        return [
            column.sum().alias(self._part(0)),
            column.count().alias(self._part(1)),
            column.null_count().alias(self._part(2)),
        ]

    def final_polars(self) -> pl.Expr:
        """The sum of the parts."""
        import polars as pl

        total = pl.when(pl.col(self._part(1)).sum() > 0).then(pl.col(self._part(0)).sum())
        return _unless_null(total, pl.col(self._part(2)).sum(), self._ignore_nulls).alias(self.name)


class _Extreme(AggregateFnV2[Any, Any]):
    """What least, greatest and greatest absolute value share. NaN is passed over."""

    _kernel: Callable[[Any], Any]
    _pick: Callable[[Any, Any], Any]
    _method: str

    def __init__(
        self,
        on: str | None,
        ignore_nulls: bool,
        alias_name: str | None,
        zero_factory: Callable[[], Any],
        label: str,
    ) -> None:
        name = alias_name or f"{label}({_need(on, type(self).__name__)})"
        super().__init__(name, zero_factory, on=on, ignore_nulls=ignore_nulls)

    def _prepare(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        return column

    def _allowed(self, kind: pa.DataType | None) -> bool:
        return is_ordered(kind)

    def aggregate_block(self, block: Any) -> Any:
        """The value of the block."""
        column = self._column(block)
        if column.null_count == len(column) or (column.null_count and not self._ignore_nulls):
            return None
        return type(self)._kernel(self._prepare(column)).as_py()

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The one of both."""
        if new != new:  # NaN
            return current_accumulator
        if current_accumulator != current_accumulator:
            return new
        return type(self)._pick(current_accumulator, new)

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """The type of the column."""
        kind = self._type(input_schema)
        return None if kind is None else pa.field(self.name, kind)

    def _reduced(self, column: pl.Expr) -> pl.Expr:
        return getattr(column, self._method)()

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression, where the values have an order that both agree on."""
        if not self._allowed(self._type(schema)):
            return None
        column = self._pl(schema)
        return _unless_null(self._reduced(column), column.null_count(), self._ignore_nulls).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """The value of the part, and its number of nulls."""
        if not self._allowed(self._type(schema)):
            return None
        column = self._pl(schema)
        return [self._reduced(column).alias(self._part(0)), column.null_count().alias(self._part(1))]

    def final_polars(self) -> pl.Expr:
        """The one of the parts."""
        import polars as pl

        value = self._reduced(pl.col(self._part(0)))
        return _unless_null(value, pl.col(self._part(1)).sum(), self._ignore_nulls).alias(self.name)


class Min(_Extreme):
    """The least value of a column; null where there is none.

    Parameters
    ----------
    on
        The column.
    ignore_nulls
        Whether nulls are left out; otherwise they make the result null.
    alias_name
        The name of the result, ``min(column)`` by default.
    zero_factory
        Makes the accumulator of no rows.
    """

    _kernel = staticmethod(pc.min)
    _pick = staticmethod(min)
    _method = "min"

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
        zero_factory: Callable[[], Any] = _nothing,
    ) -> None:
        super().__init__(on, ignore_nulls, alias_name, zero_factory, "min")


class Max(_Extreme):
    """The greatest value of a column; null where there is none.

    Parameters
    ----------
    on, ignore_nulls, alias_name, zero_factory
        As for ``Min``.
    """

    _kernel = staticmethod(pc.max)
    _pick = staticmethod(max)
    _method = "max"

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
        zero_factory: Callable[[], Any] = _nothing,
    ) -> None:
        super().__init__(on, ignore_nulls, alias_name, zero_factory, "max")


class AbsMax(_Extreme):
    """The greatest absolute value of a column; null where there is none.

    Parameters
    ----------
    on, ignore_nulls, alias_name, zero_factory
        As for ``Min``.
    """

    _kernel = staticmethod(pc.max)
    _pick = staticmethod(max)
    _method = "max"

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
        zero_factory: Callable[[], Any] = _nothing,
    ) -> None:
        super().__init__(on, ignore_nulls, alias_name, zero_factory, "abs_max")

    def _prepare(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.abs(column)

    def _allowed(self, kind: pa.DataType | None) -> bool:
        return is_number(kind)

    def _reduced(self, column: pl.Expr) -> pl.Expr:
        return column.abs().max()


class Mean(AggregateFnV2[Any, Any]):
    """The mean of a column; null where there is no value.

    Parameters
    ----------
    on
        The column.
    ignore_nulls
        Whether nulls are left out; otherwise they make the mean null.
    alias_name
        The name of the result, ``mean(column)`` by default.
    """

    def __init__(
        self, on: str | None = None, ignore_nulls: bool = True, alias_name: str | None = None
    ) -> None:
        super().__init__(
            alias_name or f"mean({_need(on, 'Mean')})", _no_sum, on=on, ignore_nulls=ignore_nulls
        )

    def aggregate_block(self, block: Any) -> Any:
        """Sum and number of values."""
        column = self._column(block)
        if column.null_count == len(column) or (column.null_count and not self._ignore_nulls):
            return None
        return [pc.sum(column).as_py(), len(column) - column.null_count]

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """Both sums, both numbers."""
        return [current_accumulator[0] + new[0], current_accumulator[1] + new[1]]

    def finalize(self, accumulator: Any) -> Any:
        """Sum over number."""
        return accumulator[0] / accumulator[1] if accumulator[1] else None

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A float."""
        return pa.field(self.name, pa.float64())

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression; numbers only."""
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = self._pl(schema).cast(pl.Float64)
        return _unless_null(column.mean(), column.null_count(), self._ignore_nulls).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """Sum, number of values, number of nulls."""
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = self._pl(schema).cast(pl.Float64)
        return [
            column.sum().alias(self._part(0)),
            column.count().alias(self._part(1)),
            column.null_count().alias(self._part(2)),
        ]

    def final_polars(self) -> pl.Expr:
        """Sum over number."""
        import polars as pl

        number = pl.col(self._part(1)).sum()
        mean = pl.when(number > 0).then(pl.col(self._part(0)).sum() / number)
        return _unless_null(mean, pl.col(self._part(2)).sum(), self._ignore_nulls).alias(self.name)


def _no_sum() -> list[int]:
    return [0, 0]


class Std(AggregateFnV2[Any, Any]):
    """The standard deviation of a column; null where there is no value.

    Parts are combined by the method of Chan, Golub and LeVeque, which does not cancel.

    Parameters
    ----------
    on
        The column.
    ddof
        What is taken off the number of values: 1 for a sample, 0 for a population.
    ignore_nulls
        Whether nulls are left out; otherwise they make the result null.
    alias_name
        The name of the result, ``std(column)`` by default.
    """

    def __init__(
        self,
        on: str | None = None,
        ddof: int = 1,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
    ) -> None:
        super().__init__(
            alias_name or f"std({_need(on, 'Std')})", _no_spread, on=on, ignore_nulls=ignore_nulls
        )
        self._ddof = ddof

    def aggregate_block(self, block: Any) -> Any:
        """Squared differences from the mean, mean, number."""
        column = self._column(block)
        if column.null_count == len(column) or (column.null_count and not self._ignore_nulls):
            return None
        numbers = column.cast(pa.float64())
        mean = pc.mean(numbers)
        squares = pc.sum(pc.power(pc.subtract(numbers, mean), 2)).as_py()
        return [squares, mean.as_py(), len(column) - column.null_count]

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The same for the values of both."""
        squares, mean, number = current_accumulator
        squares_2, mean_2, number_2 = new
        total = number + number_2
        if not total:
            return current_accumulator
        difference = mean_2 - mean
        mean_of_both = (mean * number + mean_2 * number_2) / total
        return [squares + squares_2 + difference**2 * number * number_2 / total, mean_of_both, total]

    def finalize(self, accumulator: Any) -> Any:
        """The root of the mean square."""
        squares, _, number = accumulator
        if not number:
            return None
        return math.sqrt(squares / (number - self._ddof)) if number > self._ddof else math.nan

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A float."""
        return pa.field(self.name, pa.float64())

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression; numbers only."""
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = self._pl(schema).cast(pl.Float64)
        number = column.count()
        spread = pl.when(number > self._ddof).then(column.std(ddof=self._ddof))
        spread = spread.otherwise(pl.when(number > 0).then(pl.lit(math.nan)))
        return _unless_null(spread, column.null_count(), self._ignore_nulls).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """Squared differences, mean, number of values, number of nulls."""
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = self._pl(schema).cast(pl.Float64)
        return [
            ((column - column.mean()) ** 2).sum().alias(self._part(0)),
            column.mean().fill_null(0.0).alias(self._part(1)),
            column.count().alias(self._part(2)),
            column.null_count().alias(self._part(3)),
        ]

    def final_polars(self) -> pl.Expr:
        """The root of the mean square."""
        import polars as pl

        squares, mean, number = (pl.col(self._part(i)) for i in range(3))
        total = number.sum()
        common = (mean * number).sum() / total
        variance = (squares + number * (mean - common) ** 2).sum() / (total - self._ddof)
        spread = pl.when(total > self._ddof).then(variance.sqrt())
        spread = spread.otherwise(pl.when(total > 0).then(pl.lit(math.nan)))
        return _unless_null(spread, pl.col(self._part(3)).sum(), self._ignore_nulls).alias(self.name)


def _no_spread() -> list[float]:
    return [0.0, 0.0, 0]
