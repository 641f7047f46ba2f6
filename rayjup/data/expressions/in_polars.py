"""Expressions in Polars' form, where the results are the same to the last bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rayjup.data.expressions.nodes import (
    AliasExpr,
    BinaryExpr,
    ColumnExpr,
    Expr,
    LiteralExpr,
    Operation,
    UnaryExpr,
)

if TYPE_CHECKING:
    import polars as pl

_COMPARISONS = {
    Operation.EQ: "eq",
    Operation.NE: "ne",
    Operation.LT: "lt",
    Operation.LE: "le",
    Operation.GT: "gt",
    Operation.GE: "ge",
}
_ARITHMETIC = {Operation.ADD: "add", Operation.SUB: "sub", Operation.MUL: "mul", Operation.DIV: "truediv"}


def to_polars(expr: Expr, schema: pa.Schema) -> pl.Expr | None:
    """The expression for a Polars frame with these columns; ``None`` where it would not be exactly equal.

    Integers are left to Arrow, which notices overflow, and so is everything about text but comparison.

    Parameters
    ----------
    expr
        The expression.
    schema
        The columns of the frame, as Arrow has them.
    """
    made = _Translator(schema).translate(expr)
    if made is None or not expr.columns():  # alone, a literal would be a single row
        return None
    return made[0] if expr.name is None else made[0].alias(expr.name)


def _kind(arrow_type: pa.DataType | None) -> str | None:
    if arrow_type is None:
        return None
    if pa.types.is_boolean(arrow_type):
        return "bool"
    if pa.types.is_signed_integer(arrow_type) or (
        pa.types.is_unsigned_integer(arrow_type) and not pa.types.is_uint64(arrow_type)
    ):
        return "int"
    if pa.types.is_float32(arrow_type) or pa.types.is_float64(arrow_type):
        return "float"
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return "text"
    return None


class _Translator:
    """Gives a Polars expression and the kind of its values, or ``None``."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def translate(self, expr: Expr) -> tuple[Any, str] | None:
        import polars as pl

        if isinstance(expr, AliasExpr):
            return self.translate(expr.expr)
        if isinstance(expr, ColumnExpr):
            kind = _kind(expr.get_type(self.schema))
            return None if kind is None else (pl.col(expr._name), kind)
        if isinstance(expr, LiteralExpr):
            return self._literal(expr.value)
        if isinstance(expr, UnaryExpr):
            return self._unary(expr)
        return self._binary(expr) if isinstance(expr, BinaryExpr) else None

    def _literal(self, value: Any) -> tuple[Any, str] | None:
        import polars as pl

        if isinstance(value, bool):
            return pl.lit(value), "bool"
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return pl.lit(value, dtype=pl.Int64), "int"
        if isinstance(value, float):
            return pl.lit(value, dtype=pl.Float64), "float"
        return (pl.lit(value), "text") if isinstance(value, str) else None

    def _unary(self, expr: UnaryExpr) -> tuple[Any, str] | None:
        if expr.op in (Operation.IS_NULL, Operation.IS_NOT_NULL) and isinstance(expr.operand, ColumnExpr):
            import polars as pl

            if expr.operand._name not in self.schema.names:
                return None
            column = pl.col(expr.operand._name)
            return (column.is_null() if expr.op is Operation.IS_NULL else column.is_not_null()), "bool"
        inner = self.translate(expr.operand)
        if inner is None:
            return None
        if expr.op is Operation.IS_NULL:
            return inner[0].is_null(), "bool"
        if expr.op is Operation.IS_NOT_NULL:
            return inner[0].is_not_null(), "bool"
        return (~inner[0], "bool") if inner[1] == "bool" else None

    def _binary(self, expr: BinaryExpr) -> tuple[Any, str] | None:
        left = self.translate(expr.left)
        if left is None:
            return None
        if expr.op in (Operation.IN, Operation.NOT_IN):
            return self._membership(expr, left)
        right = self.translate(expr.right)
        if right is None:
            return None
        kinds = {left[1], right[1]}
        if expr.op in (Operation.AND, Operation.OR):
            if kinds != {"bool"}:
                return None
            return (left[0] & right[0] if expr.op is Operation.AND else left[0] | right[0]), "bool"
        if expr.op in _COMPARISONS:
            return self._comparison(expr, left, right, kinds)
        return self._arithmetic(expr, left, right, kinds)

    def _comparison(
        self, expr: BinaryExpr, left: tuple[Any, str], right: tuple[Any, str], kinds: set[str]
    ) -> tuple[Any, str] | None:
        import polars as pl

        if len(kinds) > 1 and kinds != {"int", "float"}:
            return None
        if kinds == {"int", "float"} or (kinds == {"bool"} and expr.op not in (Operation.EQ, Operation.NE)):
            return None  # Arrow compares integers with floats as floats, and does not order truth
        compared = getattr(left[0], _COMPARISONS[expr.op])(right[0])
        if kinds == {"float"}:
            # To Polars NaN equals itself and is the greatest; to Arrow it is unequal to everything.
            numbers = left[0].is_not_nan() & right[0].is_not_nan()
            compared = compared | ~numbers if expr.op is Operation.NE else compared & numbers
            compared = pl.when(left[0].is_not_null() & right[0].is_not_null()).then(compared)
        return compared, "bool"

    def _arithmetic(
        self, expr: BinaryExpr, left: tuple[Any, str], right: tuple[Any, str], kinds: set[str]
    ) -> tuple[Any, str] | None:
        import polars as pl

        method = _ARITHMETIC.get(expr.op)
        both = (expr.left.get_type(self.schema), expr.right.get_type(self.schema))
        if method is None or kinds != {"float"} or pa.float64() not in both:
            return None
        return getattr(left[0].cast(pl.Float64), method)(right[0].cast(pl.Float64)), "float"

    def _membership(self, expr: BinaryExpr, left: tuple[Any, str]) -> tuple[Any, str] | None:
        values = expr.right.value if isinstance(expr.right, LiteralExpr) else None
        wanted = {"int": int, "text": str}.get(left[1])
        if not isinstance(values, (list, tuple, set, frozenset)) or wanted is None:
            return None
        present = [value for value in values if value is not None]
        if not all(type(value) is wanted for value in present):
            return None
        found = left[0].is_in(present).fill_null(len(present) < len(values))
        return (~found if expr.op is Operation.NOT_IN else found), "bool"
