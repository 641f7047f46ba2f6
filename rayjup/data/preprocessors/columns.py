"""What preprocessors that work column by column share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.preprocessor import SerializablePreprocessorBase


class ColumnPreprocessor(SerializablePreprocessorBase):
    """A preprocessor of some columns, each of which becomes one column."""

    def __init__(self, columns: list[str], output_columns: list[str] | None = None) -> None:
        if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
            raise TypeError(f"columns is a list of names of columns, not {columns!r}.")
        self._columns = list(columns)
        self._output_columns = self._derive_and_validate_output_columns(self._columns, output_columns)

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return self._columns

    @property
    def output_columns(self) -> list[str]:
        """The columns that it makes."""
        return self._output_columns

    def _settings(self) -> dict[str, Any]:
        """The further arguments of the constructor, for its text."""
        return {}

    def __repr__(self) -> str:
        shown = {"columns": self._columns, **self._settings(), "output_columns": self._output_columns}
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def _stats(self) -> dict[str, Any]:
        return self.stats_ or {}

    def _transform_arrow(self, table: pa.Table) -> pa.Table:
        for name, output in zip(self._columns, self._output_columns, strict=True):
            table = put(table, output, self._transform_column(name, get(table, name, self)))
        return table

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _transform_column(name, column)")


def get(table: pa.Table, name: str, who: Any) -> pa.ChunkedArray:
    """A column; where it is missing, the error says who wanted it."""
    if name not in table.column_names:
        raise KeyError(
            f"{type(who).__name__} needs column {name!r}; the columns are {', '.join(table.column_names)}."
        )
    return table.column(name)


def put(table: pa.Table, name: str, column: Any) -> pa.Table:
    """The table with a column added, or replaced."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def numbers(column: pa.ChunkedArray, name: str, who: Any) -> pa.ChunkedArray:
    """A column as floats."""
    if pa.types.is_float64(column.type):
        return column
    try:
        return column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TypeError(
            f"{type(who).__name__} works on numbers; column {name!r} is of type {column.type}."
        ) from error


def is_list(kind: pa.DataType) -> bool:
    """Whether it is a type of lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def as_lists(column: pa.ChunkedArray) -> list[Any]:
    """The values as Python has them; arrays as lists."""
    from rayjup.data.block.convert import column_values

    return [value.tolist() if isinstance(value, np.ndarray) else value for value in column_values(column)]


def lookup(column: pa.ChunkedArray, categories: Sequence[Any]) -> pa.ChunkedArray:
    """The position of each value among categories; null where it is none of them."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        values = pa.array(categories, column.type)
        found = pc.index_in(column, value_set=values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        places = {key(value): place for place, value in enumerate(categories)}
        found = pa.chunked_array([pa.array([places.get(key(v)) for v in as_lists(column)], pa.int32())])
    # A null is no category, even where it is looked for among them.
    return pc.if_else(pc.is_null(column), pa.scalar(None, pa.int64()), found.cast(pa.int64()))


def key(value: Any) -> Any:
    """What a value is looked up by: a list as a tuple."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(key(item) for item in value) if isinstance(value, (list, tuple)) else value
