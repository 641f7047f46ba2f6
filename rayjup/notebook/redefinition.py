"""Definitions that change between two cells: what was sent is sent anew, old objects are explained.

A remote function is pickled when it is called first, with the variables and helpers it uses. A script's
don't change after that; those of a notebook do, and "I edited it and nothing changed" is the trap. So
after every cell, functions and classes that refer to something that means something else by now are marked
to be sent again with their next call. Changes inside of an object (``data.append(1)``) are not noticed.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_NO_ATTRIBUTE = re.compile(r"'(\w+)' object has no attribute '(\w+)'")
_NOT_THE_SAME = re.compile(r"not the same object as __main__\.(\w+)")


class Watch:
    """Looks at what a cell has changed, when it has ended."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        shell.events.register("post_run_cell", self._after_cell)

    def close(self) -> None:
        """Look no longer."""
        self._shell.events.unregister("post_run_cell", self._after_cell)

    def _after_cell(self, result: Any) -> None:
        captured = sys.modules.get("rayjup.core.captured")  # nothing was sent when it isn't loaded
        if captured is None:
            return
        captured.forget_changed()
        error = result.error_in_exec
        text = hint(error, self._shell.user_ns) if error is not None else ""
        if text:
            sys.stderr.write(f"{text}\n")


def hint(error: BaseException, variables: dict[str, Any]) -> str:
    """A sentence on an object of an earlier definition of its class; empty for any other error."""
    error = getattr(error, "cause", None) or error
    text = str(error)
    match = _NO_ATTRIBUTE.search(text)
    if isinstance(error, AttributeError) and match is not None:
        name, attribute = match.groups()
        class_ = _class(variables.get(name))
        if class_ is None or not hasattr(class_, attribute):
            return ""
        made = "actor was made from" if "the actor has the methods" in text else "object was made by"
        return (
            f"Hint: the class {name} of this notebook has {attribute!r}; this {made} an earlier definition "
            f"of {name}, from before its cell ran again. Make it anew."
        )
    match = _NOT_THE_SAME.search(text)
    if match is not None:
        return (
            f"Hint: the class {match[1]} was defined again since this object was made. Make it anew, or "
            "pickle it with cloudpickle, as tasks and actors do."
        )
    return ""


def _class(value: Any) -> type | None:
    """The class in a class or an actor class of the notebook."""
    value = getattr(value, "_class", value)
    return value if isinstance(value, type) and value.__module__ == "__main__" else None


_watch: Watch | None = None


def install(shell: InteractiveShell) -> None:
    """Watch the cells of ``shell``."""
    global _watch
    if _watch is None:
        _watch = Watch(shell)


def remove(shell: InteractiveShell) -> None:
    """Undo `install`."""
    global _watch
    if _watch is not None:
        _watch.close()
        _watch = None
