"""A block built from rows, batches and blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from rayjup.data.block import convert
from rayjup.data.block.unify import concat


class BlockBuilder:
    """Collects rows and blocks; ``build`` makes one block of them, in the order in which they came."""

    def __init__(self) -> None:
        self._parts: list[pa.Table] = []
        self._rows: list[Mapping[str, Any]] = []
        self._num_rows = 0
        self._bytes = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self._rows.append(row)
        self._num_rows += 1
        if len(self._rows) >= 8192:
            self._flush()

    def add_block(self, block: Any) -> None:
        """Add the rows of a block."""
        self._flush()
        table = convert.to_table(block)
        self._num_rows += table.num_rows
        self._bytes += table.nbytes
        self._parts.append(table)

    add_batch = add_block

    def _flush(self) -> None:
        if self._rows:
            part = convert.rows_to_table(self._rows)
            self._bytes += part.nbytes
            self._parts.append(part)
            self._rows = []

    def num_rows(self) -> int:
        """Rows so far."""
        return self._num_rows

    def get_estimated_memory_usage(self) -> int:
        """Bytes so far, without the rows of the last chunk."""
        return self._bytes

    def will_build_yield_copy(self) -> bool:
        """True if ``build`` makes new memory."""
        return len(self._parts) != 1 or bool(self._rows)

    def build(self) -> pa.Table:
        """The block."""
        self._flush()
        return concat(self._parts)
