"""Expressions written as text: ``filter(expr="age >= 18 and city in ['Ulm', 'Bonn']")``."""

from __future__ import annotations

import ast
from typing import Any

import pyarrow.compute as pc

from rayjup.data.expressions.compute import compute
from rayjup.data.expressions.nodes import Expr, col, lit

_BINARY = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.Pow: lambda a, b: a.power(b),
}
_COMPARE = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}
_FUNCTIONS = {
    "col": None,  # takes a name, see below
    "is_null": lambda a: a.is_null(),
    "is_valid": lambda a: a.is_not_null(),
    "is_not_null": lambda a: a.is_not_null(),
    "is_nan": lambda a: compute(a, pc.is_nan),
    "abs": lambda a: a.abs(),
    "round": lambda a: a.round(),
    "floor": lambda a: a.floor(),
    "ceil": lambda a: a.ceil(),
    "lower": lambda a: a.str.lower(),
    "upper": lambda a: a.str.upper(),
    "len": lambda a: a.str.len(),
}


def parse(text: str) -> Expr:
    """The expression that a text describes.

    Names are columns (``col('two words')`` where a name is no identifier); operators are those of Python,
    with ``and``, ``or``, ``not``, ``in``, ``is None``; methods of expressions may be called.

    Parameters
    ----------
    text
        The text.

    Examples
    --------
    >>> from rayjup.data.expressions import parse
    >>> parse("age >= 18 and name is not None")
    ((col('age') >= 18) & col('name').is_not_null())
    """
    if not isinstance(text, str):
        raise TypeError(f"An expression as text is a string, not {text!r}.")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ValueError(
            f"The expression {text!r} cannot be read: {error.msg} at character {error.offset}."
        ) from None
    made = _Reader(text).read(tree.body)
    return made if isinstance(made, Expr) else lit(made)


class _Reader:
    """Turns the syntax tree of one text into an expression; plain values stay plain."""

    def __init__(self, text: str) -> None:
        self.text = text

    def wrong(self, node: ast.AST, why: str) -> ValueError:
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        return ValueError(f"The expression {self.text!r} cannot be used: {part!r} {why}.")

    def expr(self, node: ast.AST) -> Expr:
        made = self.read(node)
        return made if isinstance(made, Expr) else lit(made)

    def read(self, node: ast.AST) -> Any:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise self.wrong(node, f"is a {type(node).__name__}, which expressions do not know")
        return method(node)

    def _name(self, node: ast.Name) -> Expr:
        return col(node.id)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _list(self, node: ast.List | ast.Tuple | ast.Set) -> list[Any]:
        values = [self.read(item) for item in node.elts]
        if any(isinstance(value, Expr) for value in values):
            raise self.wrong(node, "is a list with columns in it; lists hold plain values")
        return values

    _tuple = _set = _list

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        operand = self.read(node.operand)
        if isinstance(node.op, ast.USub):
            return -operand
        if isinstance(node.op, ast.UAdd):
            return operand
        return ~(operand if isinstance(operand, Expr) else lit(operand))

    def _binop(self, node: ast.BinOp) -> Any:
        function = _BINARY.get(type(node.op))
        if function is None:
            raise self.wrong(node, "has an operator that expressions do not know")
        left, right = self.read(node.left), self.read(node.right)
        if not isinstance(left, Expr) and not isinstance(right, Expr):
            left = lit(left)
        if isinstance(node.op, ast.Pow) and not isinstance(left, Expr):
            left = lit(left)
        return function(left, right)

    def _boolop(self, node: ast.BoolOp) -> Expr:
        out = self.expr(node.values[0])
        for value in node.values[1:]:
            other = self.expr(value)
            out = out & other if isinstance(node.op, ast.And) else out | other
        return out

    def _compare(self, node: ast.Compare) -> Expr:
        parts: list[Expr] = []
        left = self.expr(node.left)
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.read(right_node)
            parts.append(self._one(node, operator, left, right))
            left = right if isinstance(right, Expr) else lit(right)
        out = parts[0]
        for part in parts[1:]:
            out = out & part
        return out

    def _one(self, node: ast.Compare, operator: ast.cmpop, left: Expr, right: Any) -> Expr:
        if isinstance(operator, (ast.In, ast.NotIn)):
            return left.is_in(right) if isinstance(operator, ast.In) else left.not_in(right)
        if isinstance(operator, (ast.Is, ast.IsNot)):
            if right is not None:
                raise self.wrong(node, "compares with `is`, which is for None only; write ==")
            return left.is_null() if isinstance(operator, ast.Is) else left.is_not_null()
        return _COMPARE[type(operator)](left, right)

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self.read(node.value)
        if node.attr.startswith("_") or not hasattr(owner, node.attr):
            raise self.wrong(node, f"has no {node.attr!r}")
        return getattr(owner, node.attr)

    def _subscript(self, node: ast.Subscript) -> Any:
        key = self.read(node.slice)
        owner = self.expr(node.value)
        return owner.struct[key] if isinstance(key, str) else owner.list[key]

    def _call(self, node: ast.Call) -> Any:
        args = [self.read(arg) for arg in node.args]
        kwargs = {str(arg.arg): self.read(arg.value) for arg in node.keywords}
        if isinstance(node.func, ast.Name):
            name = node.func.id
            if name == "col" and len(args) == 1 and isinstance(args[0], str):
                return col(args[0])
            function = _FUNCTIONS.get(name)
            if function is None or len(args) != 1 or kwargs:
                known = ", ".join(sorted(_FUNCTIONS))
                raise self.wrong(node, f"calls a function that expressions do not know; they know {known}")
            return function(args[0] if isinstance(args[0], Expr) else lit(args[0]))
        if not isinstance(node.func, ast.Attribute):
            raise self.wrong(node, "calls something that is no function")
        return self._attribute(node.func)(*args, **kwargs)
