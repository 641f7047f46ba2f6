"""Functions for lists: ``expr.list``."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.datatype import DataType
from rayjup.data.expressions.compute import compute, kernel

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import Expr, PyArrowComputeUDFExpr, UDFExpr


class _ListNamespace:
    """Functions for lists."""

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def len(self) -> PyArrowComputeUDFExpr:
        """How many elements it has."""
        return compute(self._expr, pc.list_value_length, returns=DataType.int32())

    def get(self, index: int) -> UDFExpr:
        """The element at this position (negative ones count from the end); null where there is none."""
        return kernel(self._expr, _list_get, index)

    def slice(self, start: int | None = None, stop: int | None = None, step: int | None = None) -> UDFExpr:
        """The elements from ``start`` to ``stop``, by ``step``, as Python slices lists."""
        if step is not None and step < 1:
            raise ValueError(f"step={step} is not a positive number.")
        return kernel(self._expr, _list_slice, start, stop, step)

    def __getitem__(self, key: int | builtins.slice) -> UDFExpr:
        if isinstance(key, builtins.slice):
            return self.slice(key.start, key.stop, key.step)
        return self.get(key)

    def sort(
        self,
        order: Literal["ascending", "descending"] = "ascending",
        null_placement: Literal["at_start", "at_end"] = "at_end",
    ) -> UDFExpr:
        """The elements of each list in order."""
        if order not in ("ascending", "descending"):
            raise ValueError(f"order={order!r} is neither 'ascending' nor 'descending'.")
        if null_placement not in ("at_start", "at_end"):
            raise ValueError(f"null_placement={null_placement!r} is neither 'at_start' nor 'at_end'.")
        return kernel(self._expr, _list_sort, order, null_placement)

    def flatten(self) -> UDFExpr:
        """One level of nesting less: the lists within each list joined."""
        return kernel(self._expr, _list_flatten)


def _as_lists(array: pa.Array, purpose: str) -> pa.Array:
    """The array as lists with offsets; nulls and slices resolved by pyarrow."""
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        return array.cast(pa.list_(kind.value_field))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return array
    raise TypeError(f"list.{purpose}() is for columns of lists; this one is of type {kind}.")


def _bounds(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    offsets = array.offsets.to_numpy().astype(np.int64)
    return offsets[:-1], offsets[1:] - offsets[:-1]


def _valid(array: pa.Array) -> np.ndarray:
    return np.asarray(array.is_valid())


def _list_get(array: pa.Array, index: int) -> pa.Array:
    array = _as_lists(array, "get")
    starts, lengths = _bounds(array)
    position = index + lengths if index < 0 else np.full(len(array), index)
    there = (position >= 0) & (position < lengths) & _valid(array)
    return array.values.take(pa.array(starts + np.where(there, position, 0), mask=~there))


def _list_slice(array: pa.Array, start: int | None, stop: int | None, step: int | None) -> pa.Array:
    array = _as_lists(array, "slice")
    starts, lengths = _bounds(array)
    step = step or 1
    valid = _valid(array)
    lengths = np.where(valid, lengths, 0)
    first = _clip(start, lengths, 0)
    last = lengths if stop is None else _clip(stop, lengths, 0)
    counts = np.maximum(0, -(-(last - first) // step))
    row = np.repeat(np.arange(len(array)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = array.values.take(pa.array(starts[row] + first[row] + within * step))
    return _lists(array.type, np.concatenate([[0], np.cumsum(counts)]), taken, valid)


def _clip(bound: int | None, lengths: np.ndarray, default: int) -> np.ndarray:
    if bound is None:
        return np.full(len(lengths), default)
    return np.clip(bound + lengths if bound < 0 else np.full(len(lengths), bound), 0, lengths)


def _list_sort(array: pa.Array, order: str, null_placement: str) -> pa.Array:
    array = _as_lists(array, "sort")
    _, lengths = _bounds(array)
    valid = _valid(array)
    lengths = np.where(valid, lengths, 0)
    elements = array.flatten()
    row = pa.array(np.repeat(np.arange(len(array)), lengths))
    # Nulls within a list first or last: a key of their own, before the value.
    empty = pc.cast(pc.is_null(elements), pa.int8())
    placed = "ascending" if null_placement == "at_end" else "descending"
    table = pa.table({"row": row, "null": empty, "value": elements})
    indices = pc.sort_indices(table, sort_keys=[("row", "ascending"), ("null", placed), ("value", order)])
    return _lists(array.type, np.concatenate([[0], np.cumsum(lengths)]), elements.take(indices), valid)


def _list_flatten(array: pa.Array) -> pa.Array:
    array = _as_lists(array, "flatten")
    inner_type = array.type.value_type
    if not (
        pa.types.is_list(inner_type)
        or pa.types.is_large_list(inner_type)
        or pa.types.is_fixed_size_list(inner_type)
    ):
        raise TypeError(f"list.flatten() is for lists of lists; this column is of type {array.type}.")
    valid = _valid(array)
    _, lengths = _bounds(array)
    lengths = np.where(valid, lengths, 0)
    inner = _as_lists(array.flatten(), "flatten")
    _, inner_lengths = _bounds(inner)
    ends = np.concatenate([[0], np.cumsum(np.where(_valid(inner), inner_lengths, 0))])
    offsets = ends[np.concatenate([[0], np.cumsum(lengths)])]
    return _lists(inner.type, offsets, inner.flatten(), valid)


def _lists(kind: pa.DataType, offsets: np.ndarray, values: pa.Array, valid: np.ndarray) -> pa.Array:
    """Lists of the given type; offsets of 64 bits where it has such."""
    mask = None if valid.all() else pa.array(~valid)
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, type=kind, mask=mask)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind, mask=mask)
