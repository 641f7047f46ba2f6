"""Blocks from batches and rows, and back.

A column becomes an Arrow array; arrays of more than one dimension become tensor columns, and what Arrow
has no type for becomes a column of Python objects (:mod:`rayjup.data.extensions`).
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa


class BatchFormat(str, enum.Enum):
    """In what form functions get batches."""

    ARROW = "pyarrow"
    PANDAS = "pandas"
    NUMPY = "numpy"
    POLARS = "polars"
    TORCH = "torch"


_FORMATS = {"default", "native", "numpy", "pandas", "pyarrow", "polars", "torch", None}


def check_format(batch_format: str | None) -> None:
    """Complain about a format that does not exist."""
    if batch_format not in _FORMATS:
        raise ValueError(
            f"batch_format is {batch_format!r}; it must be one of 'default', 'numpy', 'pandas', 'pyarrow', "
            "'polars', 'torch' or None (the block as it is)."
        )


# ---------------------------------------------------------------------------------------------- to blocks


def to_table(batch: Any) -> pa.Table:
    """The block with the content of a batch, whatever its format.

    Raises
    ------
    ValueError
        It is no batch, or its columns differ in length.
    """
    if isinstance(batch, pa.Table):
        return batch
    if isinstance(batch, pa.RecordBatch):
        return pa.Table.from_batches([batch])
    if isinstance(batch, Mapping):
        return _table_from_columns(batch)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(batch, pandas.DataFrame):
        return _table_from_pandas(batch)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(batch, polars.DataFrame):
        return batch.to_arrow()
    if hasattr(batch, "__arrow_c_stream__"):
        return pa.table(batch)
    raise ValueError(
        f"a batch must be a dict of arrays, a pyarrow.Table, a pandas.DataFrame or a polars.DataFrame; this "
        f"one is a {type(batch).__name__}. Return (or yield) one of these from the function."
    )


def _table_from_columns(batch: Mapping[str, Any]) -> pa.Table:
    names, columns = [], []
    for name, values in batch.items():
        names.append(name if isinstance(name, str) else str(name))
        columns.append(to_column(values, str(name)))
    if len({len(c) for c in columns}) > 1:
        lengths = ", ".join(f"{n!r}: {len(c)}" for n, c in zip(names, columns, strict=True))
        raise ValueError(f"the columns of a batch must have the same length; these have {lengths}.")
    return pa.table(columns, names=names)


def _table_from_pandas(frame: Any) -> pa.Table:
    names = [str(name) for name in frame.columns]
    columns = []
    for position, name in enumerate(names):
        series = frame.iloc[:, position]
        columns.append(to_column(series, name))
    if not names:
        return pa.table({})
    return pa.table(columns, names=names)


def to_column(values: Any, name: str = "?") -> pa.Array | pa.ChunkedArray:
    """One column as Arrow sees it.

    Parameters
    ----------
    values
        Array, list, series, tensor or Arrow array.
    name
        Its name, for error messages.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if isinstance(values, np.ndarray):
        return _from_ndarray(values, name)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(values, (pandas.Series, pandas.Index)):
        return _from_series(values, name)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return _from_ndarray(values.detach().cpu().numpy(), name)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(values, polars.Series):
        return values.to_arrow()
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        if hasattr(values, "__array__") and getattr(values, "ndim", 0) > 0:
            return _from_ndarray(np.asarray(values), name)
        raise ValueError(
            f"column {name!r} of a batch is a {type(values).__name__}; it must be an array or a list with "
            "one value per row."
        )
    if hasattr(values, "__array__") and not isinstance(values, (list, tuple)):
        return _from_ndarray(np.asarray(values), name)
    return from_values(list(values), name)


def _from_ndarray(array: np.ndarray, name: str) -> pa.Array | pa.ChunkedArray:
    if array.ndim == 0:
        raise ValueError(f"column {name!r} of a batch is a single value; it must have one value per row.")
    if isinstance(array, np.ma.MaskedArray):
        return pa.array(np.asarray(array), mask=np.ma.getmaskarray(array))
    if array.dtype == object:
        return from_values(list(array), name)
    if array.ndim > 1:
        from rayjup.data.extensions import ArrowTensorArray

        return ArrowTensorArray.from_numpy(array, name)
    if array.dtype.kind in "US":
        return pa.array(array.tolist())
    try:
        return pa.array(array)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return from_values(array.tolist(), name)


