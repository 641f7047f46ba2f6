"""DataType, and columns of tensors and Python objects."""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayjup.data.datatype import DataType, TypeCategory
from rayjup.data.extensions import (
    ArrowConversionError,
    ArrowPythonObjectArray,
    ArrowTensorArray,
    ArrowTensorType,
    ArrowTensorTypeV2,
    ArrowVariableShapedTensorArray,
    ArrowVariableShapedTensorType,
    FixedShapeTensorFormat,
    PythonObjectArray,
    PythonObjectDtype,
    TensorArray,
    TensorDtype,
    column_needs_tensor_extension,
    create_arrow_fixed_shape_tensor_type,
)

D = DataType


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, D.int64()),
        (1.5, D.float64()),
        ("a", D.string()),
        (b"a", D.binary()),
        (True, D.bool()),
        ([1, 2], D.list(D.int64())),
        ({"a": 1}, D.struct([("a", D.int64())])),
        (np.int32(3), D.from_numpy("int32")),
        (np.zeros((2, 3)), D.from_numpy("float64")),
        (datetime.datetime(2020, 1, 1), D.temporal("timestamp")),
        (datetime.date(2020, 1, 1), D.temporal("date32")),
        (decimal.Decimal("1.2"), D.from_arrow(pa.decimal128(2, 1))),
        (print, D(type(print))),
    ],
)
def test_inferred_types(value: Any, expected: DataType) -> None:
    assert D.infer_dtype(value) == expected


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (int, D(int)),
        (pa.int32(), D.int32()),
        ("float32", D.from_numpy("float32")),
        (np.int64, D.from_numpy("int64")),
        (pd.ArrowDtype(pa.int8()), D.int8()),
        (pd.Int32Dtype(), D.from_numpy("int32")),
        (D.int8(), D.int8()),
        (None, None),
        ("nonsense", None),
    ],
)
def test_other_spellings(dtype: Any, expected: DataType | None) -> None:
    assert D.from_dtype(dtype) == expected


def test_conversions() -> None:
    assert D.from_numpy("int32").to_arrow_dtype() == pa.int32()
    assert D.string().to_numpy_dtype() == np.dtype("object")
    assert D.int64().to_numpy_dtype() == np.dtype("int64")
    assert D(int).to_python_type() is int
    assert D(int).to_arrow_dtype([1, 2]) == pa.int64()
    with pytest.raises(ValueError, match="no Python type inside"):
        D.int64().to_python_type()
    with pytest.raises(AssertionError, match=r"Give `values`"):
        D(int).to_arrow_dtype()
    with pytest.raises(TypeError, match=r"made from a pyarrow.DataType"):
        D("int64")


def test_questions() -> None:
    assert D.list(D.int32()).is_of("list") and D.large_list(D.int8()).is_of(TypeCategory.LARGE_LIST)
    assert D.fixed_size_list(D.int8(), 3).is_list_type() and D.list(D.int8()).is_nested_type()
    assert D.map(D.string(), D.int8()).is_map_type() and D.struct([("a", D.int8())]).is_struct_type()
    assert D.tensor((2, 3), D.float32()).is_tensor_type()
    assert D.variable_shaped_tensor(D.int8(), 3).is_of("tensor")
    assert not D.int8().is_tensor_type()
    assert D(int).is_integer_type() and D(int).is_numerical_type() and not D(bool).is_integer_type()
    assert D(str).is_string_type() and D.from_numpy("U5").is_string_type()
    assert D.from_arrow(pa.decimal128(5, 2)).is_numerical_type()
    assert (
        D.uint64().is_uint64_type() and D.binary().is_binary_type() and D.from_arrow(pa.null()).is_null_type()
    )
    assert D.from_numpy("datetime64[ns]").is_temporal_type() and D.float32().is_floating_type()
    assert D.bool().is_boolean_type()
    assert D.int64() != D.from_numpy("int64") and D.int64() != D(int)
    assert len({D.int64(), D.int64(), D(int)}) == 2
    assert repr(D.from_numpy("int32")) == "DataType(numpy:int32)"
    with pytest.raises(ValueError, match="foo"):
        D.int8().is_of("foo")


def test_temporal_types() -> None:
    assert D.temporal("timestamp", "ms", "UTC").to_arrow_dtype() == pa.timestamp("ms", "UTC")
    assert D.temporal("time32").to_arrow_dtype() == pa.time32("s")
    for bad in (("foo",), ("time32", "us"), ("date32", "s"), ("duration", "s", "UTC")):
        with pytest.raises(ValueError, match=r"temporal_type|has a unit|neither|time zone"):
            D.temporal(*bad)


def test_fixed_tensors_round_trip_without_a_copy() -> None:
    data = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    array = ArrowTensorArray.from_numpy(data)
    assert (
        array.type
        == ArrowTensorTypeV2((2, 3), pa.float32())
        == create_arrow_fixed_shape_tensor_type((2, 3), pa.float32())
    )
    assert np.shares_memory(array.to_numpy(), data)
    assert np.array_equal(array.slice(1, 2).to_numpy(), data[1:3])
    assert np.array_equal(array[2].as_py(), data[2])
    assert np.array_equal(
        pa.chunked_array([array, array]).combine_chunks().to_numpy(), np.concatenate([data, data])
    )
    assert FixedShapeTensorFormat.V1.to_type() is ArrowTensorType
    for kind in (ArrowTensorType((2, 3), pa.float32()), pa.fixed_shape_tensor(pa.float32(), (2, 3))):
        storage = pa.array(data.reshape(4, 6).tolist(), kind.storage_type)
        other = pa.ExtensionArray.from_storage(kind, storage)
        if isinstance(other, ArrowTensorArray):
            assert np.array_equal(other.to_numpy(), data)


