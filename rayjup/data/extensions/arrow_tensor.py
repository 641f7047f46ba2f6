"""Tensor columns in Arrow tables: fixed shapes and variable shapes.

A fixed-shape column is a list of the flat elements with the shape in the type; converting it to
NumPy copies nothing. A variable-shaped column is a record of flat elements and shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import Enum
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = [
    "ArrowConversionError",
    "ArrowTensorArray",
    "ArrowTensorType",
    "ArrowTensorTypeV2",
    "ArrowVariableShapedTensorArray",
    "ArrowVariableShapedTensorType",
    "FixedShapeTensorFormat",
    "FixedShapeTensorType",
    "create_arrow_fixed_shape_tensor_type",
    "get_arrow_extension_tensor_types",
]

FixedShapeTensorType = pa.FixedShapeTensorType


class ArrowConversionError(Exception):
    """Data that Arrow cannot hold.

    Parameters
    ----------
    data_str
        What the data looks like.
    column_name
        Its column, if known.
    pa_type
        The Arrow type it was meant to have, if any.
    """

    def __init__(
        self, data_str: str, column_name: str | None = None, pa_type: pa.DataType | None = None
    ) -> None:
        where = f" of column {column_name!r}" if column_name is not None else ""
        aim = f" (as {pa_type})" if pa_type is not None else ""
        if len(data_str) > 300:
            data_str = data_str[:300] + "…"
        super().__init__(f"The data{where} cannot be converted to Arrow{aim}: {data_str}")
        self.column_name = column_name
        self.pa_type = pa_type

    def __reduce__(self) -> tuple[Any, ...]:
        return _conversion_error, (str(self), self.column_name, self.pa_type)


def _conversion_error(
    text: str, column_name: str | None, pa_type: pa.DataType | None
) -> ArrowConversionError:
    error = ArrowConversionError("", column_name, pa_type)
    error.args = (text,)
    return error


class _TensorScalar(pa.ExtensionScalar):
    """One tensor of a column."""

    def as_py(self, **kwargs: Any) -> np.ndarray | None:
        if self.value is None:
            return None
        return self.type._from_storage_scalar(self.value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.as_py(), dtype=dtype)


class _FixedShapeType(pa.ExtensionType):
    """What both layouts of fixed-shape tensors share."""

    NAME: str
    make_storage: Any

    def __init__(self, shape: tuple[int, ...], dtype: pa.DataType) -> None:
        self._shape = tuple(int(size) for size in shape)
        super().__init__(type(self).make_storage(dtype), self.NAME)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of every tensor of the column."""
        return self._shape

    @property
    def value_type(self) -> pa.DataType:
        """The Arrow type of the elements."""
        return self.storage_type.value_type

    def to_pandas_dtype(self) -> Any:
        """The pandas extension dtype of such a column."""
        from rayjup.data.extensions.pandas_tensor import TensorDtype

        return TensorDtype(self._shape, numpy_dtype(self.value_type))

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps(list(self._shape)).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> _FixedShapeType:
        return cls(tuple(json.loads(serialized)), storage_type.value_type)

    def __arrow_ext_class__(self) -> type:
        return ArrowTensorArray

    def __arrow_ext_scalar_class__(self) -> type:
        return _TensorScalar

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._shape, self.value_type)

    def _from_storage_scalar(self, scalar: Any) -> np.ndarray:
        return _values_to_numpy(scalar.values).reshape(self._shape)

    def __str__(self) -> str:
        return f"{type(self).__name__}(shape={self._shape}, dtype={self.value_type})"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return (
            type(other) is type(self)
            and other._shape == self._shape  # type: ignore[attr-defined]
            and other.value_type == self.value_type  # type: ignore[attr-defined]
        )

    def __hash__(self) -> int:
        return hash((self.NAME, self._shape, self.value_type))


class ArrowTensorType(_FixedShapeType):
    """The Arrow type of tensors of one shape, with 32-bit offsets.

    Parameters
    ----------
    shape
        The shape of every tensor.
    dtype
        The Arrow type of the elements.
    """

    NAME = "ray.data.arrow_tensor"
    make_storage = staticmethod(pa.list_)


class ArrowTensorTypeV2(_FixedShapeType):
    """The Arrow type of tensors of one shape, with 64-bit offsets: columns may exceed 2³¹ elements.

    Parameters
    ----------
    shape
        The shape of every tensor.
    dtype
        The Arrow type of the elements.
    """

    NAME = "ray.data.arrow_tensor_v2"
    make_storage = staticmethod(pa.large_list)


