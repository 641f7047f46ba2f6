"""How an actor takes its calls: one at a time, on threads, or as coroutines.

One at a time is the executor's own loop. With ``max_concurrency`` above one, calls run on a pool
of threads. A class with a coroutine method runs them all on one event loop in the main thread,
which watches the lane's sockets itself.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import ActorDiedError, TaskCancelledError
from rayjup.base.exceptions import ActorDiedErrorContext as Death
from rayjup.engine.executor import streams
from rayjup.engine.executor.running import Running, current
from rayjup.engine.lane import messages as m
from rayjup.engine.lane.peer import Message, Peer

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor


_BATCH = 32  # answers that are sent without waiting for more


class ActorExit(SystemExit):
    """Raised by ``exit_actor()``: ends the actor on purpose."""


def is_async(class_: type) -> bool:
    """Whether the class has a coroutine method, which makes it an asyncio actor."""
    return any(
        inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        for _, member in inspect.getmembers(class_, inspect.isfunction)
    )


def prepare(executor: Executor, class_: type, spec: dict[str, Any]) -> Callable[[], None] | None:
    """What runs instead of the executor's own loop, if anything."""
    limit = spec.get("max_concurrency")
    if is_async(class_):
        return AsyncMode(executor, limit or 1000).run
    if limit and limit > 1:
        return ThreadedMode(executor, limit).run
    return None


