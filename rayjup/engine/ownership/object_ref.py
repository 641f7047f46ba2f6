"""ObjectRef: one Python object per object and process, holding all this process knows of it.

Python's own reference counting is the reference counting: a ref keeps its value, its segment
and the refs inside its value alive; when the ref goes, they go. The process that created the
ref is its *owner*; in every other process the ref carries a :class:`Borrow`, whose end is
reported to the owner. Owner-side bookkeeping of borrowers is in :mod:`.exports`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from rayjup.base import serialization
from rayjup.base.exceptions import ObjectLostError, RaySystemError
from rayjup.base.ids import JobID, ObjectID, TaskID, hash_of

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime


class Recovering(Exception):
    """The value was lost and is being made again; whoever asked to be told of it will be."""


PENDING = 0  # the other kinds are PLAIN … ERROR of lane.messages
ERROR = 4  # lane.messages.ERROR

_runtime: Runtime | None = None


def set_runtime(runtime: Runtime | None) -> None:
    """Tell refs which runtime of this process to use (None: not connected)."""
    global _runtime
    _runtime = runtime


class ObjectRef:
    """A reference to a value that a task, an actor method or ``put`` makes.

    Obtained from ``f.remote()``, ``actor.method.remote()`` or :func:`rayjup.put`; resolved by
    :func:`rayjup.get` or ``await``. Mirrors ``ray.ObjectRef``.
    """

    __slots__ = ("__weakref__", "_data", "_id", "_inner", "_kind", "_owner", "_scope", "_task", "_waiters")

    def __init__(self, id: bytes) -> None:
        self._id = id
        self._kind = PENDING
        self._data: Any = None
        self._inner: Any = None  # refs contained in the value
        self._owner: str | None = None  # address of the owner; None: this process
        self._scope: Any = None  # what must end with this ref (a Borrow, an actor's scope)
        self._task: Any = None  # the task that makes the value, for cancel and lineage
        self._waiters: list[Callable[[ObjectRef], object]] | None = None

    @classmethod
    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    # -- identity

    def binary(self) -> bytes:
        """The 28 bytes of the id."""
        return self._id

    def hex(self) -> str:
        """The id in hexadecimal (56 characters)."""
        return self._id.hex()

    def is_nil(self) -> bool:
        """True for the id of nothing."""
        return self._id == b"\xff" * 28

    @classmethod
    def size(cls) -> int:
        """Length of an id in bytes."""
        return 28

    @classmethod
    def from_binary(cls, id: bytes) -> ObjectRef:
        """The ref with these 28 bytes.

        Only its identity is known, not who owns the object: where this process has no ref to it,
        reading it raises ObjectLostError. To pass a ref on, pickle it.
        """
        checked = ObjectID(id).binary()
        known = _runtime.exports.known(checked) if _runtime is not None else None
        if known is not None:
            return known
        ref = cls(checked)
        text = (
            f"ObjectRef({ref.hex()}) was made from an id alone, which does not say who owns the object. "
            "Pass refs as arguments, inside other objects, or pickled."
        )
        ref._kind, ref._data = ERROR, ObjectLostError.from_text(text, ref.hex())
        return ref

    @classmethod
    def from_hex(cls, id_: str | bytes) -> ObjectRef:
        """:meth:`from_binary` from 56 hexadecimal digits."""
        return cls.from_binary(ObjectID.from_hex(id_).binary())

    @classmethod
    def from_random(cls) -> ObjectRef:
        """A ref to no object, with a new id."""
        return cls.from_binary(os.urandom(24) + b"\0\0\0\0")

    @classmethod
    def nil(cls) -> ObjectRef:
        """The ref to nothing."""
        return cls(b"\xff" * 28)

    def redis_shard_hash(self) -> int:
        """A number of 64 bits made from the id, the same in every process."""
        return hash_of(self._id)

    def task_id(self) -> TaskID:
        """Id of the task that makes this object."""
        return TaskID(self._id[:24])

    def job_id(self) -> JobID:
        """Id of the job this object belongs to."""
        return JobID(self._id[12:16])

    def owner_address(self) -> str:
        """Where the owner listens; empty when this process is the owner."""
        return self._owner or ""

    def call_site(self) -> str:
        """Where the object was created, as ``name`` of its task (empty for ``put``)."""
        return getattr(self._task, "name", "") or ""

    def tensor_transport(self) -> str | None:
        """Name of the transport for which tensors inside stay with their actor; None: the object store."""
        return _runtime.transport_of(self) if _runtime is not None else None

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ObjectRef) and self._id == other._id)

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __reduce__(self) -> Any:
        found = serialization.local.found
        if found is None:  # pickled by hand: nobody will tell us when the copy is gone
            return _needs_runtime("pickle an ObjectRef").exports.pin_for_ever(self)
        found.append(self)
        return serialization.ref_at, (len(found) - 1,)

    # -- waiting

    def add_waiter(self, waiter: Callable[[ObjectRef], object]) -> bool:
        """Call ``waiter(self)`` once the value is there; False (and no call) if it already is."""
        return _needs_runtime("wait for an ObjectRef").add_waiter(self, waiter)

    def failed(self) -> bool:
        """Whether the value is there and is an error (reading it raises)."""
        return self._kind == ERROR

    def future(self) -> concurrent.futures.Future[Any]:
        """A ``concurrent.futures.Future`` of the value."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def finish(ref: ObjectRef) -> None:
            try:
                value = _needs_runtime("get an ObjectRef").value_of(ref, then=finish)
            except Recovering:
                pass
            except BaseException as error:  # noqa: BLE001 - the future carries it to whoever asks
                future.set_exception(error.with_traceback(None))  # that refers to this frame
            else:
                future.set_result(value)

        if not self.add_waiter(finish):
            finish(self)
        return future

    def as_future(self, _internal: bool = False) -> asyncio.Future[Any]:
        """An asyncio future of the value, on the running loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def finish() -> None:
            if future.done():
                return
            try:
                future.set_result(_needs_runtime("get an ObjectRef").value_of(self, then=notify))
            except Recovering:
                pass
            except BaseException as error:  # noqa: BLE001 - the future carries it to whoever awaits
                future.set_exception(error.with_traceback(None))

        def notify(ref: ObjectRef) -> None:
            try:
                loop.call_soon_threadsafe(finish)
            except RuntimeError:
                pass  # the loop has ended: nobody awaits any more

        runtime = _needs_runtime("await an ObjectRef")
        if not self.add_waiter(notify):
            finish()
        else:
            runtime.flush()
        return future

    def __await__(self) -> Generator[Any, None, Any]:
        return self.as_future().__await__()


def _needs_runtime(action: str) -> Runtime:
    if _runtime is None:
        raise RaySystemError(f"cannot {action}: rayjup is not connected. Call rayjup.init() first.")
    return _runtime


def restore(id: bytes, owner: str) -> ObjectRef:
    """Unpickle a ref that was pickled by hand."""
    return _needs_runtime("restore an ObjectRef").exports.adopt(id, owner)