class ArrowVariableShapedTensorType(pa.ExtensionType):
    """The Arrow type of tensors that share the number of dimensions, not the shape.

    Parameters
    ----------
    dtype
        The Arrow type of the elements.
    ndim
        The number of dimensions.
    """

    NAME = "ray.data.arrow_variable_shaped_tensor"

    def __init__(self, dtype: pa.DataType, ndim: int) -> None:
        self._ndim = int(ndim)
        storage = pa.struct([("data", pa.large_list(dtype)), ("shape", pa.list_(pa.int64()))])
        super().__init__(storage, self.NAME)

    @property
    def ndim(self) -> int:
        """The number of dimensions of every tensor."""
        return self._ndim

    @property
    def shape(self) -> tuple[None, ...]:
        """As many ``None`` as there are dimensions."""
        return (None,) * self._ndim

    @property
    def value_type(self) -> pa.DataType:
        """The Arrow type of the elements."""
        return self.storage_type.field("data").type.value_type

    def to_pandas_dtype(self) -> Any:
        """The pandas extension dtype of such a column."""
        from rayjup.data.extensions.pandas_tensor import TensorDtype

        return TensorDtype(self.shape, numpy_dtype(self.value_type))

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps(self._ndim).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> ArrowVariableShapedTensorType:
        return cls(storage_type.field("data").type.value_type, json.loads(serialized))

    def __arrow_ext_class__(self) -> type:
        return ArrowVariableShapedTensorArray

    def __arrow_ext_scalar_class__(self) -> type:
        return _TensorScalar

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.value_type, self._ndim)

    def _from_storage_scalar(self, scalar: Any) -> np.ndarray:
        return _values_to_numpy(scalar["data"].values).reshape(tuple(scalar["shape"].as_py()))

    def __str__(self) -> str:
        return f"ArrowVariableShapedTensorType(ndim={self._ndim}, dtype={self.value_type})"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ArrowVariableShapedTensorType)
            and other._ndim == self._ndim
            and other.value_type == self.value_type
        )

    def __hash__(self) -> int:
        return hash((self.NAME, self._ndim, self.value_type))


class ArrowTensorArray(pa.ExtensionArray):
    """An Arrow array of tensors of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.data.extensions import ArrowTensorArray
    >>> ArrowTensorArray.from_numpy(np.zeros((3, 2, 2))).type
    ArrowTensorTypeV2(shape=(2, 2), dtype=double)
    """

    @classmethod
    def from_numpy(cls, arr: np.ndarray | Iterable[np.ndarray], column_name: str | None = None) -> pa.Array:
        """Make a column of tensors: of fixed shape where all agree, of variable shape otherwise.

        Parameters
        ----------
        arr
            One array whose first axis is the row, or one array per row (``None`` is a null).
        column_name
            Named by errors.
        """
        if not isinstance(arr, np.ndarray):
            arr = list(arr)
        if isinstance(arr, list) or arr.dtype == object:
            return _from_many(list(arr), column_name)
        if arr.ndim == 0:
            raise ArrowConversionError(f"a scalar ({arr!r}) has no rows", column_name)
        if arr.ndim == 1:
            return _flat_to_arrow(arr, column_name)
        return _fixed(arr, None, column_name)

    def to_numpy(self, zero_copy_only: bool = True) -> np.ndarray:
        """All tensors as one array; its first axis is the row. Nulls become NaN, or ``None``."""
        return fixed_to_numpy(self)

    def to_numpy_ndarray(self, zero_copy_only: bool = True) -> np.ndarray:
        """The same as ``to_numpy``."""
        return fixed_to_numpy(self)

    def to_var_shaped_tensor_array(self, ndim: int) -> ArrowVariableShapedTensorArray:
        """The same tensors as a column of variable shape.

        Parameters
        ----------
        ndim
            The number of dimensions wanted; leading ones are added where there are fewer.
        """
        shape = tuple(self.type.shape)
        if ndim < len(shape):
            raise ValueError(f"Tensors of shape {shape} have {len(shape)} dimensions; {ndim} are too few.")
        shape = (1,) * (ndim - len(shape)) + shape
        lists = self.storage.cast(pa.large_list(self.type.value_type))
        shapes = pa.FixedSizeListArray.from_arrays(pa.array(np.tile(shape, len(self))), len(shape))
        shapes = shapes.cast(pa.list_(pa.int64()))
        return _variable(lists, shapes, ndim)


