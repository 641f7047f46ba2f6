"""Names and types of the columns of a dataset."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


class Schema:
    """Names and types of columns.

    Parameters
    ----------
    base_schema : pyarrow.Schema
    """

    def __init__(self, base_schema: pa.Schema, *, data_context: Any = None) -> None:
        self.base_schema = base_schema
        self._context = data_context

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.base_schema.names)

    @property
    def types(self) -> list[Any]:
        """The Arrow types of the columns."""
        return list(self.base_schema.types)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.base_schema.equals(other.base_schema)

    def __hash__(self) -> int:
        return hash(tuple(self.names))

    def __repr__(self) -> str:
        width = max([len(n) for n in self.names] + [6])
        lines = [f"{'Column':<{width}}  Type", f"{'-' * 6:<{width}}  ----"]
        lines += [f"{n:<{width}}  {t}" for n, t in zip(self.names, self.types, strict=True)]
        return "\n".join(lines)
