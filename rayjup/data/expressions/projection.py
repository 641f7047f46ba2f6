"""What a list of expressions comes to: the columns it names, and their types."""

from __future__ import annotations

import pyarrow as pa

from rayjup.data.expressions.nodes import (
    AliasExpr,
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
    UUIDExpr,
    is_rename_expr,
)


def expand_projection_exprs(exprs: list[Expr], input_schema: pa.Schema | None) -> list[Expr]:
    """Replace each ``unnest`` by one expression per field."""
    return [one for expr in exprs for one in expr.expand_projection(input_schema)]


def expand_star_exprs(exprs: list[Expr], input_schema: pa.Schema) -> list[Expr]:
    """Replace ``star()`` by the columns of the input, without those that are renamed.

    A renamed column stays where it was.
    """
    if not any(isinstance(expr, StarExpr) for expr in exprs):
        return list(exprs)
    renames: dict[str, Expr] = {}
    for expr in exprs:
        if is_rename_expr(expr) and isinstance(expr, AliasExpr) and isinstance(expr.expr, ColumnExpr):
            renames[expr.expr._name] = expr
    expanded: list[Expr] = []
    in_place: set[int] = set()
    for expr in exprs:
        if isinstance(expr, StarExpr):
            for name in input_schema.names:
                renamed = renames.get(name)
                expanded.append(ColumnExpr(name) if renamed is None else renamed)
                if renamed is not None:
                    in_place.add(id(renamed))
        elif id(expr) not in in_place:
            expanded.append(expr)
    return expanded


def exprlist_to_fields(exprs: list[Expr], input_schema: pa.Schema) -> list[pa.Field] | None:
    """The columns that a projection makes; ``None`` where a type is not known before it runs."""
    fields: dict[str, pa.Field] = {}
    for expr in expand_star_exprs(expand_projection_exprs(list(exprs), input_schema), input_schema):
        made = expr.to_field(input_schema)
        if made is None:
            return None
        fields[made.name] = made
    return list(fields.values())


def type_of(expr: Expr, schema: pa.Schema) -> pa.DataType | None:
    """The type of an expression over a schema: declared, or found out on a table without rows."""
    if isinstance(expr, StarExpr):
        return None
    if isinstance(expr, ColumnExpr):
        positions = schema.get_all_field_indices(expr._name)
        return schema.field(positions[0]).type if positions else None
    if isinstance(expr, AliasExpr):
        return type_of(expr.expr, schema)
    if isinstance(expr, LiteralExpr):
        return expr.value.type if isinstance(expr.value, pa.Scalar) else _literal_type(expr)
    declared = None if expr.data_type.is_python_type() else expr.data_type.to_arrow_dtype()
    # What a function of pyarrow declares is for plain text; large text gives large text.
    if declared is not None and not isinstance(expr, PyArrowComputeUDFExpr):
        return declared
    if _calls_user_code(expr):
        return declared
    from rayjup.data.expressions.evaluation import evaluate

    try:
        return evaluate(expr, schema.empty_table()).type
    except (KeyError, TypeError, ValueError, pa.ArrowException):
        return declared


def _literal_type(expr: LiteralExpr) -> pa.DataType | None:
    try:
        return pa.scalar(expr.value).type
    except (pa.ArrowException, TypeError, ValueError):
        return None


def _calls_user_code(expr: Expr) -> bool:
    from rayjup.data.expressions.compute import Kernel

    return any(
        isinstance(node, UDFExpr)
        and not isinstance(node, PyArrowComputeUDFExpr)
        and not isinstance(node.fn, Kernel)
        for node in expr.walk()
    )


def nullable(expr: Expr, schema: pa.Schema) -> bool:
    """Whether the result may contain nulls."""
    if isinstance(expr, ColumnExpr):
        positions = schema.get_all_field_indices(expr._name)
        return schema.field(positions[0]).nullable if positions else True
    if isinstance(expr, LiteralExpr):
        return expr.value is None
    if isinstance(expr, UnaryExpr) and expr.op in (Operation.IS_NULL, Operation.IS_NOT_NULL):
        return False
    if isinstance(expr, (RandomExpr, UUIDExpr, MonotonicallyIncreasingIdExpr)):
        return False
    if isinstance(expr, (UDFExpr, DownloadExpr, StarExpr)):
        return True
    return any(nullable(child, schema) for child in expr.children())
