"""Columns chosen, renamed, computed; rows filtered by an expression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.data.logical.base import NOTHING, Op, Remote


@dataclass(frozen=True, eq=False)
class Columns(Op):
    """Base class of what only touches columns."""

    @property
    def keeps_rows(self) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Select(Columns):
    """Some columns, in order; ``names`` are pairs (old, new)."""

    names: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return f"Select[{', '.join(o if o == n else f'{o} as {n}' for o, n in self.names)}]"


@dataclass(frozen=True, eq=False)
class Drop(Columns):
    """Without some columns."""

    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"Drop[{', '.join(self.names)}]"


@dataclass(frozen=True, eq=False)
class Rename(Columns):
    """Other names: a mapping as pairs, or a complete list (``every``)."""

    names: tuple[tuple[str, str], ...] = ()
    every: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return f"Rename[{', '.join(self.every or (f'{o} as {n}' for o, n in self.names))}]"


@dataclass(frozen=True, eq=False)
class WithColumns(Columns):
    """Columns computed by expressions, added or replaced: pairs (name, expression)."""

    exprs: tuple[tuple[str, Any], ...]
    compute: Any = None
    remote: Remote = NOTHING

    @property
    def name(self) -> str:
        return f"WithColumn[{', '.join(n for n, _ in self.exprs)}]"


@dataclass(frozen=True, eq=False)
class FilterExpr(Op):
    """The rows for which an expression is true."""

    expr: Any
    remote: Remote = NOTHING

    @property
    def name(self) -> str:
        return f"Filter[{self.expr}]"
