"""Functions for records: ``expr.struct``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from rayjup.data.expressions.compute import compute

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import Expr, PyArrowComputeUDFExpr


class _StructNamespace:
    """Functions for records."""

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def field(self, field_name: str) -> PyArrowComputeUDFExpr:
        """The field of this name."""
        return compute(self._expr, pc.struct_field, indices=field_name)

    def field_by_index(self, index: int) -> PyArrowComputeUDFExpr:
        """The field at this position."""
        return compute(self._expr, pc.struct_field, indices=[index])

    def __getitem__(self, key: str | int) -> PyArrowComputeUDFExpr:
        return self.field_by_index(key) if isinstance(key, int) else self.field(key)
