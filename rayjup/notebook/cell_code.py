"""What a cell refers to: the variables that have to travel with it."""

from __future__ import annotations

import builtins
import symtable
from collections.abc import Iterable, Mapping
from typing import Any

from rayjup.core.sources import sources_of
from rayjup.notebook.remote_cell import CellCode


def cell_code(body: str, first_lines: str, filename: str) -> CellCode:
    """The code of a cell whose magic took ``first_lines`` (kept as comments, for the line numbers).

    Raises
    ------
    SyntaxError
        With the line of the cell in which it is.
    """
    padding = "".join(f"# {line}\n" for line in first_lines.splitlines())
    return CellCode(padding + body, filename)


def names_used(code: CellCode) -> set[str]:
    """Global names that the code reads somewhere, also inside of functions and comprehensions."""
    table = symtable.symtable(code.source, code.filename, "exec")
    found: set[str] = set()
    tables = [table]
    while tables:
        scope = tables.pop()
        tables += scope.get_children()
        for symbol in scope.get_symbols():
            at_top = scope.get_type() == "module"
            if (symbol.is_referenced() and (at_top or symbol.is_global())) or (
                at_top and symbol.is_assigned() and symbol.get_name() in _augmented(code)
            ):
                found.add(symbol.get_name())
    return found


def _augmented(code: CellCode) -> set[str]:
    """Names changed in place (``total += 1``), which are read although they are only assigned."""
    import ast

    tree = ast.parse(code.source)
    return {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
    }


def variables_for(code: CellCode, notebook: Mapping[str, Any], without: Iterable[str] = ()) -> dict[str, Any]:
    """The notebook's variables that ``code`` uses; it takes over the source lines behind them."""
    hidden = {"In", "Out", "_ih", "_oh", "_dh", "get_ipython", "exit", "quit", "open", *without}
    used = names_used(code) - hidden
    known = (name for name in sorted(used) if name in notebook)
    found = {name: notebook[name] for name in known if not _builtin(name, notebook)}
    for value in found.values():
        if callable(value):
            code.others |= sources_of(value)
    return found


def _builtin(name: str, notebook: Mapping[str, Any]) -> bool:
    return getattr(builtins, name, None) is notebook[name]
