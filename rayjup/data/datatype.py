"""``DataType``: one description for the types of Arrow, NumPy and Python."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types as pat

__all__ = ["DataType", "TypeCategory"]

_TEMPORAL_UNITS = {
    "timestamp": ("us", ("s", "ms", "us", "ns")),
    "time32": ("s", ("s", "ms")),
    "time64": ("us", ("us", "ns")),
    "duration": ("us", ("s", "ms", "us", "ns")),
}


class TypeCategory(str, Enum):
    """Families of types that ``DataType.is_of`` knows."""

    LIST = "list"
    LARGE_LIST = "large_list"
    STRUCT = "struct"
    MAP = "map"
    TENSOR = "tensor"
    TEMPORAL = "temporal"


@dataclass(frozen=True, repr=False)
class DataType:
    """A type of a column, backed by an Arrow type, a NumPy dtype or a Python type.

    Parameters
    ----------
    _physical_dtype
        The type itself. Use the factories (``DataType.int64()``, ``DataType.from_arrow``, …) instead
        of the constructor.

    Examples
    --------
    >>> from rayjup.data.datatype import DataType
    >>> DataType.list(DataType.int64())
    DataType(arrow:list<item: int64>)
    >>> DataType.infer_dtype("text").is_string_type()
    True
    """

    _physical_dtype: Any

    def __post_init__(self) -> None:
        if not isinstance(self._physical_dtype, (pa.DataType, np.dtype, type)):
            raise TypeError(
                "A DataType is made from a pyarrow.DataType, a numpy.dtype or a Python type, not from "
                f"{self._physical_dtype!r} (a {type(self._physical_dtype).__name__}). "
                "DataType.from_dtype understands more spellings."
            )

    def __repr__(self) -> str:
        if self.is_arrow_type():
            return f"DataType(arrow:{self._physical_dtype})"
        if self.is_numpy_type():
            return f"DataType(numpy:{self._physical_dtype})"
        return f"DataType(python:{self._physical_dtype.__name__})"

    __str__ = __repr__

    def __eq__(self, other: object) -> builtins.bool:
        if not isinstance(other, DataType):
            return False
        mine, theirs = self._physical_dtype, other._physical_dtype
        # numpy compares a dtype with a type by converting it; here the kinds are kept apart.
        return self._kind() == other._kind() and builtins.bool(mine == theirs)

    def __hash__(self) -> int:
        return hash((self._kind(), self._physical_dtype))

    def _kind(self) -> str:
        return "arrow" if self.is_arrow_type() else "numpy" if self.is_numpy_type() else "python"

    # What it is made of.

    def is_arrow_type(self) -> builtins.bool:
        """Whether it is backed by an Arrow type."""
        return isinstance(self._physical_dtype, pa.DataType)

    def is_numpy_type(self) -> builtins.bool:
        """Whether it is backed by a NumPy dtype."""
        return isinstance(self._physical_dtype, np.dtype)

    def is_python_type(self) -> builtins.bool:
        """Whether it is backed by a Python type."""
        return isinstance(self._physical_dtype, type)

    # Conversions.

    def to_arrow_dtype(self, values: builtins.list[Any] | None = None) -> pa.DataType:
        """The Arrow type; a Python type needs example ``values`` to infer it from."""
        if self.is_arrow_type():
            return self._physical_dtype
        if self.is_numpy_type():
            return pa.from_numpy_dtype(self._physical_dtype)
        if values is None or len(values) == 0:
            raise AssertionError(
                f"{self} names a Python type; its Arrow type depends on the data. "
                "Give `values` to infer it from."
            )
        return pa.infer_type(values)

    def to_numpy_dtype(self) -> np.dtype[Any]:
        """The NumPy dtype; ``object`` where NumPy has no such type."""
        if self.is_numpy_type():
            return self._physical_dtype
        if self.is_arrow_type():
            try:
                return np.dtype(self._physical_dtype.to_pandas_dtype())
            except (TypeError, NotImplementedError, pa.ArrowNotImplementedError):
                return np.dtype("object")
        return np.dtype("object")

    def to_python_type(self) -> type:
        """The Python type, if it is backed by one."""
        if self.is_python_type():
            return self._physical_dtype
        raise ValueError(
            f"{self} has no Python type inside. Use to_arrow_dtype() or to_numpy_dtype() to convert it."
        )

    def to_cudf_type(self) -> Any:
        """The type for a cuDF column (needs cuDF)."""
        import cudf

        return cudf.api.types.dtype(self.to_numpy_dtype())

    # Factories.

    @classmethod
    def from_arrow(cls, arrow_type: pa.DataType) -> DataType:
        """Make it from an Arrow type."""
        return cls(arrow_type)

    @classmethod
    def from_numpy(cls, numpy_dtype: np.dtype[Any] | str) -> DataType:
        """Make it from a NumPy dtype or its name."""
        return cls(np.dtype(numpy_dtype))

    @classmethod
    def from_cudf(cls, cudf_dtype: Any) -> DataType:
        """Make it from the dtype of a cuDF column."""
        converted = cls.from_dtype(cudf_dtype)
        if converted is None:
            raise TypeError(f"{cudf_dtype!r} has no counterpart among Arrow's or NumPy's types.")
        return converted

    @classmethod
    def from_dtype(cls, dtype: Any) -> DataType | None:
        """Make it from any library's spelling of a type; ``None`` where that is not possible."""
        if dtype is None:
            return None
        if isinstance(dtype, DataType):
            return dtype
        if isinstance(dtype, (pa.DataType, np.dtype)):
            return cls(dtype)
        if isinstance(dtype, type) and not issubclass(dtype, np.generic):
            return cls(dtype)
        arrow_type = getattr(dtype, "pyarrow_dtype", None)  # pandas.ArrowDtype
        if isinstance(arrow_type, pa.DataType):
            return cls(arrow_type)
        numpy_dtype = getattr(dtype, "numpy_dtype", dtype)  # pandas' masked dtypes carry one
        try:
            return cls(np.dtype(numpy_dtype))
        except TypeError:
            return None

    @classmethod
    def infer_dtype(cls, value: Any) -> DataType:
        """The type of a value."""
        if isinstance(value, (np.ndarray, np.generic)):
            return cls(value.dtype)
        try:
            return cls(pa.infer_type([value]))
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            return cls(type(value))

    @classmethod
    def list(cls, value_type: DataType) -> DataType:
        """Lists of any length."""
        return cls(pa.list_(value_type.to_arrow_dtype()))

    @classmethod
    def large_list(cls, value_type: DataType) -> DataType:
        """Lists of any length, with 64-bit offsets."""
        return cls(pa.large_list(value_type.to_arrow_dtype()))

    @classmethod
    def fixed_size_list(cls, value_type: DataType, list_size: int) -> DataType:
        """Lists of one length."""
        return cls(pa.list_(value_type.to_arrow_dtype(), list_size))

    @classmethod
    def struct(cls, fields: builtins.list[tuple[str, DataType]]) -> DataType:
        """Records with named fields."""
        return cls(pa.struct([(name, field.to_arrow_dtype()) for name, field in fields]))

    @classmethod
    def map(cls, key_type: DataType, value_type: DataType) -> DataType:
        """Maps from keys to values."""
        return cls(pa.map_(key_type.to_arrow_dtype(), value_type.to_arrow_dtype()))

    @classmethod
    def tensor(cls, shape: tuple[int, ...], dtype: DataType) -> DataType:
        """Tensors of one shape."""
        from rayjup.data.extensions import ArrowTensorTypeV2

        return cls(ArrowTensorTypeV2(tuple(shape), dtype.to_arrow_dtype()))

    @classmethod
    def variable_shaped_tensor(cls, dtype: DataType, ndim: int = 2) -> DataType:
        """Tensors that share the number of dimensions, not the shape."""
        from rayjup.data.extensions import ArrowVariableShapedTensorType

        return cls(ArrowVariableShapedTensorType(dtype.to_arrow_dtype(), ndim))

    @classmethod
    def temporal(cls, temporal_type: str, unit: str | None = None, tz: str | None = None) -> DataType:
        """Dates, times, moments and durations.

        Parameters
        ----------
        temporal_type
            ``timestamp``, ``date32``, ``date64``, ``time32``, ``time64`` or ``duration``.
        unit
            ``s``, ``ms``, ``us`` or ``ns``; the default is ``us`` (``s`` for ``time32``).
        tz
            The time zone of a timestamp.
        """
        name = temporal_type.lower()
        if name in ("date32", "date64"):
            if unit is not None or tz is not None:
                raise ValueError(f"A {name} has neither a unit nor a time zone; leave them out.")
            return cls(pa.date32() if name == "date32" else pa.date64())
        if name not in _TEMPORAL_UNITS:
            known = ", ".join(sorted([*_TEMPORAL_UNITS, "date32", "date64"]))
            raise ValueError(f"temporal_type={temporal_type!r} is not one of {known}.")
        default, allowed = _TEMPORAL_UNITS[name]
        unit = unit or default
        if unit not in allowed:
            raise ValueError(f"A {name} has a unit among {', '.join(allowed)}, not {unit!r}.")
        if tz is not None and name != "timestamp":
            raise ValueError(f"Only a timestamp has a time zone; {name} was given tz={tz!r}.")
        if name == "timestamp":
            return cls(pa.timestamp(unit, tz=tz))
        return cls({"time32": pa.time32, "time64": pa.time64, "duration": pa.duration}[name](unit))

    # Questions.

    def is_of(self, category: TypeCategory | str) -> builtins.bool:
        """Whether it belongs to a family of types."""
        category = TypeCategory(category)
        checks = {
            TypeCategory.LIST: self.is_list_type,
            TypeCategory.LARGE_LIST: lambda: self._is(pat.is_large_list),
            TypeCategory.STRUCT: self.is_struct_type,
            TypeCategory.MAP: self.is_map_type,
            TypeCategory.TENSOR: self.is_tensor_type,
            TypeCategory.TEMPORAL: self.is_temporal_type,
        }
        return checks[category]()

    def _arrow(self) -> pa.DataType | None:
        """The Arrow type that answers questions about it, if there is one."""
        if self.is_arrow_type():
            return self._physical_dtype
        if self.is_numpy_type():
            try:
                return pa.from_numpy_dtype(self._physical_dtype)
            except pa.ArrowNotImplementedError:
                return None
        named = {int: pa.int64(), float: pa.float64(), str: pa.string(), bytes: pa.binary()}
        named[builtins.bool] = pa.bool_()
        return named.get(self._physical_dtype)

    def _is(self, *checks: Any) -> builtins.bool:
        arrow = self._arrow()
        return arrow is not None and any(check(arrow) for check in checks)

    def is_list_type(self) -> builtins.bool:
        """Whether it is a list of any kind."""
        return self._is(pat.is_list, pat.is_large_list, pat.is_fixed_size_list)

    def is_tensor_type(self) -> builtins.bool:
        """Whether it is a tensor of fixed or variable shape."""
        from rayjup.data.extensions import get_arrow_extension_tensor_types

        return isinstance(self._physical_dtype, get_arrow_extension_tensor_types())

    def is_struct_type(self) -> builtins.bool:
        """Whether it is a record."""
        return self._is(pat.is_struct)

    def is_map_type(self) -> builtins.bool:
        """Whether it is a map."""
        return self._is(pat.is_map)

    def is_nested_type(self) -> builtins.bool:
        """Whether it is a list, a record, a map or a union."""
        return self._is(pat.is_nested)

    def is_null_type(self) -> builtins.bool:
        """Whether there is nothing but nulls."""
        return self._is(pat.is_null)

    def is_boolean_type(self) -> builtins.bool:
        """Whether it is true or false."""
        return self._is(pat.is_boolean)

    def is_integer_type(self) -> builtins.bool:
        """Whether it is an integer, signed or not."""
        return self._is(pat.is_integer)

    def is_uint64_type(self) -> builtins.bool:
        """Whether it is an unsigned integer of 64 bits."""
        return self._is(pat.is_uint64)

    def is_floating_type(self) -> builtins.bool:
        """Whether it is a floating point number."""
        return self._is(pat.is_floating)

    def is_numerical_type(self) -> builtins.bool:
        """Whether one can calculate with it: integers, floating point numbers, decimals."""
        return self._is(pat.is_integer, pat.is_floating, pat.is_decimal)

    def is_string_type(self) -> builtins.bool:
        """Whether it is text."""
        return self._is(pat.is_string, pat.is_large_string, pat.is_string_view)

    def is_binary_type(self) -> builtins.bool:
        """Whether it is bytes."""
        return self._is(pat.is_binary, pat.is_large_binary, pat.is_fixed_size_binary, pat.is_binary_view)

    def is_temporal_type(self) -> builtins.bool:
        """Whether it is a date, a time, a moment or a duration."""
        return self._is(pat.is_temporal)

    # Written out, so that editors and type checkers see them.

    @classmethod
    def int8(cls) -> DataType:
        """Signed, 8 bits."""
        return cls(pa.int8())

    @classmethod
    def int16(cls) -> DataType:
        """Signed, 16 bits."""
        return cls(pa.int16())

    @classmethod
    def int32(cls) -> DataType:
        """Signed, 32 bits."""
        return cls(pa.int32())

    @classmethod
    def int64(cls) -> DataType:
        """Signed, 64 bits."""
        return cls(pa.int64())

    @classmethod
    def uint8(cls) -> DataType:
        """Unsigned, 8 bits."""
        return cls(pa.uint8())

    @classmethod
    def uint16(cls) -> DataType:
        """Unsigned, 16 bits."""
        return cls(pa.uint16())

    @classmethod
    def uint32(cls) -> DataType:
        """Unsigned, 32 bits."""
        return cls(pa.uint32())

    @classmethod
    def uint64(cls) -> DataType:
        """Unsigned, 64 bits."""
        return cls(pa.uint64())

    @classmethod
    def float32(cls) -> DataType:
        """Floating point, 32 bits."""
        return cls(pa.float32())

    @classmethod
    def float64(cls) -> DataType:
        """Floating point, 64 bits."""
        return cls(pa.float64())

    @classmethod
    def string(cls) -> DataType:
        """Text."""
        return cls(pa.string())

    @classmethod
    def binary(cls) -> DataType:
        """Bytes."""
        return cls(pa.binary())

    @classmethod
    def bool(cls) -> DataType:
        """True or false."""
        return cls(pa.bool_())
