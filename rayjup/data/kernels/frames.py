"""Between Arrow tables and Polars frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl


def supported(kind: pa.DataType) -> bool:
    """True if values of the type come back from Polars as they were."""
    if isinstance(kind, pa.BaseExtensionType):
        return False
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(supported(f.type) for f in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return supported(kind.value_type)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return kind.unit != "s"
    return (
        pa.types.is_integer(kind)
        or pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_date32(kind)
        or pa.types.is_null(kind)
    )


def all_supported(schema: pa.Schema) -> bool:
    """True if a table of this schema goes through Polars unchanged."""
    return len(set(schema.names)) == len(schema) and all(supported(f.type) for f in schema)


def to_frame(table: pa.Table) -> pl.DataFrame:
    """A frame over the memory of the table, where the types allow that."""
    import polars as pl

    if not table.num_columns:
        return pl.DataFrame(height=table.num_rows)
    return pl.from_arrow(table)  # type: ignore[return-value]


def from_frame(frame: pl.DataFrame) -> pa.Table:
    """A table of the frame's content; strings and lists with 32-bit offsets where these suffice."""
    if not frame.width:
        return pa.table({})
    return plain(frame.to_arrow())


def plain(table: pa.Table) -> pa.Table:
    """Large strings, binaries and lists as ordinary ones, where they fit."""
    fields, changed = [], False
    for position, field in enumerate(table.schema):
        kind = plain_type(field.type)
        if kind is not field.type and table.column(position).nbytes < 2**31 - 1:
            fields.append(pa.field(field.name, kind))
            changed = True
        else:
            fields.append(pa.field(field.name, field.type))
    return table.cast(pa.schema(fields)) if changed else table


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type with 32-bit offsets; the same object where there is nothing to change."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        parts = [pa.field(f.name, plain_type(f.type)) for f in kind]
        if any(a.type is not b.type for a, b in zip(parts, kind, strict=True)):
            return pa.struct(parts)
    return kind


def arrow_schema(frame: Any) -> pa.Schema:
    """The schema that the frame (also a lazy one) has as a table."""
    import polars as pl

    empty = pl.DataFrame(schema=frame.collect_schema() if hasattr(frame, "collect_schema") else frame.schema)
    return from_frame(empty).schema if empty.width else pa.schema([])
