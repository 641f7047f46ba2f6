"""Expressions as pyarrow's own, which its datasets and file formats evaluate while they read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.expressions.nodes import (
    AliasExpr,
    BinaryExpr,
    ColumnExpr,
    Expr,
    LiteralExpr,
    Operation,
    PyArrowComputeUDFExpr,
    UnaryExpr,
)

_BINARY = {
    Operation.ADD: pc.add_checked,
    Operation.SUB: pc.subtract_checked,
    Operation.MUL: pc.multiply_checked,
    Operation.DIV: pc.divide,
    Operation.GT: pc.greater,
    Operation.LT: pc.less,
    Operation.GE: pc.greater_equal,
    Operation.LE: pc.less_equal,
    Operation.EQ: pc.equal,
    Operation.NE: pc.not_equal,
    Operation.AND: pc.and_kleene,
    Operation.OR: pc.or_kleene,
}


def to_pyarrow(expr: Expr) -> pc.Expression:
    """The expression in pyarrow's form; TypeError where it has none."""
    if isinstance(expr, ColumnExpr):
        return pc.field(expr._name)
    if isinstance(expr, LiteralExpr):
        return pc.scalar(expr.value)
    if isinstance(expr, AliasExpr):
        return to_pyarrow(expr.expr)
    if isinstance(expr, UnaryExpr):
        operand = to_pyarrow(expr.operand)
        if expr.op is Operation.NOT:
            return ~operand
        return operand.is_null() if expr.op is Operation.IS_NULL else operand.is_valid()
    if isinstance(expr, BinaryExpr):
        return _binary(expr)
    if isinstance(expr, PyArrowComputeUDFExpr):
        if expr.pc_func is pc.cast:
            return to_pyarrow(expr.args[0]).cast(**expr.pc_kwargs)
        return expr.pc_func(*(to_pyarrow(arg) for arg in expr.args), *expr.pc_positional, **expr.pc_kwargs)
    raise TypeError(
        f"{expr!r} has no counterpart among pyarrow's expressions: it is evaluated after reading."
    )


def _binary(expr: BinaryExpr) -> pc.Expression:
    left = to_pyarrow(expr.left)
    if expr.op in (Operation.IN, Operation.NOT_IN):
        if not isinstance(expr.right, LiteralExpr):
            raise TypeError(f"{expr!r}: only a list of plain values can be pushed down.")
        values = expr.right.value
        if not isinstance(values, (list, tuple, set, frozenset, pa.Array)):
            values = [values]
        try:
            found = left.isin(values if isinstance(values, pa.Array) else pa.array(list(values)))
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise TypeError(f"{expr!r}: values of several types cannot be pushed down.") from error
        return ~found if expr.op is Operation.NOT_IN else found
    right = to_pyarrow(expr.right)
    if expr.op is Operation.ADD and (_is_text(expr.left) or _is_text(expr.right)):
        return pc.binary_join_element_wise(left, right, pc.scalar(""))
    if expr.op in (Operation.FLOORDIV, Operation.MOD):
        # Calculated in floats, so that negative integers are rounded down and not towards zero.
        left, right = left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False)
        floored = pc.floor(pc.divide(left, right))
        return floored if expr.op is Operation.FLOORDIV else pc.subtract(left, pc.multiply(floored, right))
    return _BINARY[expr.op](left, right)


def _is_text(expr: Expr) -> bool:
    """Whether it is text for certain; the schema is not known here."""
    if isinstance(expr, BinaryExpr) and expr.op is Operation.ADD:
        return _is_text(expr.left) or _is_text(expr.right)
    return expr.data_type.is_string_type()


def pushed_down(expr: Expr, schema: pa.Schema | None = None) -> pc.Expression | None:
    """The expression in pyarrow's form, or ``None``; with the schema it is tried out on no rows."""
    try:
        made = to_pyarrow(expr)
        if schema is not None:
            schema.empty_table().filter(made) if expr.get_type(schema) == pa.bool_() else None
    except (TypeError, pa.ArrowException):
        return None
    return made
