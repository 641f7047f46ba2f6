"""What a call made, as the reply that carries it to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import RayError, RayTaskError
from rayjup.base.serialization import is_plain
from rayjup.engine.lane import messages as m
from rayjup.engine.objects.on_device import pack_apart

if TYPE_CHECKING:
    from rayjup.engine.lane.peer import Peer
    from rayjup.engine.runtime.runtime import Runtime


def encode_one(runtime: Runtime, value: Any, caller: Peer, transport: str | None = None) -> tuple[int, Any]:
    """One return value for the wire; large ones become segments that the caller owns.

    With a ``transport`` the memory of tensors stays here, see :mod:`rayjup.engine.objects.on_device`.
    """
    if is_plain(value):
        return m.PLAIN, value
    packed = pack_apart(runtime, value, transport)
    wires = runtime.exports.wire_for(packed.refs, caller) if packed.refs else ()
    if packed.size > m.INLINE_LIMIT:
        segment = runtime.store.write(packed, caller.worker_id.hex())
        return m.SHM, (runtime.store.forget(segment), wires)
    if wires or packed.buffers:
        return m.BLOB, (packed.data, wires, [bytes(b) for b in packed.buffers])
    return m.BLOB, packed.data


def encode_result(
    runtime: Runtime, value: Any, count: int, caller: Peer, name: str, options: dict[str, Any] | None = None
) -> tuple[int, Any]:
    """What a call of ``count`` returns made."""
    if count == 1:
        return encode_one(runtime, value, caller, options.get("transport") if options else None)
    if count == 0:
        return m.MANY, []
    if not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        value = list(value) if hasattr(value, "__next__") else value
    try:
        values = list(value)
    except TypeError:
        values = []
        got = f"one object of type {type(value).__name__}"
    else:
        got = f"{len(values)} values"
    if len(values) != count:
        raise ValueError(
            f"{name}() was called with num_returns={count} but returned {got}. "
            "Return as many values as num_returns says, in a tuple or list."
        )
    return m.MANY, [encode_one(runtime, item, caller) for item in values]


def as_task_error(error: BaseException, name: str, actor: Any = None) -> BaseException:
    """What a call raised, as its caller sees it: with its traceback, unless it is ours already."""
    if isinstance(error, RayTaskError) or not isinstance(error, RayError):
        return RayTaskError.from_exception(error, name, **(actor or {}))
    return error
