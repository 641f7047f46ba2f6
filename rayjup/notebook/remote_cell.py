"""Code of a notebook cell as it runs in a task or actor (the executor's side of ``%%ray_remote``).

Nothing here imports IPython: executors don't have it loaded, and needn't.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from rayjup.core.sources import show_sources

_RESULT = "__rayjup_result__"


@dataclass(slots=True)
class CellCode:
    """A cell's code: its text padded so that line numbers are those of the cell.

    ``others``: lines of functions from other cells that it uses.
    """

    source: str
    filename: str
    others: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.compile()  # a syntax error is the author's, and is best seen before anything is sent

    def compile(self) -> Any:
        """A code object; the value of a last expression is stored in the namespace."""
        tree = ast.parse(self.source, self.filename)
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = tree.body[-1]
            target = ast.Name(_RESULT, ast.Store())
            stored = ast.Assign(targets=[target], value=last.value)
            tree.body[-1] = ast.fix_missing_locations(ast.copy_location(stored, last))
        return compile(tree, self.filename, "exec")

    def show_lines(self) -> None:
        """Let tracebacks and ``inspect`` find the lines, which are in no file."""
        show_sources({**self.others, self.filename: self.source.splitlines(keepends=True)})

    def run(self, namespace: dict[str, Any]) -> Any:
        """Run in ``namespace``; the value of the last expression."""
        self.show_lines()
        namespace.pop(_RESULT, None)
        exec(self.compile(), namespace)
        return namespace.pop(_RESULT, None)


@dataclass(slots=True)
class CellTask:
    """A cell with the notebook's variables it uses; called in a task."""

    code: CellCode
    variables: dict[str, Any]
    out: list[str]

    def __call__(self) -> tuple[Any, dict[str, Any]]:
        """The value of the last expression and the variables to bring back."""
        namespace = fresh(self.variables)
        value = self.code.run(namespace)
        return value, brought_back(namespace, self.out, self.code.filename)


@dataclass(slots=True)
class ItemTask:
    """A cell as the body of a loop; called in a task, once per item."""

    code: CellCode
    variables: dict[str, Any]
    item: str
    out: list[str]
    compiled: Any = field(default=None, repr=False)

    def __reduce__(self) -> Any:
        return ItemTask, (self.code, self.variables, self.item, self.out)

    def __call__(self, value: Any) -> Any:
        """The variables asked for, otherwise the value of the last expression."""
        if self.compiled is None:
            self.code.show_lines()
            self.compiled = self.code.compile()
        namespace = fresh(self.variables)
        namespace[self.item] = value
        exec(self.compiled, namespace)
        if not self.out:
            return namespace.get(_RESULT)
        found = brought_back(namespace, self.out, self.code.filename)
        return found[self.out[0]] if len(self.out) == 1 else tuple(found[name] for name in self.out)


class CellActor:
    """Runs cells in one namespace that stays: variables set by one cell are there in the next."""

    def __init__(self) -> None:
        self._namespace = fresh({})
        self._sent: set[str] = set()

    def run(self, code: CellCode, variables: dict[str, Any], out: list[str]) -> Any:
        """As a `CellTask`; besides, the names that belong to the actor now."""
        # What cells of this actor have set stays; what the notebook sent is renewed.
        for name, value in variables.items():
            if name in self._sent or name not in self._namespace:
                self._namespace[name] = value
                self._sent.add(name)
        before = {name: self._namespace[name] for name in self._sent}
        try:
            value = code.run(self._namespace)
        finally:
            for name, sent in before.items():
                if self._namespace.get(name, None) is not sent:
                    self._sent.discard(name)
        return value, brought_back(self._namespace, out, code.filename), self.names()

    def names(self) -> list[str]:
        """The variables that belong to the actor."""
        return sorted(set(self._namespace) - self._sent - {"__name__", "__builtins__"})


def fresh(variables: dict[str, Any]) -> dict[str, Any]:
    """A namespace for code of a cell. What it defines is pickled by value, as in ``__main__``."""
    return {"__name__": "__main__", **variables}


def brought_back(namespace: dict[str, Any], names: list[str], filename: str) -> dict[str, Any]:
    """The variables of these names."""
    missing = [name for name in names if name not in namespace]
    if missing:
        raise NameError(
            f"{filename} did not set {', '.join(missing)}, which --out asks for: assign it in the cell, or "
            "leave it out of --out"
        )
    return {name: namespace[name] for name in names}
