"""Percentages: of missing values, of zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate.base import AggregateFnV2, is_number

if TYPE_CHECKING:
    import polars as pl


class _Share(AggregateFnV2[Any, Any]):
    """How many of all, in percent."""

    def combine(self, current_accumulator: list[int], new: list[int]) -> list[int]:
        """Both counts."""
        return [current_accumulator[0] + new[0], current_accumulator[1] + new[1]]

    def finalize(self, accumulator: list[int]) -> float | None:
        """The percentage; ``None`` of nothing."""
        return accumulator[0] / accumulator[1] * 100.0 if accumulator[1] else None

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A float."""
        return pa.field(self.name, pa.float64())

    def _counts(self, schema: pa.Schema) -> tuple[pl.Expr, pl.Expr] | None:
        raise NotImplementedError(f"{type(self).__name__} defines no counts")

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression; numbers only."""
        import polars as pl

        counts = self._counts(schema)
        if counts is None:
            return None
        hit, total = counts
        return pl.when(total > 0).then(hit / total * 100.0).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """Both counts of the part."""
        counts = self._counts(schema)
        return None if counts is None else [counts[0].alias(self._part(0)), counts[1].alias(self._part(1))]

    def final_polars(self) -> pl.Expr:
        """The percentage of all parts."""
        import polars as pl

        hit, total = pl.col(self._part(0)).sum(), pl.col(self._part(1)).sum()
        return pl.when(total > 0).then(hit / total * 100.0).alias(self.name)


class MissingValuePercentage(_Share):
    """The percentage of values that are null or NaN.

    Parameters
    ----------
    on
        The column.
    alias_name
        The name of the result, ``missing_pct(column)`` by default.
    """

    def __init__(self, on: str, alias_name: str | None = None) -> None:
        super().__init__(alias_name or f"missing_pct({on})", _none_of_none, on=on, ignore_nulls=False)

    def aggregate_block(self, block: Any) -> list[int]:
        """Missing values and rows."""
        column = self._column(block)
        missing = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
        return [pc.sum(missing).as_py() or 0, len(column)]

    def _counts(self, schema: pa.Schema) -> tuple[pl.Expr, pl.Expr] | None:
        import polars as pl

        kind = self._type(schema)
        if kind is None:
            return None
        column = pl.col(str(self._target_col_name))
        missing = column.null_count()
        if pa.types.is_floating(kind):
            missing = missing + column.is_nan().sum()
        return missing, pl.len()


class ZeroPercentage(_Share):
    """The percentage of values that are zero.

    Parameters
    ----------
    on
        The column.
    ignore_nulls
        Whether nulls are left out of the total.
    alias_name
        The name of the result, ``zero_pct(column)`` by default.
    """

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(alias_name or f"zero_pct({on})", _none_of_none, on=on, ignore_nulls=ignore_nulls)

    def merge(self, current: Any, new: Any) -> Any:
        """Both counts; there are always some."""
        return self.combine(current, new)

    def aggregate_block(self, block: Any) -> list[int]:
        """Zeros and values."""
        column = self._column(block)
        zeros = pc.sum(pc.equal(column, 0)).as_py() or 0
        return [zeros, len(column) - (column.null_count if self._ignore_nulls else 0)]

    def _counts(self, schema: pa.Schema) -> tuple[pl.Expr, pl.Expr] | None:
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = pl.col(str(self._target_col_name))
        return (column == 0).sum(), column.count() if self._ignore_nulls else pl.len()


def _none_of_none() -> list[int]:
    return [0, 0]
