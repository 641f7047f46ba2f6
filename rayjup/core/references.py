"""What a function or class of the main program refers to, as far as it travels with it.

Code of ``__main__`` is pickled by value, with the global variables it reads and with the functions and
classes among them, and so on. This walks the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_MOST = 50  # functions and classes looked at


def functions_of(root: Any) -> Iterator[FunctionType]:
    """The functions that travel with ``root``, itself or its methods included."""
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        one = plain(waiting.pop())
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType):
            yield one
            waiting += [value for _, value in _direct(one) if travels(value)]
        elif isinstance(one, type):
            for value in vars(one).values():
                inner = getattr(value, "__func__", getattr(value, "fget", value))
                if travels(inner):
                    waiting.append(inner)
            waiting += [base for base in one.__bases__ if travels(base)]


def variables_of(root: Any) -> dict[str, Any]:
    """The variables that travel with ``root``, by name; functions and classes that do are among them."""
    found: dict[str, Any] = {}
    for function in functions_of(root):
        for name, value in _direct(function):
            if not isinstance(value, ModuleType):
                found.setdefault(name, value)
    return found


def global_variables_of(root: Any) -> list[tuple[dict[str, Any], str]]:
    """The global variables among them, as the dictionary they are in and their name."""
    found = []
    for function in functions_of(root):
        if function.__module__ != "__main__":
            continue
        space = function.__globals__
        found += [(space, name) for name in sorted(_names(function.__code__)) if name in space]
    return found


def travels(value: Any) -> bool:
    """Whether it is a function or class that is pickled by value, or a remote one made of that."""
    inner = plain(value)
    return isinstance(inner, (FunctionType, type)) and inner.__module__ == "__main__"


def plain(value: Any) -> Any:
    """The function or class in a remote function, actor class or bound method."""
    kind = type(value)
    if kind.__module__ == "rayjup.core.remote_function" and kind.__name__ == "RemoteFunction":
        return value._function
    if kind.__module__ == "rayjup.core.actor" and kind.__name__ == "ActorClass":
        return value._class
    return getattr(value, "__func__", value) if kind.__name__ == "method" else value


def _direct(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that the function itself reads: globals and variables around it."""
    space = function.__globals__
    # Code of modules is sent by name, and finds its globals there.
    if function.__module__ == "__main__":
        for name in sorted(_names(function.__code__)):
            if name in space:
                yield name, space[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a variable that is not set yet
            continue


def _names(code: CodeType) -> set[str]:
    """Names of globals (and attributes) in the code and in functions inside of it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
