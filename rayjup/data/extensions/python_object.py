"""Columns of arbitrary Python objects in Arrow tables: each one pickled."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa

__all__ = ["ArrowPythonObjectArray", "ArrowPythonObjectScalar", "ArrowPythonObjectType"]


class ArrowPythonObjectType(pa.ExtensionType):
    """The Arrow type of columns that hold pickled Python objects."""

    NAME = "ray.data.arrow_pickled_object"

    def __init__(self) -> None:
        super().__init__(pa.large_binary(), self.NAME)

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> ArrowPythonObjectType:
        return cls()

    def __arrow_ext_class__(self) -> type:
        return ArrowPythonObjectArray

    def __arrow_ext_scalar_class__(self) -> type:
        return ArrowPythonObjectScalar

    def to_pandas_dtype(self) -> Any:
        """The pandas extension dtype of such a column."""
        from rayjup.data.extensions.pandas_object import PythonObjectDtype

        return PythonObjectDtype()

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowPythonObjectType, ()

    def __str__(self) -> str:
        return "ArrowPythonObjectType"

    __repr__ = __str__


class ArrowPythonObjectScalar(pa.ExtensionScalar):
    """One object of a column."""

    def as_py(self, **kwargs: Any) -> Any:
        """The object."""
        return None if self.value is None else pickle.loads(self.value.as_py())


class ArrowPythonObjectArray(pa.ExtensionArray):
    """An Arrow array of Python objects."""

    @staticmethod
    def from_objects(objects: np.ndarray | Iterable[Any]) -> ArrowPythonObjectArray:
        """Pickle objects into a column; ``None`` becomes a null."""
        pickled = [None if item is None else cloudpickle.dumps(item) for item in objects]
        storage = pa.array(pickled, type=pa.large_binary())
        return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), storage)

    def to_numpy(self, zero_copy_only: bool = False, writable: bool = False) -> np.ndarray:
        """An array of the objects."""
        out = np.empty(len(self), dtype=object)
        for row, item in enumerate(self.storage):
            out[row] = pickle.loads(item.as_py()) if item.is_valid else None
        return out


try:
    pa.register_extension_type(ArrowPythonObjectType())
except pa.ArrowKeyError:  # Ray itself has registered the name in this process
    pass
