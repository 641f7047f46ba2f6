"""Schemas and blocks joined although they differ: nulls, integers and floats, missing columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa


def unify_schemas(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The schema that the tables of all the given ones can be cast to.

    Columns come in the order of first appearance; a null type yields to any other, integers to floats,
    narrow types to wide ones, tensors of different shapes to tensors of variable shape.

    Raises
    ------
    ValueError
        The types of a column have nothing in common.
    """
    distinct: list[pa.Schema] = []
    for schema in schemas:
        if schema is not None and len(schema) and not any(schema.equals(s) for s in distinct):
            distinct.append(schema)
    if not distinct:
        return pa.schema([])
    if len(distinct) == 1:
        return distinct[0]
    types: dict[str, pa.DataType] = {}
    for schema in distinct:
        for field in schema:
            known = types.get(field.name)
            types[field.name] = field.type if known is None else unify_types(known, field.type, field.name)
    return pa.schema(list(types.items()))


def unify_types(one: pa.DataType, other: pa.DataType, name: str) -> pa.DataType:
    """The type that holds values of both."""
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if isinstance(one, pa.BaseExtensionType) or isinstance(other, pa.BaseExtensionType):
        return _unify_extensions(one, other, name)
    if pa.types.is_dictionary(one) or pa.types.is_dictionary(other):
        plain = [t.value_type if pa.types.is_dictionary(t) else t for t in (one, other)]
        return unify_types(plain[0], plain[1], name)
    if _is_list(one) and _is_list(other):
        value = unify_types(one.value_type, other.value_type, name)
        large = pa.types.is_large_list(one) or pa.types.is_large_list(other)
        return pa.large_list(value) if large else pa.list_(value)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        inner = unify_schemas([pa.schema(list(one)), pa.schema(list(other))])
        return pa.struct(list(inner))
    if _integer_and_float(one, other):
        return pa.float64()
    try:
        return (
            pa.unify_schemas(
                [pa.schema([(name, one)]), pa.schema([(name, other)])], promote_options="permissive"
            )
            .field(name)
            .type
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(
            f"column {name!r} is of type {one} in some blocks and {other} in others, and no type holds both. "
            "Cast it in the function or the reader that makes it."
        ) from error


def _integer_and_float(one: pa.DataType, other: pa.DataType) -> bool:
    kinds = {pa.types.is_integer(one), pa.types.is_integer(other)}
    floats = {pa.types.is_floating(one), pa.types.is_floating(other)}
    return kinds == {True, False} and floats == {True, False}


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _unify_extensions(one: pa.DataType, other: pa.DataType, name: str) -> pa.DataType:
    from rayjup.data import extensions

    tensors = extensions.get_arrow_extension_tensor_types()
    if isinstance(one, tensors) and isinstance(other, tensors):
        return extensions.ArrowVariableShapedTensorType(
            _scalar(unify_types(_scalar(one), _scalar(other), name)), max(_ndim(one), _ndim(other))
        )
    return extensions.ArrowPythonObjectType()


def _scalar(kind: pa.DataType) -> pa.DataType:
    return getattr(kind, "scalar_type", None) or getattr(kind, "value_type", kind)


def _ndim(kind: Any) -> int:
    return kind.ndim if hasattr(kind, "ndim") else len(kind.shape)


def align(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns and types of ``schema``; missing columns are null."""
    if table.schema.equals(schema):
        return table
    columns = []
    have = {name: i for i, name in enumerate(table.column_names)}
    for field in schema:
        position = have.get(field.name)
        if position is None:
            columns.append(null_column(field.type, table.num_rows))
        else:
            columns.append(cast_column(table.column(position), field.type, field.name))
    return pa.table(columns, schema=schema)


def null_column(kind: pa.DataType, rows: int) -> pa.Array:
    """A column of nulls."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.nulls(rows, kind.storage_type))
    return pa.nulls(rows, kind)


def cast_column(column: pa.ChunkedArray, kind: pa.DataType, name: str) -> Any:
    """The column in a type that :func:`unify_types` has found."""
    if column.type.equals(kind):
        return column
    if pa.types.is_null(column.type):
        return null_column(kind, len(column))
    if isinstance(kind, pa.BaseExtensionType):
        from rayjup.data import extensions
        from rayjup.data.block.convert import column_to_numpy, column_values

        if isinstance(kind, extensions.ArrowVariableShapedTensorType):
            array = column_to_numpy(column)
            return extensions.ArrowVariableShapedTensorArray.from_numpy(array, name).cast(kind)
        return extensions.ArrowPythonObjectArray.from_objects(column_values(column))
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([c.dictionary_decode() for c in column.chunks], column.type.value_type)
    if pa.types.is_struct(kind):
        import pyarrow.compute as pc

        parts = []
        for field in kind:
            if column.type.get_field_index(field.name) < 0:
                parts.append(pa.chunked_array([null_column(field.type, len(column))]))
            else:
                parts.append(cast_column(pc.struct_field(column, field.name), field.type, field.name))
        arrays = [p.combine_chunks() if isinstance(p, pa.ChunkedArray) else p for p in parts]
        return pa.StructArray.from_arrays(
            arrays, fields=list(kind), mask=column.is_null().combine_chunks() if column.null_count else None
        )
    return column.cast(kind, safe=False)


def concat(tables: Sequence[pa.Table], schema: pa.Schema | None = None) -> pa.Table:
    """One table out of many, without a copy where their schemas are equal."""
    if schema is None:
        if len(tables) == 1:
            return tables[0]
        filled = [t for t in tables if t.num_columns and t.num_rows] or [t for t in tables if t.num_columns]
        if not filled:
            return tables[0] if tables else pa.table({})
        first = filled[0].schema
        if all(t.schema is first or t.schema.equals(first) for t in filled):
            return pa.concat_tables(filled)
        schema = unify_schemas(t.schema for t in tables)
        tables = filled
    return pa.concat_tables([align(t, schema) for t in tables])
