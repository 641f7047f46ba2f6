"""Tensor columns in DataFrames."""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.lib.mixins import NDArrayOperatorsMixin
from pandas.api.extensions import ExtensionArray, ExtensionDtype, no_default, register_extension_dtype

from rayjup.data.extensions.arrow_tensor import (
    ArrowTensorArray,
    ArrowVariableShapedTensorArray,
    fixed_to_numpy,
)

__all__ = ["TensorArray", "TensorArrayElement", "TensorDtype", "column_needs_tensor_extension"]

_NAME = re.compile(r"TensorDtype\(shape=\((?P<shape>[^)]*)\), dtype=(?P<dtype>[^)]+)\)")


@register_extension_dtype
class TensorDtype(ExtensionDtype):
    """The dtype of tensor columns.

    Parameters
    ----------
    shape
        The shape of one element; ``None`` where sizes differ from row to row.
    dtype
        The NumPy dtype of the numbers.
    """

    def __init__(self, shape: tuple[int | None, ...], dtype: np.dtype[Any]) -> None:
        self._shape = tuple(shape)
        self._dtype = np.dtype(dtype)

    @property
    def type(self) -> type:
        """The type of one element."""
        return TensorArrayElement

    @property
    def element_dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the numbers."""
        return self._dtype

    @property
    def element_shape(self) -> tuple[int | None, ...]:
        """The shape of one element."""
        return self._shape

    @property
    def is_variable_shaped(self) -> bool:
        """Whether shapes differ from row to row."""
        return any(size is None for size in self._shape)

    @property
    def name(self) -> str:
        """The name by which pandas knows it."""
        return f"TensorDtype(shape={self._shape}, dtype={self._dtype})"

    @classmethod
    def construct_from_string(cls, string: str) -> TensorDtype:
        """Make it from its name."""
        if not isinstance(string, str):
            raise TypeError(f"The name of a dtype is a string, not {string!r}.")
        match = _NAME.fullmatch(string)
        if match is None:
            raise TypeError(
                f"{string!r} is not the name of a TensorDtype, as 'TensorDtype(shape=(2, 3), dtype=int64)'."
            )
        sizes = [size.strip() for size in match["shape"].split(",") if size.strip()]
        return cls(tuple(None if size == "None" else int(size) for size in sizes), np.dtype(match["dtype"]))

    @classmethod
    def construct_array_type(cls) -> builtins.type:
        """The class of the arrays."""
        return TensorArray

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> TensorArray:
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        parts = [_arrow_to_numpy(chunk) for chunk in chunks if len(chunk)]
        if not parts:
            return TensorArray(np.empty((0, *(size or 0 for size in self._shape)), dtype=self._dtype))
        return TensorArray(parts[0] if len(parts) == 1 else np.concatenate(parts))

    def _get_common_dtype(self, dtypes: list[Any]) -> Any:
        if not all(isinstance(dtype, TensorDtype) for dtype in dtypes):
            return None
        if len({len(dtype._shape) for dtype in dtypes}) > 1:
            return None
        shape = (
            dtypes[0]._shape if len({dtype._shape for dtype in dtypes}) == 1 else (None,) * len(self._shape)
        )
        return TensorDtype(shape, np.result_type(*(dtype._dtype for dtype in dtypes)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return other == self.name
        return isinstance(other, TensorDtype) and (other._shape, other._dtype) == (self._shape, self._dtype)

    def __hash__(self) -> int:
        return hash(self.name)


class _Operators(NDArrayOperatorsMixin):
    """Arithmetic, comparisons and NumPy functions, elementwise."""

    _tensor: np.ndarray

    def _like(self, values: np.ndarray) -> Any:
        """Another of the same class."""
        raise AssertionError("an element and an array say how they are made")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = np.asarray(self._tensor, dtype=dtype)
        return out.copy() if copy and out is self._tensor else out

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, (pd.Series, pd.DataFrame, pd.Index)) for value in inputs):
            return NotImplemented  # pandas unpacks itself and comes back
        plain = [value._tensor if isinstance(value, _Operators) else value for value in inputs]
        kwargs["out"] = (
            tuple(
                value._tensor if isinstance(value, _Operators) else value for value in kwargs.get("out", ())
            )
            or None
        )
        result = getattr(ufunc, method)(*plain, **kwargs)
        if isinstance(result, tuple):
            return tuple(self._like(part) for part in result)
        return self._like(result) if isinstance(result, np.ndarray) else result


class TensorArrayElement(_Operators):
    """One tensor of a column.

    Parameters
    ----------
    values
        The tensor.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._tensor = np.asarray(values)

    def _like(self, values: np.ndarray) -> TensorArrayElement:
        return TensorArrayElement(values)

    def __repr__(self) -> str:
        return repr(self._tensor)

    def __str__(self) -> str:
        return str(self._tensor)

    def __len__(self) -> int:
        return len(self._tensor)

    def __getitem__(self, item: Any) -> Any:
        return self._tensor[item]

    def to_numpy(self) -> np.ndarray:
        """The tensor as an array."""
        return self._tensor

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of the numbers."""
        return self._tensor.dtype

    @property
    def numpy_ndim(self) -> int:
        """The number of dimensions."""
        return self._tensor.ndim

    @property
    def numpy_shape(self) -> tuple[int, ...]:
        """The shape."""
        return self._tensor.shape

    @property
    def numpy_size(self) -> int:
        """How many numbers it has."""
        return self._tensor.size


class TensorArray(_Operators, ExtensionArray):
    """A column of tensors.

    Parameters
    ----------
    values
        An array whose first axis is the row, or one array (or element) per row.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from rayjup.data.extensions import TensorArray
    >>> pd.Series(TensorArray(np.arange(6).reshape(3, 2))).dtype.element_shape
    (2,)
    """

    __array_priority__ = 1000

    def __init__(self, values: Any) -> None:
        if isinstance(values, pd.Series):
            values = values.to_numpy()
        if isinstance(values, TensorArrayElement):
            values = values._tensor[None]
        if isinstance(values, TensorArray):
            values = values._tensor
        if isinstance(values, np.ndarray) and values.dtype != object:
            self._tensor = values if values.ndim else values[None]
            return
        rows = [row if row is None else np.asarray(row) for row in values]
        if not rows:
            self._tensor = np.empty(0)
            return
        shapes = {None if row is None else row.shape for row in rows}
        if len(shapes) == 1 and None not in shapes:
            self._tensor = np.stack([row for row in rows if row is not None])
            return
        if len({row.ndim for row in rows if row is not None}) > 1:
            raise TypeError(
                "The tensors of one column need equally many dimensions; these have different ones."
            )
        self._tensor = np.empty(len(rows), dtype=object)
        for position, row in enumerate(rows):
            self._tensor[position] = row

    def _like(self, values: np.ndarray) -> TensorArray:
        return TensorArray(values)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> TensorArray:
        made = cls(list(scalars) if not isinstance(scalars, (np.ndarray, TensorArray)) else scalars)
        return made.copy() if copy else made

    @classmethod
    def _from_factorized(cls, values: Any, original: Any) -> TensorArray:
        raise TypeError("Tensors cannot be factorized: group or sort by another column.")

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, (int, np.integer)):
            value = self._tensor[item]
            return value if value is None else TensorArrayElement(value)
        if not isinstance(item, tuple):
            item = pd.api.indexers.check_array_indexer(self, item)
        return type(self)(self._tensor[item])

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, (int, np.integer, tuple)):
            key = pd.api.indexers.check_array_indexer(self, key)
        self._tensor[key] = value._tensor if isinstance(value, _Operators) else value

    def __len__(self) -> int:
        return len(self._tensor)

    def __eq__(self, other: object) -> Any:
        return NDArrayOperatorsMixin.__eq__(self, other)

    __hash__ = None  # type: ignore[assignment]

    @property
    def dtype(self) -> TensorDtype:
        """The dtype with the shape of the elements."""
        if self._is_ragged():
            present = [row for row in self._tensor if row is not None]
            ndim = present[0].ndim if present else 1
            kind = np.result_type(*(row.dtype for row in present)) if present else np.dtype(float)
            return TensorDtype((None,) * ndim, kind)
        return TensorDtype(self._tensor.shape[1:], self._tensor.dtype)

    def _is_ragged(self) -> bool:
        return self._tensor.dtype == object

    @property
    def is_variable_shaped(self) -> bool:
        """Whether shapes differ from row to row."""
        return self.dtype.is_variable_shaped

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        if self._is_ragged():
            return sum(row.nbytes for row in self._tensor if row is not None)
        return self._tensor.nbytes

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of the numbers."""
        return self.dtype.element_dtype if self._is_ragged() else self._tensor.dtype

    @property
    def numpy_ndim(self) -> int:
        """The number of dimensions, with the one of the rows."""
        return self._tensor.ndim

    @property
    def numpy_shape(self) -> tuple[int, ...]:
        """The shape, with the one of the rows."""
        return self._tensor.shape

    @property
    def numpy_size(self) -> int:
        """How many numbers all tensors have."""
        return self._tensor.size

    def isna(self) -> Any:
        """Which rows are missing: ``None``, or nothing but NaN."""
        if self._is_ragged():
            return np.array([row is None for row in self._tensor], dtype=bool)
        if self._tensor.dtype.kind in "fc" and self._tensor.size:
            return np.isnan(self._tensor).all(axis=tuple(range(1, self._tensor.ndim)))
        return np.zeros(len(self), dtype=bool)

    def take(self, indices: Sequence[int], allow_fill: bool = False, fill_value: Any = None) -> TensorArray:
        """Rows by position; with ``allow_fill``, -1 means a missing row (NaN, or ``fill_value``)."""
        positions = np.asarray(indices, dtype=np.intp)
        if not allow_fill:
            return type(self)(self._tensor[positions])
        if len(positions) and positions.min() < -1:
            raise ValueError("With allow_fill=True positions are -1 (missing) or not negative.")
        missing = positions == -1
        if not missing.any():
            return type(self)(self._tensor[positions])
        if len(self) == 0 and not missing.all():
            raise IndexError("There is nothing to take from an empty array.")
        if self._is_ragged():
            rows = [
                None if gone else self._tensor[position]
                for position, gone in zip(positions, missing, strict=True)
            ]
            return type(self)(rows)
        unset = fill_value is None or (np.isscalar(fill_value) and pd.isna(fill_value))
        kind = self._tensor.dtype if not unset else np.result_type(self._tensor.dtype, np.float32)
        out = np.full((len(positions), *self._tensor.shape[1:]), np.nan if unset else fill_value, dtype=kind)
        out[~missing] = self._tensor[positions[~missing]]
        return type(self)(out)

    def copy(self) -> TensorArray:
        """A copy of all tensors."""
        return type(self)(self._tensor.copy())

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[TensorArray]) -> TensorArray:
        parts = [array._tensor for array in to_concat]
        if len({part.shape[1:] for part in parts}) == 1 and not any(part.dtype == object for part in parts):
            return cls(np.concatenate(parts))
        return cls([row for part in parts for row in part])

    def all(self, axis: Any = None, out: np.ndarray | None = None, keepdims: bool = False) -> Any:
        """Whether all numbers are true, along an axis or altogether."""
        return self._wrap(self._tensor.all(axis=axis, out=out, keepdims=keepdims))

    def any(self, axis: Any = None, out: np.ndarray | None = None, keepdims: bool = False) -> Any:
        """Whether any number is true, along an axis or altogether."""
        return self._wrap(self._tensor.any(axis=axis, out=out, keepdims=keepdims))

    def _wrap(self, result: Any) -> Any:
        return type(self)(result) if isinstance(result, np.ndarray) and result.ndim else result

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Another dtype: of the numbers, of the column, ``object`` (arrays), or text."""
        dtype = pd.api.types.pandas_dtype(dtype)
        if isinstance(dtype, TensorDtype):
            return type(self)(self._tensor.astype(dtype.element_dtype, copy=copy))
        if isinstance(dtype, ExtensionDtype):
            texts = [str(row) for row in self._tensor]
            return dtype.construct_array_type()._from_sequence(texts, dtype=dtype)
        if dtype == np.dtype(object):
            out = np.empty(len(self), dtype=object)
            for row in range(len(self)):
                out[row] = self._tensor[row]
            return out
        if dtype.kind in "US":
            return np.array([str(row) for row in self._tensor])
        return type(self)(self._tensor.astype(dtype, copy=copy))

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = no_default) -> np.ndarray:
        """All tensors as one array (of objects where shapes differ)."""
        out = self._tensor if dtype is None else self._tensor.astype(dtype)
        if copy and out is self._tensor:
            out = out.copy()
        if na_value is not no_default:
            out = out.copy()
            out[self.isna()] = na_value
        return out

    def _reduce(self, name: str, *, skipna: bool = True, keepdims: bool = False, **kwargs: Any) -> Any:
        functions = {
            "sum": np.sum,
            "all": np.all,
            "any": np.any,
            "min": np.min,
            "max": np.max,
            "mean": np.mean,
        }
        functions |= {"median": np.median, "prod": np.prod}
        if name not in functions:
            raise TypeError(
                f"{name} is not defined for a column of tensors; convert it with to_numpy() first."
            )
        result = functions[name](self._tensor, axis=0)  # type: ignore[operator]
        return type(self)(result[None]) if keepdims else TensorArrayElement(result)

    def _formatter(self, boxed: bool = False) -> Any:
        return lambda value: re.sub(r"\s*\n\s*", " ", np.array2string(np.asarray(value), separator=", "))

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        if self._is_ragged():
            return ArrowVariableShapedTensorArray.from_numpy(list(self._tensor))
        return ArrowTensorArray.from_numpy(self._tensor)


def column_needs_tensor_extension(s: pd.Series) -> bool:
    """Whether the column holds arrays in a plain ``object`` column."""
    return s.dtype == object and len(s) > 0 and isinstance(s.iloc[0], np.ndarray)


def _arrow_to_numpy(array: pa.Array) -> np.ndarray:
    if isinstance(array, ArrowVariableShapedTensorArray):
        return array.to_numpy()
    return fixed_to_numpy(array)
