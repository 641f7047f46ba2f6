"""The interfaces of aggregations."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import polars as pl

AccumulatorType = TypeVar("AccumulatorType")
AggOutputType = TypeVar("AggOutputType")


class AggregateFn:
    """An aggregation given as functions (the older form; ``AggregateFnV2`` is the newer).

    Parameters
    ----------
    init
        Makes the first accumulator; is given the key of the group.
    merge
        Joins two accumulators.
    name
        The name of the resulting column.
    accumulate_row
        Takes accumulator and row (a dict), gives the next accumulator.
    accumulate_block
        Takes accumulator and block, gives the next accumulator; instead of ``accumulate_row``.
    finalize
        Makes the result from the last accumulator.

    Examples
    --------
    >>> from rayjup.data.aggregate import AggregateFn
    >>> AggregateFn(
    ...     init=lambda key: 0,
    ...     accumulate_row=lambda count, row: count + 1,
    ...     merge=lambda a, b: a + b,
    ...     name="rows",
    ... ).name
    'rows'
    """

    def __init__(
        self,
        init: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
        name: str,
        accumulate_row: Callable[[Any, dict[str, Any]], Any] | None = None,
        accumulate_block: Callable[[Any, Any], Any] | None = None,
        finalize: Callable[[Any], Any] | None = None,
    ) -> None:
        if (accumulate_row is None) == (accumulate_block is None):
            given = "neither was" if accumulate_row is None else "both were"
            raise ValueError(
                f"The aggregation {name!r} needs either accumulate_row or accumulate_block; {given} given."
            )
        if not isinstance(name, str):
            raise TypeError(f"The name of an aggregation is a string, not {name!r}.")
        self.name = name
        self.init = init
        self.merge = merge
        self.accumulate_row = accumulate_row
        self.accumulate_block = accumulate_block
        self.finalize = finalize if finalize is not None else _same

    def _validate(self, schema: pa.Schema | None) -> None:
        """Check it against the columns of the dataset."""


def _same(accumulator: Any) -> Any:
    return accumulator


class AggregateFnV2(Generic[AccumulatorType, AggOutputType]):
    """An aggregation in three steps; subclass it and define ``aggregate_block`` and ``combine``.

    Parameters
    ----------
    name
        The name of the resulting column.
    zero_factory
        Makes the accumulator of no rows.
    on
        The column; ``None`` where it is about whole rows.
    ignore_nulls
        ``True``: accumulators that are ``None`` are passed over; ``False``: they make the result null.

    Examples
    --------
    >>> import pyarrow.compute as pc
    >>> from rayjup.data.aggregate import AggregateFnV2
    >>> class Longest(AggregateFnV2):
    ...     def __init__(self, on):
    ...         super().__init__(f"longest({on})", lambda: 0, on=on, ignore_nulls=True)
    ...     def aggregate_block(self, block):
    ...         return pc.max(pc.utf8_length(block[self.get_target_column()])).as_py()
    ...     def combine(self, current_accumulator, new):
    ...         return max(current_accumulator, new)
    >>> Longest("word").name
    'longest(word)'
    """

    # Whether NaN counts as a missing value; set on the instance by `without_nan`.
    _nan_is_null = False

    def __init__(
        self, name: str, zero_factory: Callable[[], AccumulatorType], *, on: str | None, ignore_nulls: bool
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"The name of an aggregation is a string that is not empty, not {name!r}.")
        if on is not None and not isinstance(on, str):
            raise TypeError(f"The column of the aggregation {name!r} is given by its name, not as {on!r}.")
        self.name = name
        self._zero_factory = zero_factory
        self._target_col_name = on
        self._ignore_nulls = ignore_nulls
        match = re.match(r"^([^(]+)(?:\(.*\))?$", name)
        self._agg_name = match[1] if match else name

    def get_target_column(self) -> str | None:
        """The column; ``None`` where it is about whole rows."""
        return self._target_col_name

    def get_agg_name(self) -> str:
        """The kind of aggregation: the name without the column."""
        return self._agg_name

    def aggregate_block(self, block: Any) -> AccumulatorType:
        """The accumulator of one block."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no aggregate_block(block): it makes an accumulator of a block."
        )

    def combine(self, current_accumulator: AccumulatorType, new: AccumulatorType) -> AccumulatorType:
        """One accumulator for what two stand for."""
        raise NotImplementedError(
            f"{type(self).__name__} defines no combine(current_accumulator, new): it joins two accumulators."
        )

    def finalize(self, accumulator: AccumulatorType) -> Any:
        """The result; the accumulator itself by default."""
        return accumulator

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """Name and type of the result; ``None`` where the type is not known before."""
        return None

    # As functions, the way `AggregateFn` has them; nulls are taken care of here.

    def init(self, key: Any) -> AccumulatorType:
        """The accumulator of no rows."""
        return self._zero_factory()

    def accumulate_block(self, accumulator: AccumulatorType, block: Any) -> AccumulatorType:
        """The accumulator with one more block."""
        return self.merge(accumulator, self.aggregate_block(block))

    def merge(self, current: Any, new: Any) -> Any:
        """``combine``, with accumulators that may be ``None``."""
        if current is None or new is None:
            if not self._ignore_nulls:
                return None
            return new if current is None else current
        return self.combine(current, new)

    def finish(self, accumulator: Any) -> Any:
        """``finalize``, for an accumulator that may be ``None``."""
        return None if accumulator is None else self.finalize(accumulator)

    def _validate(self, schema: pa.Schema | None) -> None:
        """Check it against the columns of the dataset."""
        on = self._target_col_name
        if on is not None and schema is not None and on not in schema.names:
            raise ValueError(
                f"The aggregation {self.name!r} is over column {on!r}, which does not exist; "
                f"the columns are {', '.join(map(repr, schema.names)) or 'none'}."
            )

    # The same as Polars expressions; `None` where there is no equal one.

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """The result as one expression over all rows of a group, under the name of the aggregation."""
        return None

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """What to compute of each part; ``final_polars`` makes the result from all of it."""
        return None

    def final_polars(self) -> pl.Expr | None:
        """The result as an expression over the rows that ``partial_polars`` made."""
        return None

    # Helpers of the aggregations of this package.

    def _column(self, block: Any) -> pa.ChunkedArray:
        from rayjup.data.block.convert import to_table

        table = to_table(block)
        on = self._target_col_name
        if on not in table.column_names:
            raise ValueError(
                f"The aggregation {self.name!r} is over column {on!r}, which does not exist; "
                f"the columns are {', '.join(map(repr, table.column_names)) or 'none'}."
            )
        column = table.column(on)
        if self._nan_is_null and pa.types.is_floating(column.type):
            return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        return column

    def _pl(self, schema: pa.Schema) -> pl.Expr:
        import polars as pl

        on = str(self._target_col_name)
        column = pl.col(on)
        if self._nan_is_null and pa.types.is_floating(schema.field(on).type):
            return column.fill_nan(None)
        return column

    def _type(self, schema: pa.Schema) -> pa.DataType | None:
        on = self._target_col_name
        if on is None or len(schema.get_all_field_indices(on)) != 1:
            return None
        return schema.field(on).type

    def _part(self, position: int) -> str:
        return f"{self.name}.{position}"


