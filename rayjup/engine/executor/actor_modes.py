"""How an actor takes its calls: one at a time, on threads, or as coroutines.

One at a time is the executor's own loop. With ``max_concurrency`` above one, calls run on a pool
of threads. A class with a coroutine method runs them all on one event loop in the main thread,
which watches the lane's sockets itself. Concurrency groups have threads or event loops of their
own each; the main thread only hands out calls then.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import ActorDiedError, TaskCancelledError
from rayjup.base.exceptions import ActorDiedErrorContext as Death
from rayjup.engine.executor import streams
from rayjup.engine.executor.guest import OWN_LOOP, watch_lane
from rayjup.engine.executor.loop import LaneSelector
from rayjup.engine.executor.running import Running, current
from rayjup.engine.lane import messages as m
from rayjup.engine.lane.peer import Message, Peer
from rayjup.engine.runtime.tasks import ASK

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
    asynchronous = executor.asynchronous = is_async(class_)
    if spec.get("groups"):
        lane = Loop if asynchronous else Threads
        return ThreadedMode(executor, lane, limit or (1000 if asynchronous else 1), spec).run
    if asynchronous:
        own_loop = getattr(class_, OWN_LOOP, None)
        if own_loop is not None:
            return GuestMode(executor, limit or 1000, own_loop()).run
        return AsyncMode(executor, limit or 1000).run
    if limit and limit > 1:
        return ThreadedMode(executor, Threads, limit, spec).run
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
    """Cancel a call that is not in the executor's own queue and loop, if it is not finished.

    Coroutines are cancelled. Threads can't be: such a call may ask whether it is cancelled, and its
    result is dropped.
    """
    running = executor.coroutines.get((peer, seq))
    if running is not None:
        executor._cancelled.add((peer, seq))
        running.get_loop().call_soon_threadsafe(running.cancel)
    elif executor.threaded is not None and (peer, seq) in executor.threaded.unfinished:
        executor._cancelled.add((peer, seq))


def cancelled_anyway(executor: Executor, peer: Peer, seq: int) -> TaskCancelledError | None:
    """The answer of a call that was cancelled while it ran, whatever it returned."""
    if (peer, seq) not in executor._cancelled:
        return None
    executor._cancelled.discard((peer, seq))
    return TaskCancelledError(error_message="the call was cancelled while it ran")


class ThreadedMode:
    """Calls run on threads or event loops beside the main thread, which goes on reading.

    Parameters
    ----------
    kind
        What calls run on, :class:`Threads` or :class:`Loop`; each concurrency group has its own.
    limit
        How many calls outside of the groups run at once.
    """

    def __init__(
        self, executor: Executor, kind: type[Threads] | type[Loop], limit: int, spec: dict[str, Any]
    ) -> None:
        self.executor = executor
        self.unfinished: set[tuple[Peer, int]] = set()
        self.default = kind(self, "default", limit)
        groups = spec.get("groups") or {}
        self.groups = {name: kind(self, name, size) for name, size in groups.items()}
        methods = spec["meta"]["methods"].items() if groups else ()
        self.group_of = {name: entry.get("concurrency_group") for name, entry in methods}
        executor.threaded = self

    def run(self) -> None:
        """Hand calls out until the actor ends."""
        executor = self.executor
        executor.runtime.tasks.parent = -1
        executor.runtime.tasks.cell = ASK
        waiting = executor.queue
        default = self.default
        groups = self.groups
        while executor.exit_code is None:
            executor.settle()
            executor.runtime.reactor.lead(executor._has_work)
            while waiting:
                peer, message = waiting.popleft()
                self.unfinished.add((peer, message[1]))
                lane = default
                if groups:
                    name = (message[5] or {}).get("concurrency_group") or self.group_of.get(message[2])
                    lane = groups.get(name, default)
                lane.put(peer, message)


class Threads:
    """Runs calls on up to ``limit`` threads, in the order in which they come."""

    def __init__(self, mode: ThreadedMode, name: str, limit: int) -> None:
        self.mode = mode
        self.executor = mode.executor
        self.name = name
        self.limit = limit
        self.calls: queue.SimpleQueue[tuple[Peer, Message] | None] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.open = 0  # calls handed over and not answered: as many threads as that are needed
        self.lock = threading.Lock()

    def put(self, peer: Peer, message: Message) -> None:
        """Have a call run; only the main thread calls this."""
        with self.lock:
            self.open += 1
        self.calls.put((peer, message))
        if self.open > len(self.threads) and len(self.threads) < self.limit:
            name = f"rayjup-actor-{self.name}"
            thread = threading.Thread(target=self._run_calls, name=name, daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run_calls(self) -> None:
        while True:
            item = self.calls.get()
            if item is not None:
                self._one(*item)
                del item
                with self.lock:
                    self.open -= 1

    def _one(self, peer: Peer, message: Message) -> None:
        executor = self.executor
        _, seq, target, payload, count, options = message
        started = time.perf_counter()
        executor.events.active[peer, seq] = (message, started)
        answer = executor.reply_later(peer, message, started)
        current.set(Running(peer, seq, executor.name_of(target), options))
        fresh: list[Any] = []
        try:
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
        self.mode.unfinished.discard((peer, seq))
        if executor._cancelled:
            problem = cancelled_anyway(executor, peer, seq) or problem
        if fresh:
            _hold(executor, fresh, peer)
        answer(value, problem)
        executor.events.active.pop((peer, seq), None)
        del value, problem  # its traceback refers to this frame, and so to the arguments
        if self.calls.empty() or len(peer.outbox) >= _BATCH:
            peer.flush()
        else:  # the next call's answer may come with it; a tick sees to it if that takes long
            executor.runtime.tasks.dirty_peers.add(peer)
            executor.runtime.tasks.wake_background()
        if executor.exit_code is not None:
            executor.runtime.reactor.kick()


class _Coroutines:
    """Runs calls as coroutines on a loop, at most ``limit`` at a time, in the order in which they come."""

    def __init__(
        self,
        executor: Executor,
        limit: int,
        calls: deque[tuple[Peer, Message]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.executor = executor
        self.limit = limit
        self.calls = calls
        self.active = 0
        self.loop = loop
        self.unflushed: set[Peer] = set()

    def _start_calls(self) -> None:
        calls = self.calls
        while calls and self.active < self.limit:
            peer, message = calls.popleft()
            self.active += 1
            task = self.loop.create_task(self._one(peer, message))
            self.executor.coroutines[(peer, message[1])] = task

    async def _one(self, peer: Peer, message: Message) -> None:
        executor = self.executor
        _, seq, target, payload, count, options = message
        started = time.perf_counter()  # read by Events, too
        answer = executor.reply_later(peer, message, started)
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
        executor.coroutines.pop((peer, seq), None)
        if executor._cancelled:
            problem = cancelled_anyway(executor, peer, seq) or problem
        if fresh:
            _hold(executor, fresh, peer)
        answer(value, problem)
        del value, problem  # its traceback refers to this frame, and so to the arguments
        self.active -= 1
        self._answered(peer)
        if self.calls:
            self._start_calls()
        if executor.exit_code is not None:
            self._end()

    def _answered(self, peer: Peer) -> None:
        """See to it that the answer which ``peer`` is to get will be sent."""
        self.unflushed.add(peer)

    def _flush(self) -> None:
        peers, self.unflushed = self.unflushed, set()
        for peer in peers:
            peer.flush()

    def _end(self) -> None:
        """The actor is to end."""


class AsyncMode(_Coroutines):
    """Calls run as coroutines on one loop in the main thread, which waits in the lane's reactor itself."""

    def __init__(self, executor: Executor, limit: int) -> None:
        selector = LaneSelector(executor.runtime.reactor, self._before_wait, self._after_wait)
        super().__init__(executor, limit, executor.queue, asyncio.SelectorEventLoop(selector))
        asyncio.set_event_loop(self.loop)

    def run(self) -> None:
        """Run the event loop until the actor ends."""
        reactor = self.executor.runtime.reactor
        self.executor.runtime.tasks.parent = -1
        self.executor.runtime.tasks.cell = ASK
        with reactor.leading():
            self.loop.run_forever()
            self._flush()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    def _before_wait(self, may_sleep: bool) -> bool:
        if self.unflushed:
            self._flush()
        if may_sleep:
            self.executor.settle()
        # Calls that were here before the loop, or were read by one that waits in `get`.
        return bool(self.executor.queue and self.active < self.limit) or self.executor.exit_code is not None

    def _after_wait(self) -> None:
        if self.executor.queue:
            self._start_calls()
        if self.executor.exit_code is not None:
            self.loop.stop()

    def _end(self) -> None:
        self.loop.stop()


