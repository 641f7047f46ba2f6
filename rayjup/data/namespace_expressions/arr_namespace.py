"""Functions for lists of one length: ``expr.arr``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from rayjup.data.expressions.compute import kernel

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import Expr, UDFExpr


class _ArrayNamespace:
    """Functions for lists of one length."""

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def to_list(self) -> UDFExpr:
        """As lists of any length."""
        return kernel(self._expr, _to_list)


def _to_list(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return array
    if not pa.types.is_fixed_size_list(kind):
        raise TypeError(f"arr.to_list() is for columns of lists of one length; this one is of type {kind}.")
    return array.cast(pa.list_(kind.value_type))
