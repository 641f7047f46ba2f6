"""Functions and classes as bytes for other processes, with what they captured."""

from __future__ import annotations

import pickle
import warnings
import weakref
from typing import Any

from rayjup.base.serialization import Packed, pack, unpack
from rayjup.core.references import global_variables_of, travels, variables_of
from rayjup.core.session import Session
from rayjup.core.sources import show_sources, sources_of

LARGE = 10_000_000
"""Bytes of captured variables from which on they are reported."""


class _Late:
    """Pickles to the function or class itself, restored with its buffers, refs and source lines."""

    def __init__(self, packed: Packed, sources: dict[str, list[str]]) -> None:
        self.parts = (packed.data, [bytes(b) for b in packed.buffers], list(packed.refs), sources)

    def __reduce__(self) -> Any:
        return _restored, self.parts


def _restored(data: bytes, buffers: list[bytes], refs: list[Any], sources: dict[str, list[str]]) -> Any:
    show_sources(sources)
    return unpack(data, buffers, refs)


def packed_code(code: Any, what: str) -> Packed:
    """The function or class ``code`` serialized, with a report of large variables in it.

    Raises
    ------
    TypeError
        It captured something that cannot be pickled; names the variable.
    """
    try:
        packed = pack(code)
    except Exception as error:  # whatever the pickling of captured values raises
        name = _unpicklable(code)
        culprit = f"the variable {name!r}" if name else "something"
        inside = "__init__" if isinstance(code, type) else "the function"
        raise TypeError(
            f"Could not serialize {what}: {error}. It refers to {culprit} that cannot travel to another "
            f"process (an open file, a lock, a connection): make that inside of {inside}, or pass data; "
            "rayjup.util.inspect_serializability shows what cannot be pickled."
        ) from error
    if packed.size > LARGE:
        _report(code, what, packed.size)
    return packed


def blob_of(packed: Packed, session: Session, code: Any) -> bytes:
    """A packed function or class as one pickle.

    Refs that it captured stay pinned for the session (rule 3 of ownership). ``code`` is what was packed.
    """
    sources = sources_of(code)
    if packed.refs:
        session.extra.setdefault("captured", []).extend(packed.refs)
    elif not packed.buffers and not sources:
        return packed.data
    return pickle.dumps(_Late(packed, sources))


# ---------------------------------------------------------------- what has changed since it was sent

_sent: weakref.WeakKeyDictionary[Any, list[tuple[dict[str, Any], str, Any]]] = weakref.WeakKeyDictionary()


def remember(holder: Any, code: Any) -> None:
    """Note which global variables ``code`` was sent with; ``holder`` (``forget_sent``) keeps the bytes."""
    _sent[holder] = [(space, name, _mark(space[name])) for space, name in global_variables_of(code)]


def forget_changed() -> list[Any]:
    """Have those sent anew whose global variables mean something else by now; returns them.

    Called by the notebook between two cells: a script's definitions don't change.
    """
    changed = []
    for holder, marks in list(_sent.items()):
        if any(_mark(space.get(name)) != mark for space, name, mark in marks):
            del _sent[holder]
            holder.forget_sent()
            changed.append(holder)
    return changed


def _mark(value: Any) -> Any:
    """Something that is equal as long as the variable refers to the same object or an equal scalar."""
    if isinstance(value, (int, float, str, bytes, bool, type(None))):
        return type(value), value
    return id(value)


# ---------------------------------------------------------------- reports


def _report(code: Any, what: str, size: int) -> None:
    variables = [(name, value) for name, value in variables_of(code).items() if not travels(value)]
    sizes = sorted(((_size(value), name) for name, value in variables), reverse=True)
    named = [f"{name} ({_text(n)})" for n, name in sizes[:3] if n > LARGE // 100]
    captured = f": {', '.join(named)}" if named else ""
    first = sizes[0][1] if named else "value"
    warnings.warn(
        f"{what} takes {_text(size)} of captured variables with it{captured}. Every process that runs it "
        "gets a copy of its own. Put what is large into the object store once and pass it as an argument: "
        f"{first}_ref = ray.put({first}).",
        stacklevel=5,
    )


def _size(value: Any) -> int:
    known = getattr(value, "nbytes", None)
    if isinstance(known, int):
        return known
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    try:
        return pack(value).size
    except Exception:  # noqa: BLE001 - only a report: the value itself was packed without an error
        return 0


def _unpicklable(code: Any) -> str | None:
    for name, value in variables_of(code).items():
        try:
            pack(value)
        except Exception:  # noqa: BLE001 - any error says that this is the variable we look for
            if not travels(value):
                return name
    return None


def _text(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
