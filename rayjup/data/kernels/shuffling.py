"""Rows moved: at random, by hash, by position."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import take
from rayjup.data.kernels import frames


def gather(table: pa.Table, indices: np.ndarray) -> pa.Table:
    """Rows by number: with all cores where Polars can."""
    if table.num_rows > 100_000 and frames.all_supported(table.schema):
        import polars as pl

        rows = pl.Series(indices.astype(np.uint32 if table.num_rows < 2**32 else np.uint64))
        return frames.from_frame(frames.to_frame(table).select(pl.all().gather(rows)))
    return take(table, indices)


def shuffle(table: pa.Table, seed: int | None) -> pa.Table:
    """The rows in random order."""
    return gather(table, _order(table.num_rows, seed))


def shuffle_frame(frame: Any, seed: int | None) -> pa.Table:
    """The rows of a Polars frame in the same random order."""
    import polars as pl

    return frames.from_frame(frame.select(pl.all().gather(pl.Series(_order(frame.height, seed)))))


def _order(rows: int, seed: int | None) -> np.ndarray:
    order = np.arange(rows, dtype=np.uint32 if rows < 2**32 else np.uint64)
    np.random.default_rng(seed).shuffle(order)
    return order


def scatter(table: pa.Table, part_of_row: np.ndarray, parts: int) -> list[pa.Table]:
    """The rows by the part that each belongs to; within a part in their order."""
    if parts == 1:
        return [table]
    narrow = part_of_row.astype(np.uint16 if parts < 2**16 else np.uint64)
    order = np.argsort(narrow, kind="stable")
    counts = np.bincount(narrow, minlength=parts)
    moved = gather(table, order)
    ends = np.cumsum(counts)
    return [moved.slice(int(end - count), int(count)) for end, count in zip(ends, counts, strict=True)]


def random_parts(table: pa.Table, parts: int, seed: int) -> list[pa.Table]:
    """Each row in a random part."""
    return scatter(table, np.random.default_rng(seed).integers(0, parts, table.num_rows), parts)


def hash_rows(table: pa.Table, keys: Sequence[str]) -> np.ndarray:
    """Hashes that are equal for equal keys, in all processes and although an integer may be a float
    elsewhere."""
    import polars as pl

    missing = [k for k in keys if k not in table.column_names]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; the columns are {table.column_names}.")
    total = np.zeros(table.num_rows, dtype=np.uint64)
    for number, name in enumerate(keys):
        column = table.column(name)
        if isinstance(column.type, pa.BaseExtensionType):
            raise TypeError(f"column {name!r} is of type {column.type}, which cannot be a key.")
        if pa.types.is_dictionary(column.type):
            column = pa.chunked_array([c.dictionary_decode() for c in column.chunks], column.type.value_type)
        series = pl.from_arrow(pa.table({"k": column}))["k"]  # type: ignore[index]
        if series.dtype.is_numeric():
            series = series.cast(pl.Float64, strict=False)
        if series.dtype == pl.Null:
            hashes = np.zeros(len(series), dtype=np.uint64)
        else:
            hashes = series.hash(seed=number + 1).to_numpy().copy()
            if series.null_count():
                hashes[series.is_null().to_numpy()] = 0
        total = total * np.uint64(0x9E3779B97F4A7C15) + hashes
    return total ^ (total >> np.uint64(32))


def hash_parts(table: pa.Table, keys: Sequence[str], parts: int) -> list[pa.Table]:
    """The rows by the hash of their keys."""
    if not table.num_rows:
        return [table] * parts
    return scatter(table, hash_rows(table, keys) % np.uint64(parts), parts)


def split_evenly(table: pa.Table, parts: int) -> list[pa.Table]:
    """Consecutive parts whose sizes differ by one row at most."""
    edges = np.linspace(0, table.num_rows, parts + 1).astype(int)
    return [table.slice(int(a), int(b - a)) for a, b in itertools.pairwise(edges)]


def split_to_size(table: pa.Table, max_bytes: int | None) -> list[pa.Table]:
    """Consecutive parts of at most about ``max_bytes``."""
    if not max_bytes or table.num_rows < 2:
        return [table]
    size = table.nbytes
    if size <= max_bytes * 3 // 2:
        return [table]
    return split_evenly(table, min(table.num_rows, -(-size // max_bytes)))
