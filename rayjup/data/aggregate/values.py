"""Lists of values, distinct values, counts of values, quantiles."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate.base import AggregateFnV2, is_number, is_ordered

if TYPE_CHECKING:
    import polars as pl


def _plain(column: Any) -> list[Any]:
    from rayjup.data.block.convert import column_values

    return column_values(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _hashable(value: Any) -> Any:
    """A key that is equal for equal values: lists as tuples, one NaN."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _hashable(item)) for key, item in value.items()))
    return "\0nan" if value != value else value


class AsList(AggregateFnV2[Any, Any]):
    """All values of a column as a list, in the order of the rows.

    Parameters
    ----------
    on
        The column.
    alias_name
        The name of the result, ``list(column)`` by default.
    ignore_nulls
        Whether nulls are left out.
    """

    def __init__(self, on: str, alias_name: str | None = None, ignore_nulls: bool = False) -> None:
        super().__init__(alias_name or f"list({on})", list, on=on, ignore_nulls=ignore_nulls)

    def aggregate_block(self, block: Any) -> Any:
        """The values of the block."""
        column = self._column(block)
        return _plain(column.drop_null() if self._ignore_nulls else column)

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """One list after the other."""
        return [*current_accumulator, *new]

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A list of the type of the column."""
        kind = self._type(input_schema)
        return None if kind is None else pa.field(self.name, pa.list_(kind))

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression."""
        parts = self.partial_polars(schema)
        return None if parts is None else parts[0].alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """The list of the part."""
        if not is_ordered(self._type(schema)):
            return None
        column = self._pl(schema)
        return [(column.drop_nulls() if self._ignore_nulls else column).implode().alias(self._part(0))]

    def final_polars(self) -> pl.Expr:
        """One list after the other."""
        import polars as pl

        values = pl.col(self._part(0)).explode()
        return (values.drop_nulls() if self._ignore_nulls else values).implode().alias(self.name)