def _from_series(series: Any, name: str) -> pa.Array | pa.ChunkedArray:
    kind = getattr(series.dtype, "kind", "O")
    if series.dtype == object:
        return from_values(list(series), name, from_pandas=True)
    if hasattr(series.array, "__arrow_array__") or kind in "biufM":
        array = pa.array(series, from_pandas=True)
    elif hasattr(series.array, "to_numpy") and type(series.array).__name__ == "TensorArray":
        return _from_ndarray(series.array.to_numpy(), name)
    else:
        array = pa.array(series, from_pandas=True)
    if pa.types.is_large_string(array.type):  # pandas 3's strings: plain ones join with everybody else's
        array = array.cast(pa.string()) if _fits(array) else array
    return array


def _fits(array: pa.Array | pa.ChunkedArray) -> bool:
    """True if 32-bit offsets suffice."""
    return array.nbytes < 2**31


def from_values(values: list[Any], name: str, from_pandas: bool = False) -> pa.Array | pa.ChunkedArray:
    """A column of Python values: tensors for arrays, objects for what Arrow cannot hold."""
    first = next((v for v in values if v is not None), None)
    if isinstance(first, np.ndarray) or _is_tensor(first):
        return _from_arrays(values, name)
    try:
        return pa.array(values, from_pandas=from_pandas)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        return _from_mixed(values, name, error)


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _from_arrays(values: list[Any], name: str) -> pa.Array:
    from rayjup.data import extensions

    arrays = [
        None if v is None else v.detach().cpu().numpy() if _is_tensor(v) else np.asarray(v) for v in values
    ]
    present: list[np.ndarray] = [a for a in arrays if a is not None]
    kinds = {a.dtype.kind for a in present}
    if "O" in kinds or kinds & set("US"):
        try:
            return pa.array([None if a is None else a.tolist() for a in arrays])
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return extensions.ArrowPythonObjectArray.from_objects(values)
    if len(present) < len(arrays):
        if all(a.ndim == 0 for a in present):
            return pa.array([None if a is None else a.item() for a in arrays])
        return _nullable_tensors(arrays, present)
    if len({a.shape for a in present}) == 1:
        if present[0].ndim == 0:
            return pa.array(np.stack(present))
        return extensions.ArrowTensorArray.from_numpy(np.stack(present), name)
    return extensions.ArrowVariableShapedTensorArray.from_numpy(_ragged(present), name)


def _nullable_tensors(arrays: list[Any], present: list[np.ndarray]) -> pa.Array:
    """Vectors stay lists with nulls; tensors with nulls become objects."""
    from rayjup.data.extensions import ArrowPythonObjectArray

    if all(a.ndim == 1 for a in present):
        return pa.array([None if a is None else a.tolist() for a in arrays])
    return ArrowPythonObjectArray.from_objects(arrays)


def _ragged(arrays: Sequence[np.ndarray]) -> np.ndarray:
    out = np.empty(len(arrays), dtype=object)
    for i, array in enumerate(arrays):  # assigning all at once would try to broadcast them
        out[i] = array
    return out


def _from_mixed(values: list[Any], name: str, error: Exception) -> pa.Array:
    """What Arrow refused: numbers of several kinds become floats, all else objects."""
    present = [v for v in values if v is not None]
    if present and all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in present):
        try:
            return pa.array([None if v is None else float(v) for v in values])
        except (OverflowError, pa.ArrowInvalid):
            pass
    from rayjup.data.extensions import ArrowPythonObjectArray

    try:
        return ArrowPythonObjectArray.from_objects(values)
    except Exception as second:
        raise ValueError(
            f"column {name!r} holds values that neither Arrow ({error}) nor pickle ({second}) can store."
        ) from second


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The block with the given rows; a key that a row lacks is null there.

    Columns come in the order in which their names first appear.
    """
    if not rows:
        return pa.table({})
    names = dict.fromkeys(rows[0])
    try:
        if set(map(len, rows)) != {len(names)}:
            raise KeyError
        columns = {n: [row[n] for row in rows] for n in names}
    except KeyError:  # rows differ in their columns
        for row in rows:
            names.update(dict.fromkeys(row))
        columns = {n: [row.get(n) for row in rows] for n in names}
    if not columns:
        return pa.table({})
    return pa.table(
        [from_values(values, str(n)) for n, values in columns.items()], names=[str(n) for n in columns]
    )


# -------------------------------------------------------------------------------------------- from blocks


def to_batch(table: pa.Table, batch_format: str | None = "default") -> Any:
    """The content of a block in a batch format.

    ``"default"`` and ``"numpy"``: dict of arrays; ``"pandas"``, ``"pyarrow"`` (and ``None``), ``"polars"``,
    ``"torch"`` (dict of tensors).
    """
    if batch_format in ("default", "numpy"):
        return {name: column_to_numpy(table.column(i)) for i, name in enumerate(table.column_names)}
    if batch_format in ("pyarrow", "native", None):
        return table
    if batch_format == "pandas":
        return to_pandas(table)
    if batch_format == "polars":
        import polars

        return polars.from_arrow(table)
    if batch_format == "torch":
        import torch

        return {
            name: torch.as_tensor(writable(column_to_numpy(table.column(i))))
            for i, name in enumerate(table.column_names)
        }
    check_format(batch_format)
    raise AssertionError(batch_format)


def writable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of it where it must not be written to."""
    return array if array.flags.writeable else array.copy()


