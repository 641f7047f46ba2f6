"""Completion of the magics' arguments: their options, and values where those can be known."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

Values = Callable[["InteractiveShell"], Iterable[str]]


def install(shell: InteractiveShell, magics: Iterable[str]) -> None:
    """Have ``shell`` complete the arguments of these magics (names without per cent signs)."""
    for name in magics:
        for mark in ("%%", "%", ""):
            shell.set_hook("complete_command", _complete, str_key=f"{mark}{name}")


def remove(shell: InteractiveShell, magics: Iterable[str]) -> None:
    """Undo `install`."""
    table = shell.strdispatchers.get("complete_command")
    for name in magics:
        for mark in ("%%", "%", ""):
            if table is not None:
                table.strs.pop(f"{mark}{name}", None)


def _complete(shell: InteractiveShell, event: Any) -> list[str]:
    """What may come at the end of the line before the cursor."""
    words = re.split(r"\s+", event.text_until_cursor.lstrip())
    name, last = words[0].lstrip("%"), words[-1]
    magic = _magic(shell, name)
    if magic is None or len(words) < 2:
        return []
    actions = magic.parser._actions
    before = words[-2] if len(words) > 2 else ""
    for action in actions:
        if before in action.option_strings and not isinstance(action, argparse._StoreTrueAction):
            return _matching(_values(shell, action), last)
    if last.startswith("-"):
        options = [o for action in actions for o in action.option_strings if o.startswith("--")]
        return _matching(options, last)
    positional = [action for action in actions if not action.option_strings]
    return _matching([v for action in positional for v in _values(shell, action)], last)


def _magic(shell: InteractiveShell, name: str) -> Any:
    for kind in ("line", "cell"):
        magic = shell.magics_manager.magics[kind].get(name)
        if hasattr(magic, "parser"):
            return magic
    return None


def _matching(values: Iterable[str], start: str) -> list[str]:
    # The completer matches names in a list of variables by what follows the last comma.
    head, comma, tail = start.rpartition(",")
    return sorted({f"{head}{comma}{value}" for value in values if value.startswith(tail)})


def _values(shell: InteractiveShell, action: Any) -> Iterable[str]:
    if action.choices:
        return [str(choice) for choice in action.choices]
    values = _SOURCES.get(action.dest)
    return values(shell) if values is not None else ()


def _clusters(_: InteractiveShell) -> list[str]:
    from rayjup.cluster import descriptors

    return [descriptor.name for descriptor in descriptors.list_clusters()]


def _profiles(_: InteractiveShell) -> list[str]:
    from rayjup.notebook import profiles

    try:
        return list(profiles.load_all())
    except ValueError:
        return []  # the magic itself says what is wrong with the file


def _variables(shell: InteractiveShell) -> list[str]:
    hidden = shell.user_ns_hidden
    return [name for name in shell.user_ns if not name.startswith("_") and name not in hidden]


def _kept(_: InteractiveShell) -> list[str]:
    from rayjup.notebook import keeping

    return keeping.names()


def _logs(_: InteractiveShell) -> list[str]:
    from rayjup.notebook import logs_files

    return logs_files.names()


_SOURCES: dict[str, Values] = {
    "address": _clusters,
    "name": _clusters,
    "profile": _profiles,
    "out": _variables,
    "into": _variables,
    "resources": _variables,
    "runtime_env": _variables,
    "ref": _variables,
    "kept": _kept,
    "whose": _logs,
}
"""Where the values of an option come from, by its name."""
