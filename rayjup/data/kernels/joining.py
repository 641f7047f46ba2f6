"""Rows of two tables whose keys are equal. Null is equal to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from rayjup.data.block.accessor import take
from rayjup.data.block.unify import cast_column, null_column, unify_types
from rayjup.data.kernels import frames

HOW = {
    "inner": "inner",
    "left_outer": "left",
    "right_outer": "right",
    "full_outer": "full",
    "left_semi": "semi",
    "left_anti": "anti",
    "right_semi": "semi",
    "right_anti": "anti",
}


def check(how: str) -> None:
    """Complain about a kind of join that does not exist."""
    if how not in HOW:
        raise ValueError(f"join_type={how!r}; it must be one of {', '.join(sorted(HOW))}.")


def output_names(
    left: Sequence[str],
    right: Sequence[str],
    how: str,
    left_on: Sequence[str],
    right_on: Sequence[str],
    left_suffix: str | None,
    right_suffix: str | None,
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Which columns of each side come out, and under which names.

    Raises
    ------
    ValueError
        A key is missing, or both sides have a column of the same name and no suffix is given.
    """
    for names, keys, side in ((left, left_on, "left"), (right, right_on, "right")):
        missing = [k for k in keys if k not in names]
        if missing:
            raise ValueError(f"join: the {side} side has no column {missing[0]!r}; it has {list(names)}.")
    if how.startswith("left_") and how != "left_outer":
        return [(n, n) for n in left], []
    if how.startswith("right_") and how != "right_outer":
        return [], [(n, n) for n in right]
    if how == "right_outer":
        from_left = [n for n in left if n not in left_on]
        from_right = list(right)
    else:
        from_left = list(left)
        from_right = [n for n in right if n not in right_on]
    both = set(from_left) & set(from_right)
    if both and not left_suffix and not right_suffix:
        raise ValueError(
            f"join: both sides have columns named {sorted(both)}; give left_suffix or right_suffix."
        )
    return (
        [(n, n + (left_suffix or "") if n in both else n) for n in from_left],
        [(n, n + (right_suffix or "") if n in both else n) for n in from_right],
    )


def join(
    left: pa.Table,
    right: pa.Table,
    how: str,
    left_on: Sequence[str],
    right_on: Sequence[str],
    left_suffix: str | None = None,
    right_suffix: str | None = None,
) -> pa.Table:
    """The joined table; in the order of the left side (of the right one for right joins)."""
    import polars as pl

    # What has no rows may have no columns: nobody knows them then.
    left = left if left.num_columns else pa.table([pa.nulls(0)] * len(left_on), names=list(left_on))
    right = right if right.num_columns else pa.table([pa.nulls(0)] * len(right_on), names=list(right_on))
    left_out, right_out = output_names(
        left.column_names, right.column_names, how, left_on, right_on, left_suffix, right_suffix
    )
    left_keys, right_keys = [], []
    for a, b in zip(left_on, right_on, strict=True):
        one, other = left.column(a), right.column(b)
        kind = unify_types(one.type, other.type, a)
        left_keys.append(cast_column(one, kind, a))
        right_keys.append(cast_column(other, kind, b))
    keys = [f"k{i}" for i in range(len(left_on))]
    one = frames.to_frame(pa.table(left_keys, names=keys)).with_row_index("_l")
    other = frames.to_frame(pa.table(right_keys, names=keys)).with_row_index("_r")
    method = HOW[how]
    if method in ("semi", "anti"):
        mine, theirs, table, number = (
            (one, other, left, "_l") if how.startswith("left") else (other, one, right, "_r")
        )
        kept = mine.join(theirs, on=keys, how=method, maintain_order="left")  # type: ignore[arg-type]
        return take(table, kept[number].to_numpy())
    order = "right" if how == "right_outer" else "left_right" if how == "full_outer" else "left"
    pairs = one.join(other, on=keys, how=method, coalesce=True, maintain_order=order)  # type: ignore[arg-type]
    rows_left, rows_right = pairs["_l"].to_arrow(), pairs["_r"].to_arrow()
    columns, names = [], []
    for old, new in left_out:
        if old in left_on and how == "full_outer":
            columns.append(frames.from_frame(pairs.select(keys[list(left_on).index(old)])).column(0))
        else:
            columns.append(_take_column(left, old, rows_left, pl))
        names.append(new)
    for old, new in right_out:
        columns.append(_take_column(right, old, rows_right, pl))
        names.append(new)
    return pa.table(columns, names=names)


def _take_column(table: pa.Table, name: str, rows: pa.Array, pl: object) -> pa.ChunkedArray | pa.Array:
    column = table.column(name)
    if not len(column):
        return null_column(column.type, len(rows))
    if isinstance(column.type, pa.BaseExtensionType):
        from rayjup.data.block.convert import concat_extension

        one = concat_extension(column)
        return pa.ExtensionArray.from_storage(column.type, one.storage.take(rows))
    return column.take(rows)
