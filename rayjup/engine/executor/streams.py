"""The executor's side of generator calls: items are sent as they are yielded."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import TaskCancelledError
from rayjup.engine.executor.results import as_task_error, encode_one
from rayjup.engine.lane import messages as m

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor
    from rayjup.engine.lane.peer import Peer

_BATCH_S = 0.0005


class _Sender:
    """Sends the items of one call, and waits when the consumer is too far behind."""

    def __init__(
        self, executor: Executor, peer: Peer, seq: int, options: dict[str, Any] | None, name: str
    ) -> None:
        self.executor = executor
        self.peer = peer
        self.seq = seq
        self.name = name
        self.limit = (options or {}).get("backpressure") or 0
        self.count = 0
        self._flushed = 0.0

    def send(self, item: Any) -> None:
        status, value = encode_one(self.executor.runtime, item, self.peer)
        self._post(status, value)

    def fail(self, error: BaseException) -> None:
        runtime = self.executor.runtime
        error = as_task_error(error, self.name)
        self.executor.events.failed(self.peer.prefix, self.seq, error)
        self._post(m.ERROR, runtime.pack_error(error, self.peer))

    def _post(self, status: int, value: Any) -> None:
        peer = self.peer
        peer.outbox.append((m.ITEM, self.seq, self.count, status, value))
        self.count += 1
        now = time.perf_counter()
        if now - self._flushed > _BATCH_S:
            self._flushed = now
            peer.flush()
        else:  # goes with the next one, or a tick from now
            self.executor.runtime.tasks.dirty_peers.add(peer)
            self.executor.runtime.tasks.wake_background()

    @property
    def must_wait(self) -> bool:
        taken = self.executor.consumed.get((self.peer, self.seq), 0)
        return bool(self.limit) and self.count - taken >= self.limit

    def wait(self) -> None:
        if self.must_wait:
            self.peer.flush()
            self.executor.runtime.reactor.lead(lambda: not self.must_wait or self.peer.closed)

    def end(self) -> int:
        self.executor.consumed.pop((self.peer, self.seq), None)
        return self.count


def _not_a_generator(name: str, value: Any) -> TypeError:
    return TypeError(
        f"{name}() was called with num_returns='streaming' or 'dynamic', but returned "
        f"{type(value).__name__}, which is no generator. Yield the items, or leave out num_returns."
    )


def send_items(
    executor: Executor, peer: Peer, seq: int, value: Any, options: dict[str, Any] | None, name: str
) -> int:
    """Run a generator to its end and send what it yields; how many items there were.

    What it raises is its last item, as in Ray.
    """
    if not hasattr(value, "__next__"):
        raise _not_a_generator(name, value)
    sender = _Sender(executor, peer, seq, options, name)
    try:
        for item in value:
            sender.send(item)
            sender.wait()
    except BaseException as error:  # noqa: BLE001 - whatever the generator raises is its last item
        sender.fail(_readable(error))
    return sender.end()


async def send_items_async(
    executor: Executor, peer: Peer, seq: int, value: Any, options: dict[str, Any] | None, name: str
) -> int:
    """As :func:`send_items`, for an async generator (or a plain one in an async actor)."""
    if not hasattr(value, "__anext__"):
        return send_items(executor, peer, seq, value, options, name)
    sender = _Sender(executor, peer, seq, options, name)
    try:
        async for item in value:
            sender.send(item)
            while sender.must_wait and not peer.closed:
                peer.flush()
                await asyncio.sleep(0.001)
    except BaseException as error:  # noqa: BLE001 - whatever the generator raises is its last item
        sender.fail(_readable(error))
    return sender.end()


def _readable(error: BaseException) -> BaseException:
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError":
        return TaskCancelledError(error_message="the generator was cancelled while it ran")
    return error