@pytest.mark.parametrize("kind", ["bool", "float16", "datetime64[ns]", "U3", "uint8"])
def test_tensors_of_every_kind(kind: str) -> None:
    data = np.zeros((3, 2), dtype=kind) if kind != "U3" else np.array([["a", "bcd"], ["", "é"], ["x", "y"]])
    back = ArrowTensorArray.from_numpy(data).to_numpy()
    assert np.array_equal(back, data) and back.dtype.kind == data.dtype.kind


def test_nulls_among_tensors() -> None:
    array = ArrowTensorArray.from_numpy([np.ones((2, 2)), None, np.zeros((2, 2))])
    assert array.null_count == 1 and array[1].as_py() is None
    back = array.to_numpy()
    assert back.shape == (3, 2, 2) and np.isnan(back[1]).all() and (back[0] == 1).all()
    ragged = ArrowTensorArray.from_numpy([np.ones(2), None, np.zeros(3)])
    assert [None if row is None else row.tolist() for row in ragged.to_numpy()] == [[1, 1], None, [0, 0, 0]]
    assert ArrowTensorArray.from_numpy([1, 2]).to_pylist() == [1, 2]
    assert ArrowTensorArray.from_numpy([None, None]).null_count == 2


def test_variable_shapes() -> None:
    rows = [np.arange(6).reshape(2, 3), np.arange(4).reshape(4, 1)]
    array = ArrowTensorArray.from_numpy(rows)
    assert isinstance(array, ArrowVariableShapedTensorArray)
    assert array.type == ArrowVariableShapedTensorType(pa.int64(), 2) and array.type.shape == (None, None)
    for got, expected in zip(array.to_numpy(), rows, strict=True):
        assert np.array_equal(got, expected)
    assert np.array_equal(array.slice(1).to_numpy()[0], rows[1])
    assert array.to_var_shaped_tensor_array(3).to_numpy()[0].shape == (1, 2, 3)
    wider = ArrowTensorArray.from_numpy(np.zeros((2, 5))).to_var_shaped_tensor_array(2)
    assert wider.to_numpy()[1].shape == (1, 5)
    with pytest.raises(ValueError, match="have 1, 2 dimensions"):
        ArrowVariableShapedTensorArray.from_numpy([np.zeros(2), np.zeros((2, 2))])
    with pytest.raises(ArrowConversionError, match=r"column 'c'.*Python objects"):
        ArrowTensorArray.from_numpy(
            np.array([np.array([object()]), np.array([None])], dtype=object), column_name="c"
        )


def test_files_and_streams_keep_the_types() -> None:
    table = pa.table(
        {
            "fixed": ArrowTensorArray.from_numpy(np.arange(8).reshape(2, 2, 2)),
            "ragged": ArrowVariableShapedTensorArray.from_numpy([np.zeros(2), np.zeros(3)]),
            "anything": ArrowPythonObjectArray.from_objects([{"a": print}, None]),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    buffer.seek(0)
    again = pq.read_table(buffer)
    assert again.schema.types == table.schema.types
    assert np.array_equal(again.column("fixed").chunk(0).to_numpy(), np.arange(8).reshape(2, 2, 2))
    assert again.column("anything").to_pylist() == [{"a": print}, None]
    assert pickle.loads(pickle.dumps(table)).schema == table.schema
    frame = table.to_pandas()
    assert frame["fixed"].dtype == TensorDtype((2, 2), np.dtype("int64"))
    assert frame["ragged"].dtype == TensorDtype((None,), np.dtype("float64"))
    assert frame["anything"].dtype == PythonObjectDtype()
    assert pa.Table.from_pandas(frame).schema.types == table.schema.types


def test_tensors_in_frames() -> None:
    data = np.arange(12).reshape(2, 2, 3)
    series = pd.Series(TensorArray(data))
    assert series.dtype.element_shape == (2, 3) and series.dtype.element_dtype == np.dtype("int64")
    assert np.array_equal((series + 1).to_numpy(), data + 1)
    assert np.array_equal(np.asarray((series > 5).array), data > 5)
    assert np.array_equal(series.sum().to_numpy(), data.sum(axis=0))
    assert np.array_equal(np.asarray(series.iloc[1]), data[1])
    assert np.array_equal(
        pd.concat([series, series], ignore_index=True).to_numpy(), np.concatenate([data, data])
    )
    assert pd.DataFrame({"a": series}).reindex([1, 5])["a"].isna().tolist() == [False, True]
    assert TensorDtype.construct_from_string(series.dtype.name) == series.dtype
    assert TensorArray([np.zeros(2), np.zeros(3)]).is_variable_shaped
    assert "[[0, 1, 2], [3, 4, 5]]" in str(series)
    assert column_needs_tensor_extension(pd.Series([np.zeros(2)])) and not column_needs_tensor_extension(
        pd.Series([1])
    )
    assert TensorArray(data).all(axis=None) == np.False_ and TensorArray(data).any()
    assert TensorArray(data).astype("float32").numpy_dtype == np.dtype("float32")
    with pytest.raises(TypeError, match="not the name of a TensorDtype"):
        TensorDtype.construct_from_string("int64")


def test_objects_in_frames() -> None:
    array = PythonObjectArray([1, {"b": 2}, None])
    assert array.isna().tolist() == [False, False, True]
    series = pd.Series(array)
    assert series[1] == {"b": 2} and series.dropna().tolist() == [1, {"b": 2}]
    assert array.take([0, -1], allow_fill=True).to_numpy().tolist() == [1, None]
    assert pa.array(array).to_pylist() == [1, {"b": 2}, None]
    assert pd.concat([series, series]).dtype == PythonObjectDtype()
