"""Streaming generators: refs of what a remote generator yields, as it yields them."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import StreamingGeneratorReplayInconsistentError
from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

STREAMING = -1
"""``n_returns`` of a call whose items are sent one by one."""
DYNAMIC = -2
"""``n_returns`` of a call whose one value is the list of refs of its items."""


class Stream:
    """The submitter's side of one generator call: items come in order, by index."""

    __slots__ = ("finished", "items", "limit", "lost", "made", "peer", "seq", "taken", "waiters")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.items: list[ObjectRef] = []  # those not taken yet are kept alive here
        self.taken = 0
        self.finished = False
        self.peer: Any = None  # who runs the generator
        self.limit = 0  # the generator waits when so many items are not taken (0: it doesn't)
        self.waiters: list[Any] = []
        self.made: list[weakref.ref[ObjectRef]] = []  # items that can be lost
        self.lost: list[ObjectRef] = []  # those that were, while the generator still runs

    @property
    def ready(self) -> bool:
        """Whether ``next`` would not wait."""
        return self.taken < len(self.items) or self.finished


class Replay(Stream):
    """A generator call that is made again, for items that were lost.

    Parameters
    ----------
    before
        The call as it was made the last time.
    wanted
        Refs of items that are to have their values again.
    """

    __slots__ = ("wanted",)

    def __init__(self, before: Stream, wanted: list[ObjectRef]) -> None:
        super().__init__(before.seq)
        self.limit = before.limit
        self.made = before.made + [weakref.ref(ref) for ref in wanted]
        self.wanted = {_index_of(ref): ref for ref in wanted}


def _index_of(item: ObjectRef) -> int:
    return int.from_bytes(item._id[24:], "little") - 2


class ObjectRefGenerator:
    """The refs of a generator task's or method's items, in order; both an iterator and an async one.

    Returned by ``remote()`` with ``num_returns="streaming"`` (the default for generator
    functions). Iterating waits for the next item; ``rayjup.get`` of the ref gives its value, or
    raises what the generator raised. Mirrors ``ray.ObjectRefGenerator``.
    """

    def __init__(self, runtime: Runtime, stream: Stream, end: ObjectRef) -> None:
        self._runtime = runtime
        self._stream = stream
        self._end = end

    # What wait() looks at.
    @property
    def _kind(self) -> int:
        return m.PLAIN if self._stream.ready else PENDING

    _owner = None

    def __iter__(self) -> Iterator[ObjectRef]:
        return self

    def __next__(self) -> ObjectRef:
        return self._next(None)

    def _next(self, timeout_s: float | None) -> ObjectRef:
        stream = self._stream
        if not stream.ready:
            deadline = None if timeout_s is None or timeout_s < 0 else time.monotonic() + timeout_s
            if not self._runtime.wait_until(lambda: stream.ready, deadline):
                return ObjectRef.nil()
        return self._take()

    def _next_sync(self, timeout_s: float | None = None) -> ObjectRef:
        """The next ref; the nil ref when it was not there in time."""
        return self._next(timeout_s)

    def _take(self) -> ObjectRef:
        stream = self._stream
        if stream.taken >= len(stream.items):
            raise StopIteration
        ref = stream.items[stream.taken]
        stream.items[stream.taken] = None  # type: ignore[call-overload]
        stream.taken += 1
        if stream.limit and stream.peer is not None:
            stream.peer.send((m.CONSUMED, stream.seq, stream.taken))
        return ref

    def __aiter__(self) -> AsyncIterator[ObjectRef]:
        return self

    async def __anext__(self) -> ObjectRef:
        stream = self._stream
        while not stream.ready:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            stream.waiters.append(
                lambda loop=loop, future=future: loop.call_soon_threadsafe(
                    lambda: future.done() or future.set_result(None)
                )
            )
            self._runtime.tasks.wake_background()
            if not stream.ready:
                await future
        try:
            return self._take()
        except StopIteration:
            raise StopAsyncIteration from None

    def completed(self) -> ObjectRef:
        """A ref that is resolved when the generator has ended (it raises what the call raised)."""
        return self._end

    def next_ready(self) -> bool:
        """Whether ``next`` would not wait."""
        return self._stream.ready

    def is_finished(self) -> bool:
        """Whether all items have been taken and the generator has ended."""
        return self._stream.finished and self._stream.taken >= len(self._stream.items)

    def task_id(self) -> Any:
        """Id of the task that runs the generator."""
        return self._end.task_id()

    def send(self, value: Any) -> None:
        """Not possible: the generator runs elsewhere and takes nothing."""
        raise TypeError("a remote generator takes nothing: use an actor to talk to a running computation")

    def throw(self, *args: Any) -> None:
        """Not possible: see :meth:`send`. ``rayjup.cancel`` ends the generator."""
        raise TypeError("a remote generator takes no exceptions: rayjup.cancel(generator) ends it")

    def close(self) -> None:
        """End the generator: it is cancelled and no more items come."""
        self._runtime.tasks.cancel(self._end, False, True)

    async def asend(self, value: Any) -> None:
        """Not possible: see :meth:`send`."""
        self.send(value)

    async def athrow(self, *args: Any) -> None:
        """Not possible: see :meth:`throw`."""
        self.throw(*args)

    async def aclose(self) -> None:
        """See :meth:`close`."""
        self.close()

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._end.hex()})"

    def __reduce__(self) -> Any:
        raise TypeError(
            "an ObjectRefGenerator cannot be passed to another process: pass the refs it yields, or "
            "call the generator there."
        )


