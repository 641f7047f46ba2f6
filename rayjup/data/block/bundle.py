"""A block where it lies: in this process, or in the object store."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rayjup.data.block.metadata import BlockMetadata

_INLINE = 1 << 20


class Bundle:
    """One block of a dataset, by value or by reference, with what is known of it.

    Pickled by value it takes a large block along as a reference, so that tasks share one copy.
    """

    __slots__ = ("_ref", "_table", "meta", "schema")

    def __init__(
        self,
        table: pa.Table | None = None,
        ref: Any = None,
        meta: BlockMetadata | None = None,
        schema: pa.Schema | None = None,
    ) -> None:
        self._table, self._ref = table, ref
        if meta is None:
            assert table is not None
            meta = BlockMetadata(table.num_rows, table.nbytes, None)
        self.meta = meta
        self.schema = schema if schema is not None or table is None else table.schema

    @property
    def num_rows(self) -> int | None:
        """How many rows, where that is known."""
        return self.meta.num_rows

    @property
    def nbytes(self) -> int:
        """Bytes in memory (0 where that is not known)."""
        return self.meta.size_bytes or 0

    @property
    def is_local(self) -> bool:
        """True if the block is in this process."""
        return self._table is not None

    def table(self) -> pa.Table:
        """The block; fetched where it is elsewhere."""
        if self._table is not None:
            return self._table
        import rayjup
        from rayjup.data.block.convert import to_table

        return to_table(rayjup.get(self._ref))

    def ref(self) -> Any:
        """The reference; the block is put into the object store where it has none yet."""
        if self._ref is None:
            import rayjup

            assert self._table is not None
            self._ref = rayjup.put(compact(self._table))
        return self._ref

    def argument(self) -> Any:
        """What to give to a task: the block itself where it is small."""
        if self._table is not None and self.nbytes < _INLINE // 16:
            return compact(self._table)
        return self.ref()

    def slice(self, start: int, rows: int) -> Bundle:
        """Some of the rows; fetches the block."""
        return Bundle(self.table().slice(start, rows))

    def __reduce__(self) -> Any:
        import rayjup

        if self._table is not None and (self.nbytes < _INLINE or not rayjup.is_initialized()):
            return Bundle, (compact(self._table), None, self.meta, self.schema)
        return Bundle, (None, self.ref(), self.meta, self.schema)


def compact(table: pa.Table) -> pa.Table:
    """The table, in memory of its own where it is a small part of something larger."""
    size = table.nbytes
    if table.get_total_buffer_size() <= size + (size >> 2) + 65536:
        return table
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()
