"""Expressions made of pyarrow's compute functions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.datatype import DataType
from rayjup.data.expressions.nodes import Expr, PyArrowComputeUDFExpr, UDFExpr


def compute(
    expr: Expr, function: Callable[..., Any], *args: Any, returns: DataType | None = None, **kwargs: Any
) -> PyArrowComputeUDFExpr:
    """One of pyarrow's functions, applied to an expression.

    Parameters
    ----------
    expr
        Its first argument.
    function
        From ``pyarrow.compute``.
    *args, **kwargs
        Further arguments, the same for all rows; an expression among ``args`` is computed per row.
    returns
        The type of the result, where it does not depend on the input.
    """
    columns: list[Expr] = [expr]
    positional = args
    if args and isinstance(args[0], Expr):
        columns, positional = [expr, args[0]], args[1:]
    applied = partial(_apply, function, len(columns), tuple(positional), dict(kwargs))
    return PyArrowComputeUDFExpr(
        DataType(object) if returns is None else returns,
        applied,
        columns,
        {},
        function,
        tuple(positional),
        dict(kwargs),
    )


def _apply(
    function: Any, count: int, positional: tuple[Any, ...], keywords: dict[str, Any], *columns: Any
) -> Any:
    return function(*columns, *positional, **keywords)


def kernel(
    expr: Expr, function: Callable[..., Any], *args: Any, returns: DataType | None = None, **kwargs: Any
) -> UDFExpr:
    """A function of rayjup's own over Arrow arrays, applied to an expression; never pushed down.

    ``function(array, *args, **kwargs)`` is given an array of one chunk.
    """
    return UDFExpr(
        DataType(object) if returns is None else returns, Kernel(function, args, kwargs), [expr], {}
    )


class Kernel:
    """A function over one array together with its settings; compares by content."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.__name__ = function.__name__.lstrip("_")

    def __call__(self, column: Any) -> Any:
        if isinstance(column, pa.ChunkedArray):
            column = one_chunk(column)
        return self.function(column, *self.args, **self.kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kernel) and (self.function, self.args, self.kwargs) == (
            other.function,
            other.args,
            other.kwargs,
        )

    def __hash__(self) -> int:
        return hash(self.function)


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], type=column.type)
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def cast(expr: Expr, target: DataType, safe: bool) -> UDFExpr:
    """A conversion to another type."""
    arrow_type = target.to_arrow_dtype()
    return compute(expr, pc.cast, returns=DataType(arrow_type), target_type=arrow_type, safe=safe)
