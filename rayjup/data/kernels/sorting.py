"""Rows in order of a key; nulls come last, whatever the direction."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import take
from rayjup.data.block.convert import column_values
from rayjup.data.kernels import frames


@dataclass(frozen=True)
class SortKey:
    """Columns to sort by, each ascending or descending."""

    columns: tuple[str, ...]
    descending: tuple[bool, ...]

    @classmethod
    def of(cls, key: Any, descending: bool | Sequence[bool] = False) -> SortKey:
        """From the arguments of ``Dataset.sort``.

        Raises
        ------
        ValueError
            There is no column, a name is no string, or the numbers of columns and directions differ.
        """
        if isinstance(key, SortKey):
            return key
        names = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, (list, tuple)) else None
        if not names or not all(isinstance(n, str) for n in names):
            raise ValueError(f"sort key {key!r}: give the name of a column, or a list of names.")
        ways = (
            tuple(descending) if isinstance(descending, (list, tuple)) else (bool(descending),) * len(names)
        )
        if len(ways) != len(names):
            raise ValueError(
                f"sort by {len(names)} columns got {len(ways)} directions: give one `descending` for "
                "each, or one in all."
            )
        return cls(names, ways)

    def check(self, names: Sequence[str]) -> None:
        """Complain about columns that are not there."""
        missing = [c for c in self.columns if c not in names]
        if missing:
            raise ValueError(f"sort: there is no column {missing[0]!r}; the columns are {list(names)}.")

    def compare(self, one: Sequence[Any], other: Sequence[Any]) -> int:
        """-1, 0 or 1: which of two keys (tuples of values) comes first."""
        for a, b, down in zip(one, other, self.descending, strict=True):
            if a is None or b is None:
                if a is None and b is None:
                    continue
                return 1 if a is None else -1
            if a != a or b != b:  # NaN: after all numbers, before nulls
                if a != a and b != b:
                    continue
                return 1 if a != a else -1
            if a == b:
                continue
            return 1 if (a > b) != down else -1
        return 0


def sort_table(table: pa.Table, key: SortKey) -> pa.Table:
    """The rows in order; rows with equal keys keep theirs."""
    if not table.num_rows:
        if table.num_columns:
            key.check(table.column_names)
        return table
    key.check(table.column_names)
    if frames.all_supported(table.schema):
        return frames.from_frame(sort_frame(frames.to_frame(table), key, table.schema))
    return take(table, sort_indices(table, key))


def sort_frame(frame: Any, key: SortKey, schema: pa.Schema) -> Any:
    """A frame (also a lazy one) in order: NaN after all numbers, nulls last."""
    import polars as pl

    exprs: list[Any] = []
    down: list[bool] = []
    for name, descending in zip(key.columns, key.descending, strict=True):
        if descending and pa.types.is_floating(schema.field(name).type):
            exprs.append(pl.col(name).is_nan())  # NaN would come first
            down.append(False)
        exprs.append(pl.col(name))
        down.append(descending)
    return frame.sort(exprs, descending=down, nulls_last=True, maintain_order=True)


def sort_indices(table: pa.Table, key: SortKey) -> pa.Array:
    """The row numbers in order of the key."""
    keys = table.select(list(key.columns))
    if frames.all_supported(keys.schema):
        frame = frames.to_frame(keys).with_row_index("__row__")
        return sort_frame(frame, key, keys.schema)["__row__"].to_arrow()
    rows = list(zip(*(column_values(c) for c in keys.columns), strict=True))
    by = functools.cmp_to_key(key.compare)
    try:
        return pa.array(sorted(range(len(rows)), key=lambda i: by(rows[i])))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"sort: the values of {list(key.columns)} ({keys.schema.types}) cannot be compared: {error}"
        ) from error


def key_rows(table: pa.Table, key: SortKey) -> list[tuple[Any, ...]]:
    """The keys of all rows as Python values."""
    return list(zip(*(column_values(table.column(c)) for c in key.columns), strict=True))


def boundaries(samples: Sequence[pa.Table], key: SortKey, parts: int) -> list[tuple[Any, ...]]:
    """``parts - 1`` keys that cut the data into parts of about equal size."""
    rows = [row for sample in samples for row in key_rows(sample, key)]
    rows.sort(key=functools.cmp_to_key(key.compare))
    if not rows or parts < 2:
        return []
    cuts = [rows[min(len(rows) - 1, len(rows) * i // parts)] for i in range(1, parts)]
    out: list[tuple[Any, ...]] = []
    for cut in cuts:
        if not out or key.compare(out[-1], cut):
            out.append(cut)
    return out


def range_partition(table: pa.Table, key: SortKey, cuts: Sequence[Any]) -> list[pa.Table]:
    """``len(cuts) + 1`` sorted parts: rows below the first cut, up to the second, ...

    A row equal to a cut goes to the part above it.
    """
    ordered = sort_table(table, key)
    bounds = [cut if isinstance(cut, tuple) else (cut,) for cut in cuts]
    if not ordered.num_rows:
        return [ordered] * (len(bounds) + 1)
    keys = ordered.select(list(key.columns))

    def key_at(row: int) -> tuple[Any, ...]:
        return tuple(column_values(c)[0] for c in keys.slice(row, 1).columns)

    edges = [0]
    for bound in bounds:
        low, high = edges[-1], ordered.num_rows
        while low < high:
            middle = (low + high) // 2
            if key.compare(key_at(middle), bound) < 0:
                low = middle + 1
            else:
                high = middle
        edges.append(low)
    edges.append(ordered.num_rows)
    return [ordered.slice(a, b - a) for a, b in itertools.pairwise(edges)]


def sample_keys(table: pa.Table, key: SortKey, rows: int, seed: int) -> pa.Table:
    """The keys of some random rows."""
    if not table.num_columns:
        return table
    key.check(table.column_names)
    keys = table.select(list(key.columns))
    if keys.num_rows <= rows:
        return keys
    return take(keys, np.random.default_rng(seed).choice(keys.num_rows, rows, replace=False))
