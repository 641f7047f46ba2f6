"""What is known of a plan before it is run: rows, bytes, schema."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from rayjup.data.block.unify import unify_schemas
from rayjup.data.logical.base import Op, walk
from rayjup.data.logical.columns import Columns, Drop, FilterExpr, Rename, Select, WithColumns
from rayjup.data.logical.combine import Union, Zip
from rayjup.data.logical.rearrange import Limit, RandomizeBlocks, RandomShuffle, Repartition, Sample, Sort
from rayjup.data.logical.sources import InputBlocks, Read


def source_bytes(op: Op) -> int | None:
    """Bytes in memory of what the plan reads; None where a source does not say."""
    total = 0
    for node in walk(op):
        if isinstance(node, InputBlocks):
            total += sum(b.nbytes for b in node.bundles)
        elif isinstance(node, Read):
            size = node.estimated_bytes()
            if size is None:
                return None
            total += size
    return total


def row_count(op: Op) -> int | None:
    """The number of rows, where it is known without running anything."""
    if isinstance(op, InputBlocks):
        counts = [b.num_rows for b in op.bundles]
        return None if any(c is None for c in counts) else sum(c for c in counts if c is not None)
    if isinstance(op, Read):
        if op.source.get_current_predicate() is not None:
            return None
        count = getattr(op.source, "count_rows", None)
        if count is not None:
            return count()
        if op.limit is not None:
            return None
        rows = [task.metadata.num_rows for task in op.tasks(op.num_blocks or 1)]
        return None if any(r is None for r in rows) else sum(rows)
    if isinstance(op, Limit):
        rows_below = row_count(op.inputs[0])
        return None if rows_below is None else min(op.n, rows_below)
    if isinstance(op, (Columns, Sort, RandomShuffle, RandomizeBlocks, Repartition)) or op.keeps_rows:
        return row_count(op.inputs[0])
    if isinstance(op, Union):
        below = [row_count(child) for child in op.inputs]
        return None if any(b is None for b in below) else sum(b for b in below if b is not None)
    if isinstance(op, Zip):
        return row_count(op.inputs[0])
    return None


def known_schema(op: Op) -> pa.Schema | None:
    """The schema, where it is known without running anything."""
    if isinstance(op, InputBlocks):
        schemas = [b.schema for b in op.bundles if b.schema is not None]
        return unify_schemas(schemas) if schemas else None
    if isinstance(op, Read):
        schema = getattr(op.source, "known_schema", None)
        if schema is not None:
            return schema()
        tasks = op.tasks(op.num_blocks or 1)
        schemas = [t.schema for t in tasks[:1] if t.schema is not None]
        return schemas[0] if schemas else None
    if isinstance(op, Select):
        below = known_schema(op.inputs[0])
        if below is None or any(old not in below.names for old, _ in op.names):
            return None
        return pa.schema([(new, below.field(old).type) for old, new in op.names])
    if isinstance(op, Drop):
        below = known_schema(op.inputs[0])
        return None if below is None else pa.schema([f for f in below if f.name not in op.names])
    if isinstance(op, Rename):
        below = known_schema(op.inputs[0])
        if below is None or (op.every is not None and len(op.every) != len(below)):
            return None
        names: Sequence[str] = op.every or [dict(op.names).get(n, n) for n in below.names]
        return pa.schema([(n, f.type) for n, f in zip(names, below, strict=True)])
    if isinstance(op, (FilterExpr, Limit, Sample, Sort, RandomShuffle, RandomizeBlocks, Repartition)):
        return known_schema(op.inputs[0])
    if isinstance(op, Union):
        below_all = [known_schema(child) for child in op.inputs]
        return (
            None
            if any(b is None for b in below_all)
            else unify_schemas(b for b in below_all if b is not None)
        )
    if isinstance(op, WithColumns):
        return None
    return None
