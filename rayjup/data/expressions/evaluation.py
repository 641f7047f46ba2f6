"""Expressions evaluated on Arrow tables.

``project(exprs, table)`` gives a table with one column per expression, ``mask(expr, table)`` the rows
for which an expression is true. What depends on the task (random numbers, ids) is kept in an
``EvaluationContext`` that lives as long as the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.expressions import generated
from rayjup.data.expressions.nodes import (
    AliasExpr,
    BinaryExpr,
    ColumnExpr,
    DownloadExpr,
    Expr,
    LiteralExpr,
    MonotonicallyIncreasingIdExpr,
    Operation,
    PyArrowComputeUDFExpr,
    RandomExpr,
    StarExpr,
    UDFExpr,
    UnaryExpr,
    UnnestExpr,
    UUIDExpr,
)
from rayjup.data.expressions.projection import expand_projection_exprs, expand_star_exprs
from rayjup.data.expressions.udf import checked_result

EvaluationContext = generated.EvaluationContext

_ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


def evaluate(expr: Expr, table: pa.Table, context: EvaluationContext | None = None) -> Any:
    """The value of an expression: an array (of one or more chunks), or a scalar.

    Parameters
    ----------
    expr
        The expression.
    table
        The rows.
    context
        State of the task; a new one by default.
    """
    return _value(expr, table, context or EvaluationContext())


def column(
    expr: Expr, table: pa.Table, context: EvaluationContext | None = None
) -> pa.Array | pa.ChunkedArray:
    """The value of an expression as a column with one value per row."""
    context = context or EvaluationContext()
    try:
        value = _value(expr, table, context)
    except _ARROW_ERRORS as error:
        raise _located(error, expr, table) from error
    return pa.repeat(value, table.num_rows) if isinstance(value, pa.Scalar) else value


def mask(expr: Expr, table: pa.Table, context: EvaluationContext | None = None) -> pa.Array | pa.ChunkedArray:
    """Whether the expression is true, row by row; made for ``table.filter``, which drops nulls, too."""
    result = column(expr, table, context)
    if pa.types.is_null(result.type):
        return pa.repeat(pa.scalar(False), table.num_rows)
    if not pa.types.is_boolean(result.type):
        raise TypeError(
            f"A filter keeps rows for which an expression is true; {expr!r} is of type {result.type}. "
            "Compare it with something."
        )
    return result


def project(exprs: Sequence[Expr], table: pa.Table, context: EvaluationContext | None = None) -> pa.Table:
    """A table with one column per expression.

    Parameters
    ----------
    exprs
        Named expressions; ``star()`` stands for all columns of the input, and an expression of the same
        name after it replaces the column where it stands.
    table
        The rows.
    context
        State of the task.
    """
    context = context or EvaluationContext()
    expanded = expand_star_exprs(expand_projection_exprs(list(exprs), table.schema), table.schema)
    # A function that several columns are made of (unnest) is called once per block.
    context.results = {}
    names: dict[str, int] = {}
    columns: list[Any] = []
    for position, expr in enumerate(expanded):
        if expr.name is None:
            raise ValueError(
                f"Expression {position} of the projection, {expr!r}, has no name. "
                "Give it one with .alias(...)."
            )
        value = column(expr, table, context)
        if expr.name in names:
            columns[names[expr.name]] = value
        else:
            names[expr.name] = len(columns)
            columns.append(value)
    context.results = None
    if not columns:
        return table.select([])
    return pa.table(columns, names=list(names))


def _located(error: Exception, expr: Expr, table: pa.Table) -> Exception:
    """The error with the expression, the columns and the first row at which it happens."""
    reads = sorted(expr.required_columns() or table.column_names)
    types = ", ".join(
        f"{name}: {table.schema.field(name).type}" for name in reads if name in table.column_names
    )
    row = _first_bad_row(expr, table)
    where = "" if row is None else f" at row {row} of the block"
    return type(error)(f"{error}{where}. Expression {expr!r}, columns {types or 'none'}")


def _first_bad_row(expr: Expr, table: pa.Table) -> int | None:
    user_code = any(isinstance(n, UDFExpr) and not isinstance(n, PyArrowComputeUDFExpr) for n in expr.walk())
    if user_code or not expr.is_idempotent() or table.num_rows < 2:
        return None

    def fails(rows: pa.Table) -> bool:
        try:
            _value(expr, rows, EvaluationContext())
        except _ARROW_ERRORS:
            return True
        return False

    if fails(table.slice(0, 0)):
        return None  # a matter of types, not of rows
    good, bad = 0, table.num_rows  # the first `good` rows work, the first `bad` do not
    while bad - good > 1:
        middle = (good + bad) // 2
        if fails(table.slice(0, middle)):
            bad = middle
        else:
            good = middle
    return bad - 1


def _value(expr: Expr, table: pa.Table, context: EvaluationContext) -> Any:
    return _EVALUATORS[type(expr)](expr, table, context)


def _column(expr: ColumnExpr, table: pa.Table, context: EvaluationContext) -> Any:
    if expr._name not in table.column_names:
        known = ", ".join(map(repr, table.column_names)) or "none"
        raise KeyError(f"There is no column {expr._name!r}; the columns are {known}.")
    return table.column(expr._name)


def _literal(expr: LiteralExpr, table: pa.Table, context: EvaluationContext) -> pa.Scalar:
    return expr.value if isinstance(expr.value, pa.Scalar) else pa.scalar(expr.value)


def _alias(expr: AliasExpr, table: pa.Table, context: EvaluationContext) -> Any:
    return _value(expr.expr, table, context)


def _star(expr: Expr, table: pa.Table, context: EvaluationContext) -> Any:
    raise TypeError(
        f"{expr!r} stands for several columns and has no value of its own: give it to with_columns, "
        "not to another expression."
    )


def _unary(expr: UnaryExpr, table: pa.Table, context: EvaluationContext) -> Any:
    value = _value(expr.operand, table, context)
    if expr.op is Operation.NOT:
        return pc.invert(value)
    return pc.is_null(value) if expr.op is Operation.IS_NULL else pc.is_valid(value)


def _binary(expr: BinaryExpr, table: pa.Table, context: EvaluationContext) -> Any:
    left = _value(expr.left, table, context)
    if expr.op in (Operation.IN, Operation.NOT_IN):
        found = _is_in(left, expr.right, table, context)
        return pc.invert(found) if expr.op is Operation.NOT_IN else found
    right = _value(expr.right, table, context)
    return BINARY[expr.op](left, right)


def _is_in(left: Any, right: Expr, table: pa.Table, context: EvaluationContext) -> Any:
    if isinstance(right, LiteralExpr):
        values = value_set(right.value, left.type)
    else:
        values = _value(right, table, context)
        values = values if not isinstance(values, pa.Scalar) else pa.array([values.as_py()], values.type)
        if isinstance(values, pa.ChunkedArray):
            values = values.unique()
    if pa.types.is_dictionary(left.type):
        left = left.cast(left.type.value_type)
    return pc.is_in(left, value_set=values)


def value_set(values: Any, kind: pa.DataType) -> pa.Array:
    """The values that a column of this type is compared with."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.cast(kind)
    items = (
        list(values)
        if isinstance(values, (list, tuple, set, frozenset)) or hasattr(values, "tolist")
        else [values]
    )
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    try:
        return pa.array(items, type=kind)
    except _ARROW_ERRORS:
        # 1.5 among integers, or text among numbers: such a value is in no such column.
        fitting = []
        for item in items:
            try:
                pa.scalar(item, type=kind)
            except (*_ARROW_ERRORS, TypeError, ValueError, OverflowError):
                continue
            fitting.append(item)
        return pa.array(fitting, type=kind)


