"""Tensors that stay with the process which made them, on its device, until somebody else needs them.

The value of such an object travels as any other; the memory of its tensors is an object of its own that
never leaves its owner: the actor that returned it. There the tensors are used as they are. Another
process that unpickles the value asks the owner for them, and gets a copy through shared memory,
made once and kept as long as the object. They are freed when no ref to the value is left.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rayjup.base import serialization, tensors
from rayjup.base.exceptions import RayError
from rayjup.base.serialization import Packed, pack, pack_tensors_apart
from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.object_ref import ObjectRef

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_NAMES = list(tensors.TRANSPORTS)
_MARK = 0xC0  # last byte of the id of such an object; the first of its index says which transport
_POLL_S = 0.01


class Kept:
    """The value of a ref of kind DEVICE: storages where they are, and later their copy for others."""

    __slots__ = ("__weakref__", "_lock", "host", "storages")

    def __init__(self, storages: list[Any]) -> None:
        self.storages = storages
        self.host: tuple[int, Any] | None = None  # kind and data of the copy
        self._lock = threading.Lock()

    def copy_out(self, runtime: Runtime) -> None:
        """Make the copy for other processes, if there is none yet."""
        with self._lock:
            if self.host is None:
                self.host = runtime.store_packed(pack(self.storages))


_living: weakref.WeakSet[Kept] = weakref.WeakSet()


def pack_apart(runtime: Runtime, value: Any, transport: str | None) -> Packed:
    """Pickle a value; with a ``transport``, the memory of its tensors stays here, owned by one more ref."""
    if transport is None:
        return pack(value)
    packed = pack_tensors_apart(value, transport)
    if packed.kept:
        ref = ObjectRef(runtime.new_ref().binary()[:24] + bytes((_NAMES.index(transport), 0, 0, _MARK)))
        ref._data = Kept(packed.kept)
        ref._kind = m.DEVICE
        _living.add(ref._data)
        packed.refs.append(ref)
    return packed


def transport_in(refs: Sequence[ObjectRef] | None) -> str | None:
    """The transport of a value that holds ``refs``."""
    if not refs:
        return None
    index = refs[-1].binary()[24:]
    return _NAMES[index[0]] if index[3] == _MARK else None


def storages_of(runtime: Runtime, ref: ObjectRef) -> Sequence[Any]:
    """The storages behind a ref: themselves where it is ours, else a copy."""
    if ref._kind == m.DEVICE:
        kept: Kept = ref._data
        return kept.storages
    return runtime.get(ref)  # type: ignore[no-any-return]


def when_copied(runtime: Runtime, kept: Kept, then: Callable[[BaseException | None], None]) -> None:
    """Call ``then`` once the copy for others is there: at once, or from a thread that makes it."""
    if kept.host is not None:
        then(None)
        return

    def run() -> None:
        error = None
        try:
            kept.copy_out(runtime)
        except (RayError, RuntimeError, OSError) as problem:  # no room, or the device's own errors
            error = problem
        if not runtime.closed:
            then(error)

    threading.Thread(target=run, name="rayjup-copy-out", daemon=True).start()


def wait_freed(tensor: Any, timeout: float | None) -> None:
    """Wait until no object of this process holds the memory of ``tensor``."""
    address = tensor.untyped_storage().data_ptr()
    deadline = None if timeout is None else time.monotonic() + timeout
    while any(storage.data_ptr() == address for kept in list(_living) for storage in kept.storages):
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(
                f"after {timeout} s there are still refs to the object in which this tensor of shape "
                f"{tuple(tensor.shape)} lies: drop them, or wait longer."
            )
        time.sleep(_POLL_S)


def connect(runtime: Runtime) -> None:
    """Have values of this process find what was kept of them."""
    serialization.kept_by = lambda ref: storages_of(runtime, ref)