def construct(executor: Executor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Run the constructor."""
    init = type(executor.actor).__init__
    if init is object.__init__ and (args or kwargs):
        raise TypeError(f"{type(executor.actor).__name__}() takes no arguments")
    init(executor.actor, *args, **kwargs)


def method(executor: Executor, name: str) -> Callable[..., Any]:
    """The bound method ``name`` of the actor."""
    special = _SPECIAL.get(name)
    if special is not None:
        return functools.partial(special, executor)
    return getattr(executor.actor, name)  # type: ignore[no-any-return]


def _ray_call(executor: Executor, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(executor.actor, *args, **kwargs)


def _ray_ready(executor: Executor) -> bool:
    return True


def _ray_terminate(executor: Executor) -> None:
    raise ActorExit(0)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "__ray_call__": _ray_call,
    "__ray_ready__": _ray_ready,
    "__ray_terminate__": _ray_terminate,
}


def shown_name(executor: Executor) -> str:
    """The actor's name in logs: its own ``repr`` where the class defines one."""
    spec = executor.actor_spec or {}
    actor = executor.actor
    own_repr: Any = type(actor).__repr__
    if actor is not None and own_repr is not object.__repr__:
        return repr(actor)
    return str(spec.get("class_name", "Actor"))


def died(executor: Executor, reason: str) -> ActorDiedError:
    """The error for callers of an actor that ended on purpose."""
    spec = executor.actor_spec or {}
    return ActorDiedError(
        Death(
            error_message=f"The actor ended: {reason}.",
            class_name=spec.get("class_name", ""),
            actor_id=executor.actor_id.hex(),
            pid=os.getpid(),
            name=spec.get("name") or "",
            ray_namespace=spec.get("namespace") or "",
        )
    )


def cancel(executor: Executor, peer: Peer, seq: int) -> None:
    """Cancel a call that runs as a coroutine (threads can't be interrupted, as in Ray)."""
    running = executor.coroutines.get((peer, seq))
    if running is not None:
        running.cancel()


class ThreadedMode:
    """Calls run on up to ``limit`` threads; the main thread goes on reading."""

    def __init__(self, executor: Executor, limit: int) -> None:
        self.executor = executor
        self.limit = limit
        self.calls: queue.SimpleQueue[tuple[Peer, Message] | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.unfinished = 0  # calls handed over and not answered: as many threads as that are needed
        self.lock = threading.Lock()
        self.waiting: set[tuple[Peer, int]] = set()  # calls that no thread has begun
        executor.threaded = self

    def run(self) -> None:
        """Hand calls to threads until the actor ends."""
        executor = self.executor
        executor.runtime.tasks.parent = -1
        waiting = executor.queue
        while executor.exit_code is None:
            executor.settle()
            executor.runtime.reactor.lead(executor._has_work)
            while waiting:
                peer, message = waiting.popleft()
                self.waiting.add((peer, message[1]))
                with self.lock:
                    self.unfinished += 1
                self.calls.put((peer, message))
                if self.unfinished > len(self.threads) and len(self.threads) < self.limit:
                    thread = threading.Thread(target=self._run_calls, name="rayjup-actor", daemon=True)
                    self.threads.append(thread)
                    thread.start()

    def waits(self, peer: Peer, seq: int) -> bool:
        """Whether a call is here that no thread has begun."""
        return (peer, seq) in self.waiting

    def _run_calls(self) -> None:
        while True:
            item = self.calls.get()
            if item is not None:
                self._one(*item)
                del item
                with self.lock:
                    self.unfinished -= 1

    def _one(self, peer: Peer, message: Message) -> None:
        executor = self.executor
        _, seq, target, payload, count, options = message
        started = time.perf_counter()
        answer = executor.reply_later(peer, message, started)
        current.set(Running(peer, seq, executor.name_of(target), options))
        fresh: list[Any] = []
        try:
            self.waiting.discard((peer, seq))
            if executor._cancelled:
                executor.check_cancelled(peer, seq)
            function = executor.functions.get(target) or executor.function(target)
            value = executor._call(function, payload, fresh)
            if count < 0:
                value = streams.send_items(executor, peer, seq, value, options, executor.name_of(target))
        except BaseException as error:  # noqa: BLE001 - everything a call raises is its answer
            problem: BaseException | None = error
            value = None
        else:
            problem = None
        if fresh:
            _hold(executor, fresh, peer)
        answer(value, problem)
        del value, problem  # its traceback refers to this frame, and so to the arguments
        if self.calls.empty() or len(peer.outbox) >= _BATCH:
            peer.flush()
        else:  # the next call's answer may come with it; a tick sees to it if that takes long
            executor.runtime.tasks.dirty_peers.add(peer)
            executor.runtime.tasks.wake_background()
        if executor.exit_code is not None:
            executor.runtime.reactor.kick()


class AsyncMode:
    """Calls run as coroutines on one loop in the main thread, at most ``limit`` at a time."""

    def __init__(self, executor: Executor, limit: int) -> None:
        self.executor = executor
        self.limit = limit
        self.active = 0
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.unflushed: set[Peer] = set()

    def run(self) -> None:
        """Run the event loop until the actor ends."""
        self.executor.runtime.tasks.parent = -1
        reactor = self.executor.runtime.reactor
        with reactor.leading():
            self.loop.add_reader(reactor.fileno, self._on_events)
            self.loop.call_soon(self._on_events)
            self.loop.run_forever()
            self.loop.remove_reader(reactor.fileno)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    def _on_events(self) -> None:
        executor = self.executor
        executor.runtime.reactor.poll(0)
        self._start_calls()
        executor.settle()
        if executor.exit_code is not None:
            self._flush()
            self.loop.stop()

    def _start_calls(self) -> None:
        queue = self.executor.queue
        while queue and self.active < self.limit:
            peer, message = queue.popleft()
            self.active += 1
            task = self.loop.create_task(self._one(peer, message))
            self.executor.coroutines[(peer, message[1])] = task

    async def _one(self, peer: Peer, message: Message) -> None:
        executor = self.executor
        _, seq, target, payload, count, options = message
        answer = executor.reply_later(peer, message, time.perf_counter())
        current.set(Running(peer, seq, executor.name_of(target), options))
        fresh: list[Any] = []
        try:
            if executor._cancelled:
                executor.check_cancelled(peer, seq)
            function = executor.functions.get(target) or executor.function(target)
            if type(payload) is tuple:
                value = function(*payload)
            else:
                value = executor._call(function, payload, fresh)
            if inspect.isawaitable(value):
                value = await value
            if count < 0:
                value = await streams.send_items_async(
                    executor, peer, seq, value, options, executor.name_of(target)
                )
        except asyncio.CancelledError:
            problem: BaseException | None = TaskCancelledError(
                error_message="the call was cancelled while it ran"
            )
            value = None
        except BaseException as error:  # noqa: BLE001 - everything a call raises is its answer
            problem = error
            value = None
        else:
            problem = None
        if fresh:
            _hold(executor, fresh, peer)
        answer(value, problem)
        del value, problem  # its traceback refers to this frame, and so to the arguments
        executor.coroutines.pop((peer, seq), None)
        self.active -= 1
        if not self.unflushed:
            self.loop.call_soon(self._flush)
        self.unflushed.add(peer)
        if executor.queue:
            self._start_calls()
        if executor.exit_code is not None:
            self.loop.call_soon(self._on_events)

    def _flush(self) -> None:
        peers, self.unflushed = self.unflushed, set()
        for peer in peers:
            peer.flush()


def _hold(executor: Executor, fresh: list[Any], peer: Peer) -> None:
    """Register borrowed refs of a call, ahead of its reply on the same connection."""
    held = executor.runtime.exports.register_held(fresh, peer)
    if held:
        peer.outbox.append((m.BORROW, [(id, 1, "") for id in held]))
