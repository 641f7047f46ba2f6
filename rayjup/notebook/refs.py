"""What can be said of an ObjectRef without waiting for it or keeping it alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import messages as m
from rayjup.engine.objects.store import Segment

if TYPE_CHECKING:
    from rayjup.engine.ownership.object_ref import ObjectRef


@dataclass(frozen=True, slots=True)
class RefFacts:
    """A ref at one moment. ``size`` is in bytes; None while it is not known."""

    id: str
    state: str  # pending | running | ready | failed | elsewhere
    where: str
    size: int | None = None
    kind: str = ""
    task: str = ""
    error: str = ""


def facts(ref: ObjectRef) -> RefFacts:
    """What this process knows of ``ref``; asks nobody.

    Examples
    --------
    >>> import rayjup as ray
    >>> facts(ray.put(b"1234")).state
    'ready'
    """
    kind, data = ref._kind, ref._data
    task = ref.call_site()
    owner = "another process" if ref._owner is not None else "this process"
    if kind == m.ERROR:
        return RefFacts(ref.hex(), "failed", owner, None, type(data).__name__, task, _first_line(data))
    if kind == m.PLAIN:
        return RefFacts(ref.hex(), "ready", owner, _plain_size(data), type(data).__name__, task)
    if kind == m.BLOB:
        size: int | None = len(data) if type(data) is bytes else len(data[0]) + sum(len(b) for b in data[1])
        return RefFacts(ref.hex(), "ready", owner, size, "", task)
    if kind == m.SHM:
        descriptor = data.descriptor if isinstance(data, Segment) else data
        size = descriptor[1] if descriptor is not None else None
        return RefFacts(ref.hex(), "ready", "shared memory of this node", size, "", task)
    if ref._owner is not None:
        return RefFacts(ref.hex(), "elsewhere", owner, task=task)
    running = getattr(ref._task, "lease", None) is not None
    return RefFacts(ref.hex(), "running" if running else "pending", owner, task=task)


def _plain_size(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 8


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0]}" if text else type(cause).__name__