def column_to_numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column as an array; without a copy where there is one chunk of numbers without nulls."""
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            column = column.chunk(0)
        elif isinstance(column.type, pa.BaseExtensionType):
            column = concat_extension(column)
        elif column.num_chunks == 0:
            column = pa.array([], type=column.type)
        else:
            column = column.combine_chunks()
            if isinstance(column, pa.ChunkedArray):
                column = pa.concat_arrays(column.chunks)
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return extension_to_numpy(column)
    if pa.types.is_dictionary(kind):
        return column_to_numpy(column.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(column), None, dtype=object)
    if pa.types.is_boolean(kind) and column.null_count:
        return np.array(column.to_pylist(), dtype=object)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _lists_to_numpy(column)
    return column.to_numpy(zero_copy_only=False)


def _lists_to_numpy(column: pa.Array) -> np.ndarray:
    """Lists of numbers: one array where all have the same length, else an array of arrays."""
    values = column.to_numpy(zero_copy_only=False)
    if not len(values) or column.null_count:
        return values
    lengths = {len(v) for v in values}
    if len(lengths) == 1 and all(v.dtype != object for v in values):
        return np.stack(list(values))
    return values


def concat_extension(column: pa.ChunkedArray) -> pa.Array:
    """One array out of the chunks of an extension column."""
    if column.num_chunks == 0:
        return column.type.wrap_array(pa.array([], type=column.type.storage_type))
    storage = pa.concat_arrays([chunk.storage for chunk in column.chunks])
    return pa.ExtensionArray.from_storage(column.type, storage)


def extension_to_numpy(column: pa.Array) -> np.ndarray:
    """Tensors as one array (or an array of arrays), objects as an array of objects."""
    if isinstance(column.type, pa.FixedShapeTensorType):
        return column.to_numpy_ndarray()
    if hasattr(column, "to_numpy"):
        try:
            return column.to_numpy(zero_copy_only=False)
        except (TypeError, NotImplementedError, pa.ArrowNotImplementedError):
            pass
    return np.array([v.as_py() for v in column], dtype=object)


def to_pandas(table: pa.Table) -> Any:
    """The block as a DataFrame: tensor columns as tensors, integers with nulls as floats."""
    import pandas

    special = [i for i, f in enumerate(table.schema) if isinstance(f.type, pa.BaseExtensionType)]
    if not special and len(set(table.column_names)) == table.num_columns:
        return table.to_pandas(ignore_metadata=True)
    series = {}
    for i, name in enumerate(table.column_names):
        if i in special:
            array = column_to_numpy(table.column(i))
            if array.ndim > 1 or table.schema.field(i).type.__class__.__name__.startswith("ArrowVariable"):
                from rayjup.data.extensions import TensorArray

                series[name] = pandas.Series(TensorArray(array))
            else:
                series[name] = pandas.Series(list(array), dtype=object)
        else:
            series[name] = table.column(i).to_pandas(ignore_metadata=True)
    return pandas.DataFrame(series)


def column_values(column: pa.ChunkedArray) -> list[Any]:
    """Python values, row by row: numbers, strings, lists, dicts; arrays for tensors."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return list(column_to_numpy(column))
    if column.null_count == 0 and (
        pa.types.is_integer(kind) or pa.types.is_float64(kind) or pa.types.is_float32(kind)
    ):
        return column.to_numpy().tolist()
    return column.to_pylist()


def iter_rows(table: pa.Table) -> Iterable[dict[str, Any]]:
    """The rows as dicts of Python values."""
    names = table.column_names
    if not names:
        for _ in range(table.num_rows):
            yield {}
        return
    step = 8192  # so that a large block is not turned into Python objects all at once
    for start in range(0, table.num_rows, step):
        part = table.slice(start, step)
        if len(names) == 1:
            name = names[0]
            for value in column_values(part.column(0)):
                yield {name: value}
        else:
            columns = [column_values(part.column(i)) for i in range(len(names))]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=False))