def _is_text(value: Any) -> bool:
    kind = value.type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _add(left: Any, right: Any) -> Any:
    if _is_text(left) and _is_text(right):
        return pc.binary_join_element_wise(left, right, pa.scalar("", type=pa.string()))
    return pc.add_checked(left, right)


def _floor_divide(left: Any, right: Any) -> Any:
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        quotient = pc.divide_checked(left, right)
        rest = pc.subtract(left, pc.multiply(quotient, right))
        down = pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(right, 0)))
        return pc.cast(pc.subtract(quotient, pc.cast(down, quotient.type)), pa.float64(), safe=False)
    return pc.floor(pc.divide(left, right))


def _modulo(left: Any, right: Any) -> Any:
    """The rest with the sign of the divisor, as Python has it; a float, as Ray documents it."""
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        # Calculated in integers: floats would be wrong beyond 2**53.
        quotient = pc.divide_checked(left, right)
        rest = pc.subtract(left, pc.multiply(quotient, right))
        other_sign = pc.and_(pc.not_equal(rest, 0), pc.not_equal(pc.less(rest, 0), pc.less(right, 0)))
        return pc.cast(pc.if_else(other_sign, pc.add(rest, right), rest), pa.float64(), safe=False)
    quotient = pc.floor(pc.divide(left, right))
    return pc.subtract(left, pc.multiply(quotient, right))


BINARY: dict[Operation, Callable[[Any, Any], Any]] = {
    Operation.ADD: _add,
    Operation.SUB: pc.subtract_checked,
    Operation.MUL: pc.multiply_checked,
    Operation.DIV: pc.divide,
    Operation.MOD: _modulo,
    Operation.FLOORDIV: _floor_divide,
    Operation.GT: pc.greater,
    Operation.LT: pc.less,
    Operation.GE: pc.greater_equal,
    Operation.LE: pc.less_equal,
    Operation.EQ: pc.equal,
    Operation.NE: pc.not_equal,
    Operation.AND: pc.and_kleene,
    Operation.OR: pc.or_kleene,
}


def _compute(expr: PyArrowComputeUDFExpr, table: pa.Table, context: EvaluationContext) -> Any:
    columns = [_value(arg, table, context) for arg in expr.args]
    return expr.pc_func(*columns, *expr.pc_positional, **expr.pc_kwargs)


def _udf(expr: UDFExpr, table: pa.Table, context: EvaluationContext) -> Any:
    if context.results is not None and id(expr) in context.results:
        return context.results[id(expr)]
    args = [_argument(arg, table, context) for arg in expr.args]
    kwargs = {key: _argument(arg, table, context) for key, arg in expr.kwargs.items()}
    result = checked_result(expr._title(), expr.fn(*args, **kwargs), table.num_rows, expr.data_type)
    if context.results is not None:
        context.results[id(expr)] = result
    return result


def _argument(expr: Expr, table: pa.Table, context: EvaluationContext) -> Any:
    # A plain value is handed to the function as it was written.
    if isinstance(expr, LiteralExpr):
        return expr.value
    return _value(expr, table, context)


_EVALUATORS: dict[type, Callable[[Any, pa.Table, EvaluationContext], Any]] = {
    ColumnExpr: _column,
    LiteralExpr: _literal,
    AliasExpr: _alias,
    StarExpr: _star,
    UnnestExpr: _star,
    UnaryExpr: _unary,
    BinaryExpr: _binary,
    PyArrowComputeUDFExpr: _compute,
    UDFExpr: _udf,
    RandomExpr: generated.random_numbers,
    UUIDExpr: generated.uuids,
    MonotonicallyIncreasingIdExpr: generated.increasing_ids,
    DownloadExpr: generated.downloads,
}
