"""Source lines of code that is in no file (cells of a notebook), for tracebacks in other processes."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_MOST = 50  # functions looked at per function or class that is sent


def sources_of(root: Any) -> dict[str, list[str]]:
    """The lines behind a function or class and the functions it uses, by the name of their source.

    Only of sources that other processes cannot read by themselves.
    """
    found: dict[str, list[str]] = {}
    for code in _codes(root):
        name = code.co_filename
        if name not in found and not os.path.exists(name):
            lines = linecache.getlines(name)
            if lines:
                found[name] = lines
    return found


def show_sources(sources: dict[str, list[str]]) -> None:
    """Let tracebacks, debuggers and ``inspect`` of this process find the lines."""
    for name, lines in sources.items():
        # Without a time of change: an entry that linecache never throws away.
        linecache.cache[name] = (sum(map(len, lines)), None, lines, name)


def _codes(root: Any) -> Iterator[CodeType]:
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        one = waiting.pop()
        # Remote functions and actor classes used inside know what they wrap.
        one = getattr(one, "_function", None) or getattr(one, "_class", None) or one
        one = getattr(one, "__func__", one)
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType):
            yield one.__code__
            used = [one.__globals__.get(name) for name in one.__code__.co_names]
            used += [_contents(cell) for cell in one.__closure__ or ()]
            waiting += [value for value in used if _is_code(value)]
        elif isinstance(one, type):
            for value in vars(one).values():
                inner = getattr(value, "__func__", getattr(value, "fget", value))
                if _is_code(inner):
                    waiting.append(inner)
            waiting += [base for base in one.__bases__ if _is_code(base)]


def _is_code(value: Any) -> bool:
    """Whether it is a function or class of the main program, or something that wraps one."""
    kind = type(value)
    if kind.__module__ == "rayjup.core.remote_function" or kind.__module__ == "rayjup.core.actor":
        return kind.__name__ in ("RemoteFunction", "ActorClass")
    return isinstance(value, (FunctionType, type)) and value.__module__ == "__main__"


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is not set yet
        return None
