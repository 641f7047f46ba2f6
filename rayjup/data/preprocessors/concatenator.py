"""Several columns joined to one column of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.convert import column_to_numpy
from rayjup.data.preprocessor import SerializablePreprocessorBase, stored_as
from rayjup.data.preprocessors.columns import is_list, put


@stored_as("io.ray.preprocessors.concatenator")
class Concatenator(SerializablePreprocessorBase):
    """Columns joined to one column of vectors, in the order given; they are dropped.

    Parameters
    ----------
    columns
        The columns.
    output_column_name
        Where to put the vectors.
    dtype
        The type of the numbers; by default one that holds all.
    raise_if_missing
        Whether it is an error if a column is missing; otherwise it is left out.
    flatten
        Whether columns of vectors or lists are joined element by element.
    include, exclude
        The older way to say which columns: these, or all but these.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: list[str] | None = None,
        output_column_name: str = "concat_out",
        dtype: Any = None,
        raise_if_missing: bool = False,
        flatten: bool = False,
        *,
        include: list[str] | str | None = None,
        exclude: list[str] | str | None = None,
    ) -> None:
        include = [include] if isinstance(include, str) else include
        exclude = [exclude] if isinstance(exclude, str) else exclude
        if columns is not None and (include is not None or exclude is not None):
            raise ValueError("Concatenator takes either columns, or include and exclude.")
        if columns is None and include is None and exclude is None:
            raise ValueError("Concatenator needs to know which columns to join: give columns.")
        self._columns = list(columns if columns is not None else include or [])
        self._exclude = list(exclude or [])
        self._output_column_name, self._dtype = output_column_name, dtype
        self._raise_if_missing, self._flatten = raise_if_missing, flatten

    @property
    def columns(self) -> list[str]:
        """The columns that are joined."""
        return self._columns

    @property
    def output_column_name(self) -> str:
        """Where the vectors go."""
        return self._output_column_name

    @property
    def dtype(self) -> Any:
        """The type of the numbers."""
        return self._dtype

    @property
    def raise_if_missing(self) -> bool:
        """Whether it is an error if a column is missing."""
        return self._raise_if_missing

    @property
    def flatten(self) -> bool:
        """Whether columns of vectors are joined element by element."""
        return self._flatten

    def get_output_columns(self) -> list[str]:
        """The column that it makes."""
        return [self._output_column_name]

    def __repr__(self) -> str:
        shown = {
            "columns": self._columns,
            "output_column_name": self._output_column_name,
            "dtype": self._dtype,
            "raise_if_missing": self._raise_if_missing,
            "flatten": self._flatten,
        }
        return f"Concatenator({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def _transform_arrow(self, table: pa.Table) -> pa.Table:
        from rayjup.data.extensions import ArrowTensorArray

        wanted = self._columns or [name for name in table.column_names if name not in self._exclude]
        missing = [name for name in wanted if name not in table.column_names]
        if missing and self._raise_if_missing:
            raise ValueError(
                f"Concatenator needs column {missing[0]!r}; the columns are {', '.join(table.column_names)}."
            )
        present = [name for name in wanted if name in table.column_names and name not in self._exclude]
        if not present:
            raise ValueError(
                f"None of the columns of {self!r} is there; the columns are {', '.join(table.column_names)}."
            )
        parts = [self._part(name, table.column(name)) for name in present]
        joined = np.concatenate(parts, axis=1)
        if self._dtype is not None:
            joined = joined.astype(self._dtype)
        rest = table.drop_columns(present)
        return put(rest, self._output_column_name, ArrowTensorArray.from_numpy(joined))

    def _part(self, name: str, column: pa.ChunkedArray) -> np.ndarray:
        values = column_to_numpy(column)
        nested = is_list(column.type) or isinstance(column.type, pa.BaseExtensionType)
        if nested and not self._flatten:
            raise ValueError(
                f"Column {name!r} holds {column.type}; with flatten=True its elements are joined one by one."
            )
        if values.dtype == object:
            rows = [np.asarray(value).reshape(-1) if nested else value for value in values]
            if nested and len({len(row) for row in rows}) > 1:
                raise ValueError(
                    f"Column {name!r} holds lists of different lengths; vectors need equal ones."
                )
            try:
                values = np.array(rows, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise ValueError(f"Column {name!r} is of type {column.type}, and no numbers.") from error
        if values.dtype.kind not in "biufc":
            raise ValueError(f"Column {name!r} is of type {column.type}, and no numbers.")
        return values.reshape(len(values), -1)