class ArrowVariableShapedTensorArray(pa.ExtensionArray):
    """An Arrow array of tensors whose shapes differ from row to row."""

    @classmethod
    def from_numpy(
        cls, arr: np.ndarray | list[np.ndarray] | tuple[np.ndarray, ...], column_name: str | None = None
    ) -> ArrowVariableShapedTensorArray:
        """Make a column from one array per row; all need the same number of dimensions."""
        if not isinstance(arr, (np.ndarray, list, tuple)):
            raise ValueError(f"Tensors come as an array, a list or a tuple of arrays, not as {type(arr)}.")
        rows = [None if row is None else np.asarray(row) for row in arr]
        return _from_ragged(rows, column_name)

    def to_numpy(self, zero_copy_only: bool = True) -> np.ndarray:
        """An array of objects, each of them a tensor (or ``None``)."""
        out = np.empty(len(self), dtype=object)
        data = self.storage.field("data")
        shapes = self.storage.field("shape")
        flat = _values_to_numpy(data.values)
        starts = data.offsets.to_numpy()
        if len(self) and not self.null_count and not shapes.null_count:
            dims = shapes.flatten().to_numpy(zero_copy_only=False).reshape(len(self), -1)
            for row in range(len(self)):
                out[row] = flat[starts[row] : starts[row + 1]].reshape(dims[row])
            return out
        for row in range(len(self)):
            out[row] = self[row].as_py()
        return out

    def to_var_shaped_tensor_array(self, ndim: int) -> ArrowVariableShapedTensorArray:
        """Itself, or with leading dimensions of size one where ``ndim`` is larger.

        Parameters
        ----------
        ndim
            The number of dimensions wanted.
        """
        missing = ndim - self.type.ndim
        if missing < 0:
            raise ValueError(f"The tensors have {self.type.ndim} dimensions; {ndim} are too few.")
        if missing == 0:
            return self
        rows = [None if row is None else row.reshape((1,) * missing + row.shape) for row in self.to_numpy()]
        return _from_ragged(rows, None)


class FixedShapeTensorFormat(Enum):
    """The three layouts of tensors of one shape."""

    V1 = "v1"
    V2 = "v2"
    ARROW_NATIVE = "native"

    def to_type(self) -> type:
        """The class of the Arrow type."""
        return {"v1": ArrowTensorType, "v2": ArrowTensorTypeV2, "native": FixedShapeTensorType}[self.value]


def create_arrow_fixed_shape_tensor_type(shape: tuple[int, ...], dtype: pa.DataType) -> pa.ExtensionType:
    """The Arrow type that rayjup gives to tensors of this shape."""
    return ArrowTensorTypeV2(shape, dtype)


def get_arrow_extension_tensor_types() -> tuple[type, ...]:
    """The classes of all Arrow types that hold tensors."""
    return (ArrowTensorType, ArrowTensorTypeV2, FixedShapeTensorType, ArrowVariableShapedTensorType)


def numpy_dtype(arrow_type: pa.DataType) -> np.dtype[Any]:
    """The NumPy dtype of elements of this Arrow type."""
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return np.dtype("U")
    if pa.types.is_timestamp(arrow_type):
        return np.dtype(f"datetime64[{arrow_type.unit}]")
    return np.dtype(arrow_type.to_pandas_dtype())


def fixed_to_numpy(array: pa.Array) -> np.ndarray:
    """All tensors of a fixed-shape column (any of the three layouts) as one array."""
    shape = tuple(array.type.shape)
    if isinstance(array.type, FixedShapeTensorType):
        values = array.storage.flatten()
        rows = _values_to_numpy(values).reshape((-1, *shape))
    else:
        rows = _values_to_numpy(array.storage.flatten()).reshape((-1, *shape))
    if not array.null_count:
        return rows.reshape((len(array), *shape))
    valid = np.asarray(array.is_valid())
    if isinstance(array.type, FixedShapeTensorType):  # a null still takes room in this layout
        valid_rows = rows if len(rows) == valid.sum() else rows[valid]
    else:
        valid_rows = rows
    if np.issubdtype(rows.dtype, np.number):
        filled = np.full((len(array), *shape), np.nan, dtype=np.result_type(rows.dtype, np.float32))
        filled[valid] = valid_rows
        return filled
    out = np.empty(len(array), dtype=object)
    for row, tensor in zip(np.flatnonzero(valid), valid_rows, strict=True):
        out[row] = tensor
    return out


