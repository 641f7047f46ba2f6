"""Columns of tensors and of Python objects, for Arrow and for pandas.

Map: ``arrow_tensor`` (fixed and variable shapes), ``python_object`` (anything that pickles),
``pandas_tensor`` and ``pandas_object`` (the same for DataFrames; loaded only when used, since they
import pandas). The extension names and layouts are those of Ray, so Parquet files travel both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.data.extensions.arrow_tensor import (
    ArrowConversionError,
    ArrowTensorArray,
    ArrowTensorType,
    ArrowTensorTypeV2,
    ArrowVariableShapedTensorArray,
    ArrowVariableShapedTensorType,
    FixedShapeTensorFormat,
    FixedShapeTensorType,
    create_arrow_fixed_shape_tensor_type,
    get_arrow_extension_tensor_types,
)
from rayjup.data.extensions.python_object import (
    ArrowPythonObjectArray,
    ArrowPythonObjectScalar,
    ArrowPythonObjectType,
)

if TYPE_CHECKING:
    from rayjup.data.extensions.pandas_object import PythonObjectArray, PythonObjectDtype
    from rayjup.data.extensions.pandas_tensor import (
        TensorArray,
        TensorArrayElement,
        TensorDtype,
        column_needs_tensor_extension,
    )

_FOR_PANDAS = {
    "TensorArray": "pandas_tensor",
    "TensorArrayElement": "pandas_tensor",
    "TensorDtype": "pandas_tensor",
    "column_needs_tensor_extension": "pandas_tensor",
    "PythonObjectArray": "pandas_object",
    "PythonObjectDtype": "pandas_object",
}

__all__ = [
    "ArrowConversionError",
    "ArrowPythonObjectArray",
    "ArrowPythonObjectScalar",
    "ArrowPythonObjectType",
    "ArrowTensorArray",
    "ArrowTensorType",
    "ArrowTensorTypeV2",
    "ArrowVariableShapedTensorArray",
    "ArrowVariableShapedTensorType",
    "FixedShapeTensorFormat",
    "FixedShapeTensorType",
    "PythonObjectArray",
    "PythonObjectDtype",
    "TensorArray",
    "TensorArrayElement",
    "TensorDtype",
    "column_needs_tensor_extension",
    "create_arrow_fixed_shape_tensor_type",
    "get_arrow_extension_tensor_types",
]


def __getattr__(name: str) -> Any:
    if name not in _FOR_PANDAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_FOR_PANDAS[name]}"), name)
    globals()[name] = value
    return value