class Quantile(AggregateFnV2[Any, Any]):
    """A quantile of a column, exactly, between values linearly; null where there is no value.

    Parameters
    ----------
    on
        The column.
    q
        Which one, from 0 to 1; 0.5 is the median.
    ignore_nulls
        Whether nulls are left out; otherwise they make the result null.
    alias_name
        The name of the result, ``quantile(column)`` by default.
    """

    def __init__(
        self,
        on: str | None = None,
        q: float = 0.5,
        ignore_nulls: bool = True,
        alias_name: str | None = None,
    ) -> None:
        if not isinstance(on, str):
            raise ValueError(f"Quantile needs the name of a column as `on`; it was given {on!r}.")
        if not 0 <= q <= 1:
            raise ValueError(f"q={q} is not between 0 and 1.")
        super().__init__(alias_name or f"quantile({on})", _no_values, on=on, ignore_nulls=ignore_nulls)
        self._q = q

    def aggregate_block(self, block: Any) -> Any:
        """The values of the block."""
        column = self._column(block)
        if column.null_count and not self._ignore_nulls:
            return None
        return column.drop_null().to_numpy()

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The values of both."""
        return np.concatenate([current_accumulator, new])

    def finalize(self, accumulator: Any) -> Any:
        """The quantile."""
        values = np.asarray(accumulator, dtype=np.float64)
        return float(np.quantile(values, self._q)) if len(values) else None

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A float."""
        return pa.field(self.name, pa.float64())

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression; numbers only."""
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = self._pl(schema).cast(pl.Float64)
        value = column.quantile(self._q, "linear")
        if self._ignore_nulls:
            return value.alias(self.name)
        return pl.when(column.null_count() == 0).then(value).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """The values of the part, and its number of nulls."""
        import polars as pl

        if not is_number(self._type(schema)):
            return None
        column = self._pl(schema)
        values = column.cast(pl.Float64).drop_nulls().implode()
        return [values.alias(self._part(0)), column.null_count().alias(self._part(1))]

    def final_polars(self) -> pl.Expr:
        """The quantile of all values."""
        import polars as pl

        value = pl.col(self._part(0)).explode().quantile(self._q, "linear")
        if not self._ignore_nulls:
            value = pl.when(pl.col(self._part(1)).sum() == 0).then(value)
        return value.alias(self.name)


def _no_values() -> np.ndarray:
    return np.empty(0)


class Unique(AggregateFnV2[Any, Any]):
    """The distinct values of a column as a list, in the order in which they first appear.

    Parameters
    ----------
    on
        The column.
    ignore_nulls
        Whether null is left out.
    alias_name
        The name of the result, ``unique(column)`` by default.
    encode_lists
        For columns of lists: ``True`` (or ``FLATTEN``) takes their elements, ``False`` (or ``HASH``) whole
        lists.
    """

    class ListEncodingMode(str, Enum):
        """What is distinct in a column of lists: elements, or whole lists."""

        FLATTEN = "FLATTEN"
        HASH = "HASH"

    def __init__(
        self,
        on: str | None = None,
        ignore_nulls: bool = False,
        alias_name: str | None = None,
        encode_lists: bool | ListEncodingMode | None = None,
    ) -> None:
        if not isinstance(on, str):
            raise ValueError(f"Unique needs the name of a column as `on`; it was given {on!r}.")
        super().__init__(alias_name or f"unique({on})", list, on=on, ignore_nulls=ignore_nulls)
        self._flatten = encode_lists is True or encode_lists == self.ListEncodingMode.FLATTEN

    def aggregate_block(self, block: Any) -> Any:
        """The distinct values of the block."""
        column = self._column(block)
        if self._flatten and _is_list(column.type):
            column = pc.list_flatten(column)
        if self._ignore_nulls:
            column = column.drop_null()
        if is_ordered(column.type):
            return column.unique().to_pylist()
        return _distinct(_plain(column))

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The distinct values of both."""
        return _distinct([*current_accumulator, *new])

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """A list of the type of the column, or of its elements."""
        kind = self._type(input_schema)
        if kind is None:
            return None
        return pa.field(self.name, pa.list_(kind.value_type if self._flatten and _is_list(kind) else kind))

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression."""
        parts = self.partial_polars(schema)
        return None if parts is None else parts[0].alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """The distinct values of the part."""
        if not is_ordered(self._type(schema)):
            return None
        column = self._pl(schema)
        column = column.drop_nulls() if self._ignore_nulls else column
        return [column.unique(maintain_order=True).implode().alias(self._part(0))]

    def final_polars(self) -> pl.Expr:
        """The distinct values of all parts."""
        import polars as pl

        values = pl.col(self._part(0)).explode()
        values = values.drop_nulls() if self._ignore_nulls else values
        return values.unique(maintain_order=True).implode().alias(self.name)


def _distinct(values: list[Any]) -> list[Any]:
    seen: dict[Any, Any] = {}
    for value in values:
        seen.setdefault(_hashable(value), value)
    return list(seen.values())


class CountDistinct(AggregateFnV2[Any, Any]):
    """How many distinct values a column has.

    Parameters
    ----------
    on
        The column.
    ignore_nulls
        Whether null is left out.
    alias_name
        The name of the result, ``count_distinct(column)`` by default.
    """

    def __init__(self, on: str, ignore_nulls: bool = True, alias_name: str | None = None) -> None:
        super().__init__(alias_name or f"count_distinct({on})", set, on=on, ignore_nulls=ignore_nulls)

    def aggregate_block(self, block: Any) -> Any:
        """The distinct values of the block."""
        column = self._column(block)
        column = column.drop_null() if self._ignore_nulls else column
        if is_ordered(column.type):
            column = column.unique()
        return {_hashable(value) for value in _plain(column)}

    def combine(self, current_accumulator: Any, new: Any) -> Any:
        """The distinct values of both."""
        return set(current_accumulator) | set(new)

    def finalize(self, accumulator: Any) -> int:
        """Their number."""
        return len(accumulator)

    def output_field(self, input_schema: pa.Schema) -> pa.Field | None:
        """An integer."""
        return pa.field(self.name, pa.int64(), nullable=False)

    def to_polars(self, schema: pa.Schema) -> pl.Expr | None:
        """As an expression."""
        import polars as pl

        if not is_ordered(self._type(schema)):
            return None
        column = self._pl(schema)
        column = column.drop_nulls() if self._ignore_nulls else column
        return column.n_unique().cast(pl.Int64).alias(self.name)

    def partial_polars(self, schema: pa.Schema) -> list[pl.Expr] | None:
        """The distinct values of the part."""
        if not is_ordered(self._type(schema)):
            return None
        column = self._pl(schema)
        column = column.drop_nulls() if self._ignore_nulls else column
        return [column.unique().implode().alias(self._part(0))]

    def final_polars(self) -> pl.Expr:
        """The number of distinct values of all parts."""
        import polars as pl

        values = pl.col(self._part(0)).explode()
        values = values.drop_nulls() if self._ignore_nulls else values
        return values.n_unique().cast(pl.Int64).alias(self.name)


class ValueCounter(AggregateFnV2[Any, Any]):
    """How often each value of a column occurs: ``{"values": [...], "counts": [...]}``.

    Parameters
    ----------
    on
        The column.
    alias_name
        The name of the result, ``value_counter(column)`` by default.
    """

    def __init__(self, on: str, alias_name: str | None = None) -> None:
        super().__init__(alias_name or f"value_counter({on})", _no_counts, on=on, ignore_nulls=True)

    # Whether elements of lists are counted; set by preprocessors.
    _flatten = False

    def aggregate_block(self, block: Any) -> dict[str, list[Any]]:
        """The counts of the block."""
        column = self._column(block)
        if self._flatten and _is_list(column.type):
            column = pc.list_flatten(column)
        if is_ordered(column.type):
            counts = pc.value_counts(column)
            return {"values": counts.field(0).to_pylist(), "counts": counts.field(1).to_pylist()}
        values = _plain(column)
        return self.combine({"values": [], "counts": []}, {"values": values, "counts": [1] * len(values)})

    def combine(
        self, current_accumulator: dict[str, list[Any]], new_accumulator: dict[str, list[Any]]
    ) -> dict[str, list[Any]]:
        """The counts of both."""
        values, counts = list(current_accumulator["values"]), list(current_accumulator["counts"])
        places = {_hashable(value): place for place, value in enumerate(values)}
        for value, count in zip(new_accumulator["values"], new_accumulator["counts"], strict=True):
            key = _hashable(value)
            if key in places:
                counts[places[key]] += count
            else:
                places[key] = len(values)
                values.append(value)
                counts.append(count)
        return {"values": values, "counts": counts}


def _no_counts() -> dict[str, list[Any]]:
    return {"values": [], "counts": []}