class VectorizedAggregateFnV2(AggregateFnV2[AccumulatorType, AggOutputType]):
    """An aggregation whose accumulators are combined all at once.

    Parameters
    ----------
    name, zero_factory, on, ignore_nulls
        As for ``AggregateFnV2``.
    """

    def _combine_column(self, accumulators: Any) -> Any:
        """One accumulator for what a column of them stands for."""
        items = accumulators.to_pylist() if hasattr(accumulators, "to_pylist") else list(accumulators)
        out = items[0]
        for item in items[1:]:
            out = self.combine(out, item)
        return out

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """One accumulator for what two stand for."""
        return self._combine_column([current_accumulator, new])


def without_nan(aggregation: AggregateFnV2[Any, Any]) -> AggregateFnV2[Any, Any]:
    """The aggregation, with NaN taken for a missing value as scikit-learn does."""
    aggregation._nan_is_null = True
    return aggregation


def is_number(kind: pa.DataType | None) -> bool:
    """Whether Polars and Arrow calculate the same with such numbers."""
    return kind is not None and (
        pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    )


def is_ordered(kind: pa.DataType | None) -> bool:
    """Whether Polars and Arrow put values of the type in the same order."""
    return is_number(kind) or (
        kind is not None
        and (
            pa.types.is_boolean(kind)
            or pa.types.is_string(kind)
            or pa.types.is_large_string(kind)
            or pa.types.is_date32(kind)
            or pa.types.is_timestamp(kind)
            or pa.types.is_duration(kind)
        )
    )