class GuestMode(_Coroutines):
    """Calls run as coroutines on a loop of the class's own choice (see :mod:`.guest`)."""

    def __init__(self, executor: Executor, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(executor, limit, executor.queue, loop)
        asyncio.set_event_loop(loop)
        self._settling = False

    def run(self) -> None:
        """Run the event loop until the actor ends."""
        runtime = self.executor.runtime
        runtime.tasks.parent = -1
        runtime.tasks.cell = ASK
        with runtime.reactor.leading(), watch_lane(self.loop, runtime, self._on_lane, self._settle_soon):
            self.loop.run_forever()
            self._flush()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    def _on_lane(self) -> None:
        self.executor.runtime.reactor.poll(0)
        if self.executor.queue:
            self._start_calls()
        self._settle_soon()

    def _settle_soon(self) -> None:
        # Once per turn of the loop: what the calls of a turn have to say travels together.
        if not self._settling:
            self._settling = True
            self.loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._settling = False
        self._flush()
        self.executor.settle()
        if self.executor.queue:  # read while something waited in `get`
            self._start_calls()
        if self.executor.exit_code is not None:
            self.loop.stop()

    def _answered(self, peer: Peer) -> None:
        self.unflushed.add(peer)
        self._settle_soon()

    def _end(self) -> None:
        self.loop.stop()


class Loop(_Coroutines):
    """Runs the calls of a concurrency group as coroutines, on a loop and thread of its own.

    A method that blocks its loop holds up its own group only.
    """

    def __init__(self, mode: ThreadedMode, name: str, limit: int) -> None:
        super().__init__(mode.executor, limit, deque(), asyncio.new_event_loop())
        self.mode = mode
        thread = threading.Thread(target=self._run, name=f"rayjup-actor-{name}", daemon=True)
        thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def put(self, peer: Peer, message: Message) -> None:
        """Have a call run."""
        self.calls.append((peer, message))
        self.loop.call_soon_threadsafe(self._start_calls)

    async def _one(self, peer: Peer, message: Message) -> None:
        # Until here it was among the waiting ones, from here on it is found as a coroutine.
        self.mode.unfinished.discard((peer, message[1]))
        await super()._one(peer, message)

    def _answered(self, peer: Peer) -> None:
        if not self.unflushed:
            self.loop.call_soon(self._flush)
        self.unflushed.add(peer)

    def _end(self) -> None:
        self._flush()
        self.executor.runtime.reactor.kick()


def _hold(executor: Executor, fresh: list[Any], peer: Peer) -> None:
    """Register borrowed refs of a call, ahead of its reply on the same connection."""
    held = executor.runtime.exports.register_held(fresh, peer)
    if held:
        peer.outbox.append((m.BORROW, [(id, 1, "") for id in held]))
