"""Expressions over columns: what ``with_column``, ``filter(expr=...)`` and push-downs are written in.

Map: ``nodes`` (the tree and its operators), ``udf`` (functions of one's own), ``projection`` (what a
list of expressions comes to), ``evaluation`` (on Arrow tables), ``pushdown`` (as pyarrow's expressions),
``in_polars`` (as Polars'), ``parsing`` (from text), ``generated`` (random numbers, UUIDs, ids, downloads).
The namespaces ``.str``, ``.dt``, ``.list``, ``.struct``, ``.map`` and ``.arr`` are in
``rayjup.data.namespace_expressions``.

Examples
--------
>>> from rayjup.data.expressions import col, lit
>>> (col("a") + 1) * 2 > lit(6)
(((col('a') + 1) * 2) > 6)
"""

from __future__ import annotations

from rayjup.data.expressions.evaluation import EvaluationContext, evaluate, mask, project
from rayjup.data.expressions.in_polars import to_polars
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
    col,
    download,
    is_rename_expr,
    lit,
    monotonically_increasing_id,
    random,
    star,
    unnest,
    uuid,
)
from rayjup.data.expressions.parsing import parse
from rayjup.data.expressions.projection import (
    expand_projection_exprs,
    expand_star_exprs,
    exprlist_to_fields,
)
from rayjup.data.expressions.pushdown import pushed_down
from rayjup.data.expressions.udf import pyarrow_udf, udf

__all__ = [
    "AliasExpr",
    "BinaryExpr",
    "ColumnExpr",
    "DownloadExpr",
    "EvaluationContext",
    "Expr",
    "LiteralExpr",
    "MonotonicallyIncreasingIdExpr",
    "Operation",
    "PyArrowComputeUDFExpr",
    "RandomExpr",
    "StarExpr",
    "UDFExpr",
    "UUIDExpr",
    "UnaryExpr",
    "UnnestExpr",
    "col",
    "download",
    "evaluate",
    "expand_projection_exprs",
    "expand_star_exprs",
    "exprlist_to_fields",
    "is_rename_expr",
    "lit",
    "mask",
    "monotonically_increasing_id",
    "parse",
    "project",
    "pushed_down",
    "pyarrow_udf",
    "random",
    "star",
    "to_polars",
    "udf",
    "unnest",
    "uuid",
]