class DynamicObjectRefGenerator:
    """The value of a call with ``num_returns="dynamic"``: iterable over the refs of its items."""

    def __init__(self, refs: Iterable[ObjectRef]) -> None:
        self._refs = list(refs)

    def __iter__(self) -> Iterator[ObjectRef]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, index: int) -> ObjectRef:
        return self._refs[index]


def _fewer(task: Any, ref: ObjectRef) -> StreamingGeneratorReplayInconsistentError:
    return StreamingGeneratorReplayInconsistentError(
        f"{task.name}() was run again because item {_index_of(ref)} was lost, and yielded fewer items than "
        "before. A generator whose items can be made again has to yield the same ones every time."
    )


class Streams:
    """All generator calls that this process has submitted."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def on_item(self, peer: Any, task: Any, index: int, status: int, value: Any) -> None:
        """An item has come (again, if the call was retried: those known already are passed over)."""
        stream: Stream = task.stream
        stream.peer = peer
        if type(stream) is Replay:
            if stream.limit:
                peer.send((m.CONSUMED, stream.seq, index + 1))
            again = stream.wanted.pop(index, None)
            self.runtime.complete_wire(again or ObjectRef(b""), status, value, writer=peer)
            return
        if index < len(stream.items):
            return
        ref = ObjectRef(task.refs[0]._id[:24] + (index + 2).to_bytes(4, "little"))
        if status == m.SHM and task.retries:
            ref._task = task
            stream.made.append(weakref.ref(ref))
        self.runtime.complete_wire(ref, status, value, writer=peer)
        stream.items.append(ref)
        self._wake(stream)

    def finish(self, task: Any, error: BaseException | None = None) -> None:
        """The generator has ended; with ``error``, before it could say so itself."""
        stream: Stream = task.stream
        if type(stream) is Replay:
            for ref in stream.wanted.values():
                self.runtime.complete(ref, m.ERROR, error or _fewer(task, ref), None)
        elif error is not None:
            ref = ObjectRef(self.runtime.new_ref()._id)
            self.runtime.complete(ref, m.ERROR, error, None)
            stream.items.append(ref)
        stream.finished = True
        self._wake(stream)
        lost, stream.lost = stream.lost, []
        for ref in lost:
            if error is not None:
                self.runtime.complete(ref, m.ERROR, error, None)
            else:
                self.runtime.lineage.recover(ref, new=True)

    def _wake(self, stream: Stream) -> None:
        waiters, stream.waiters = stream.waiters, []
        for waiter in waiters:
            waiter()
        if self.runtime.reactor._waiters:
            self.runtime.reactor.kick()
