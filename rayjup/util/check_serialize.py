"""What inside an object cannot be pickled (mirrors ``ray.util.check_serialize``)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rayjup.base.serialization import pack

_LINE = "=" * 80


class FailureTuple:
    """Something that cannot be pickled, and where it was found.

    Attributes
    ----------
    obj
        What cannot be pickled.
    path
        Names of the variables that lead to it.
    parent
        What refers to it.
    """

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any) -> None:
        self.obj = obj
        self.path = path
        self.parent = parent

    @property
    def name(self) -> str:
        """The variable's own name."""
        return self.path[-1]

    def __repr__(self) -> str:
        path = " -> ".join(self.path)
        return f"FailTuple({self.name} [path={path}, obj={self.obj!r}, parent={self.parent!r}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: Any = None
) -> tuple[bool, set[FailureTuple]]:
    """Find what in ``base_obj`` cannot be sent to another process, and print it.

    Parameters
    ----------
    base_obj
        A function, a class or any other object.
    name
        How to call it in what is printed.
    depth
        How deep to look.
    print_file
        Where to print; standard output where None.

    Returns
    -------
    bool
        Whether it can be pickled.
    set of FailureTuple
        The innermost things that cannot.

    Examples
    --------
    >>> import io, threading
    >>> from rayjup.util import inspect_serializability
    >>> lock = threading.Lock()
    >>> fine, failures = inspect_serializability({"a": lock}, name="d", print_file=io.StringIO())
    >>> fine, [failure.path for failure in failures]
    (False, [('d', "['a']")])
    """
    name = name or getattr(base_obj, "__qualname__", None) or type(base_obj).__name__
    search = _Search(print_file if print_file is not None else sys.stdout)
    search.say(f"{_LINE}\nChecking whether {name} ({_short(base_obj)}) can be serialized\n{_LINE}")
    failures = search.look(base_obj, (name,), None, depth, 0)
    if failures:
        search.say(f"{_LINE}\nThese cannot be serialized:")
        for failure in failures:
            search.say(f"\n\t{failure!r}")
        search.say(
            "\nDo not capture them: make them inside the function or class that travels, or say how they "
            f"travel with rayjup.util.register_serializer().\n{_LINE}"
        )
    else:
        search.say("It can.")
    return not failures, set(failures)


class _Search:
    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.seen: set[int] = set()

    def say(self, text: str, level: int = 0) -> None:
        self.file.write(f"{'    ' * level}{text}\n")

    def look(
        self, obj: Any, path: tuple[str, ...], parent: Any, depth: int, level: int
    ) -> list[FailureTuple]:
        """The innermost failures in ``obj``; [] when it can be pickled."""
        try:
            pack(obj)
        except Exception as error:  # noqa: BLE001 - whatever pickling raises is what is looked for
            self.say(f"!!! {path[-1]} cannot be serialized: {error}", level)
        else:
            return []
        found: list[FailureTuple] = []
        if depth > 0 and id(obj) not in self.seen:
            self.seen.add(id(obj))
            for name, part in _parts(obj):
                found += self.look(part, (*path, name), obj, depth - 1, level + 1)
        return found or [FailureTuple(obj, path, parent)]


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """What pickling ``obj`` pickles as well, by name."""
    if inspect.ismethod(obj):
        yield "__self__", obj.__self__
        obj = obj.__func__
    if inspect.isfunction(obj):
        try:
            closure = inspect.getclosurevars(obj)
        except ValueError:  # a variable of the closure has no value yet
            return
        yield from closure.nonlocals.items()
        yield from closure.globals.items()
        for index, default in enumerate(obj.__defaults__ or ()):
            yield f"default {index}", default
        yield from (obj.__kwdefaults__ or {}).items()
        return
    if isinstance(obj, dict):
        for key, value in obj.items():
            yield f"[{key!r}]", value
        return
    if isinstance(obj, (list, tuple, set, frozenset)):
        for index, value in enumerate(obj):
            yield f"[{index}]", value
        return
    if isinstance(obj, type):
        for name, member in vars(obj).items():
            if isinstance(member, (staticmethod, classmethod)):
                member = member.__func__
            if not name.startswith("__") or inspect.isfunction(member):
                yield name, member
        return
    yield from getattr(obj, "__dict__", {}).items()
    for kind in type(obj).__mro__:
        for slot in kind.__dict__.get("__slots__", ()):
            if isinstance(slot, str) and hasattr(obj, slot):
                yield slot, getattr(obj, slot)


def _short(obj: Any) -> str:
    text = repr(obj)
    return text if len(text) <= 100 else f"{text[:97]}…"