def _values_to_numpy(values: pa.Array) -> np.ndarray:
    out = values.to_numpy(zero_copy_only=False)
    if out.dtype == object and (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return out.astype("U") if len(out) else np.empty(0, dtype="U1")
    return out


def _flat_to_arrow(flat: np.ndarray, column_name: str | None) -> pa.Array:
    try:
        return pa.array(np.ascontiguousarray(flat))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        shown = f"{error}; dtype {flat.dtype}, {len(flat)} elements"
        raise ArrowConversionError(shown, column_name) from error


def _fixed(arr: np.ndarray, mask: np.ndarray | None, column_name: str | None) -> ArrowTensorArray:
    """Tensors of one shape; ``mask`` says which rows are null (``arr`` holds the others)."""
    shape = arr.shape[1:]
    values = _flat_to_arrow(arr.reshape(-1), column_name)
    size = prod(shape)
    if mask is None:
        offsets = pa.array(np.arange(len(arr) + 1, dtype=np.int64) * size)
        lists = pa.LargeListArray.from_arrays(offsets, values)
    else:
        starts = np.concatenate([[0], np.cumsum(~mask)]).astype(np.int64) * size
        lists = pa.LargeListArray.from_arrays(pa.array(starts), values, mask=pa.array(mask))
    return pa.ExtensionArray.from_storage(ArrowTensorTypeV2(shape, values.type), lists)


def _variable(lists: pa.Array, shapes: pa.Array, ndim: int, mask: np.ndarray | None = None) -> Any:
    tensor_type = ArrowVariableShapedTensorType(lists.type.value_type, ndim)
    fields = list(tensor_type.storage_type)
    storage = pa.StructArray.from_arrays(
        [lists, shapes], fields=fields, mask=None if mask is None else pa.array(mask)
    )
    return pa.ExtensionArray.from_storage(tensor_type, storage)


def _from_many(rows: list[Any], column_name: str | None) -> pa.Array:
    tensors = [None if row is None else np.asarray(row) for row in rows]
    present = [tensor for tensor in tensors if tensor is not None]
    if not present:
        return pa.nulls(len(rows))
    if any(tensor.dtype == object for tensor in present):
        example = next(tensor for tensor in present if tensor.dtype == object)
        raise ArrowConversionError(f"an array of Python objects: {example!r}", column_name)
    shapes = {tensor.shape for tensor in present}
    if len(shapes) > 1:
        return _from_ragged(tensors, column_name)
    stacked = np.stack(present)
    mask = np.array([tensor is None for tensor in tensors]) if len(present) < len(rows) else None
    if stacked.ndim == 1:
        return (
            pa.array([None if t is None else t.item() for t in tensors])
            if mask is not None
            else (_flat_to_arrow(stacked, column_name))
        )
    return _fixed(stacked, mask, column_name)


def _from_ragged(rows: Sequence[np.ndarray | None], column_name: str | None) -> Any:
    present = [row for row in rows if row is not None]
    ndims = sorted({row.ndim for row in present})
    if len(ndims) > 1:
        raise ValueError(
            f"Tensors{f' of column {column_name!r}' if column_name else ''} have "
            f"{', '.join(map(str, ndims))} dimensions; in one column all must have equally many."
        )
    dtype = np.result_type(*(row.dtype for row in present)) if present else np.dtype("float64")
    flat = np.concatenate([row.reshape(-1) for row in present]) if present else np.empty(0)
    values = _flat_to_arrow(flat.astype(dtype, copy=False), column_name)
    sizes = [0 if row is None else row.size for row in rows]
    lists = pa.LargeListArray.from_arrays(pa.array(np.cumsum([0, *sizes]), pa.int64()), values)
    shapes = pa.array([[] if row is None else list(row.shape) for row in rows], pa.list_(pa.int64()))
    mask = np.array([row is None for row in rows]) if len(present) < len(rows) else None
    return _variable(lists, shapes, ndims[0] if ndims else 1, mask)


def _register() -> None:
    # Without this, reading a file or an IPC message gives plain lists. Whoever else has
    # registered these names in this process (Ray itself) is left alone.
    for example in (
        ArrowTensorType((1,), pa.int64()),
        ArrowTensorTypeV2((1,), pa.int64()),
        ArrowVariableShapedTensorType(pa.int64(), 1),
    ):
        try:
            pa.register_extension_type(example)
        except pa.ArrowKeyError:
            pass


_register()
