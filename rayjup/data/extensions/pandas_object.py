"""Columns of arbitrary Python objects in DataFrames, kept apart from pandas' own ``object`` columns."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray, ExtensionDtype, no_default, register_extension_dtype, take

from rayjup.data.extensions.python_object import ArrowPythonObjectArray

__all__ = ["PythonObjectArray", "PythonObjectDtype"]


@register_extension_dtype
class PythonObjectDtype(ExtensionDtype):
    """The dtype of columns of Python objects."""

    na_value = None

    @property
    def type(self) -> type:
        """The type of one element."""
        return object

    @property
    def name(self) -> str:
        """The name by which pandas knows it."""
        return "python_object()"

    @classmethod
    def construct_from_string(cls, string: str) -> PythonObjectDtype:
        """Make it from its name."""
        if string != "python_object()":
            raise TypeError(f"{string!r} is not the name of a {cls.__name__}: that is 'python_object()'.")
        return cls()

    @classmethod
    def construct_array_type(cls) -> builtins.type:
        """The class of the arrays."""
        return PythonObjectArray

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> PythonObjectArray:
        return PythonObjectArray(array.to_pylist())


class PythonObjectArray(ExtensionArray):
    """A column of Python objects.

    Parameters
    ----------
    values
        The objects.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        items = list(values)
        self._values = np.empty(len(items), dtype=object)
        for row, item in enumerate(items):
            self._values[row] = item

    @classmethod
    def _from_sequence(
        cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False
    ) -> PythonObjectArray:
        return cls(scalars)

    @classmethod
    def _from_factorized(cls, values: Any, original: Any) -> PythonObjectArray:
        return cls(values)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, (int, np.integer)):
            return self._values[item]
        item = pd.api.indexers.check_array_indexer(self, item)
        return type(self)(self._values[item])

    def __setitem__(self, key: Any, value: Any) -> None:
        key = pd.api.indexers.check_array_indexer(self, key)
        self._values[key] = value._values if isinstance(value, PythonObjectArray) else value

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, PythonObjectArray):
            other = other._values
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            return NotImplemented
        return self._values == other

    @property
    def dtype(self) -> PythonObjectDtype:
        """Always a ``PythonObjectDtype``."""
        return PythonObjectDtype()

    @property
    def nbytes(self) -> int:
        """Bytes of the references, not of the objects."""
        return self._values.nbytes

    def isna(self) -> np.ndarray:
        """Which elements are ``None``."""
        return np.array([item is None for item in self._values], dtype=bool)

    def take(
        self, indices: Sequence[int] | np.ndarray, *, allow_fill: bool = False, fill_value: Any = None
    ) -> PythonObjectArray:
        """Elements by position; with ``allow_fill``, -1 means ``fill_value``."""
        taken = take(self._values, indices, allow_fill=allow_fill, fill_value=fill_value)
        if allow_fill and (fill_value is None or fill_value is pd.NA):
            taken[np.asarray(indices) == -1] = None  # and not the NaN of pandas
        return type(self)(taken)

    def copy(self) -> PythonObjectArray:
        """A new array with the same objects."""
        return type(self)(self._values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[PythonObjectArray]) -> PythonObjectArray:
        return cls(np.concatenate([array._values for array in to_concat]))

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default) -> np.ndarray:
        """An array of the objects."""
        result = self._values.copy() if copy or na_value is not no_default else self._values
        if na_value is not no_default:
            result[self.isna()] = na_value
        return result if dtype is None else result.astype(dtype)

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        return ArrowPythonObjectArray.from_objects(self._values)
