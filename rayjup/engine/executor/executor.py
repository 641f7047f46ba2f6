"""The loop of an executor: take a call, run it, answer.

The main thread reads the sockets while it has nothing to run, so a call needs no hand-over. While
a call runs for long, the background thread reads instead: it sends answers that are waiting,
gives back calls that were queued behind the long one, and cancels.
"""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rayjup.base.exceptions import RaySystemError, TaskCancelledError
from rayjup.base.serialization import is_plain
from rayjup.engine.executor import actor_modes, logs, postmortem, retiring, streams, threads
from rayjup.engine.executor.events import HANDED_AT_END, Events
from rayjup.engine.executor.results import as_task_error, encode_one, encode_result
from rayjup.engine.executor.running import Running, current
from rayjup.engine.lane import messages as m
from rayjup.engine.lane.peer import Message, Peer
from rayjup.engine.runtime.arguments import DependencyLost, decode, decode_for_creation
from rayjup.engine.runtime.runtime import Runtime

_LONG_S = 0.003  # a call that runs this long is no reason to keep others waiting behind it
_BATCH_S = 0.001  # answers are gathered at most this long while calls go on


executor: Executor | None = None
"""The executor of this process, if it is one."""


class Executor:
    """Runs calls sent to this process, one at a time, as tasks or as the methods of an actor."""

    def __init__(self, agent_path: str, job_id: bytes, job: dict[str, Any], token: int) -> None:
        global executor
        executor = self
        self.job = job
        self.environment = ""  # key of the runtime environment
        self.queue: deque[tuple[Peer, Message]] = deque()
        self.functions: dict[Any, Any] = {}
        self.names: dict[Any, str] = {}
        self.lease: dict[str, Any] = {}
        self.actor: Any = None
        self.actor_spec: dict[str, Any] | None = None
        self.actor_id = b""
        self.running: tuple[Peer, Message] | None = None
        self.started = 0.0
        self._decoded = 0.0  # when the arguments of the running call were there
        self.exit_code: int | None = None
        self._interruptible = 0  # seq of the call that a signal may interrupt
        self._cancelled: set[tuple[Peer, int]] = set()  # callers number their calls each for itself
        self._cancel_children: set[int] = set()
        self._main = threading.get_ident()
        self._replied: Peer | None = None  # has answers that are not flushed yet
        self._last_flush = 0.0
        self.limits: dict[Any, int] = {}  # functions after so many calls of which the process ends
        self.errand: Callable[[], None] | None = None  # what the main thread is to do before its next call
        self.home: tuple[bytes, bool] | None = None  # the placement group of the actor
        self.coroutines: dict[Any, Any] = {}
        self.threaded: actor_modes.ThreadedMode | None = None
        self.asynchronous = False  # runs the calls of an actor as coroutines
        self.consumed: dict[tuple[Peer, int], int] = {}  # items taken, of generators that wait for that
        self.runtime = Runtime("executor", agent_path, job_id, {"token": token})
        self.events = Events(self)
        self._remember = self.events.finished.append
        self.runtime.reports.events = self.events
        self.runtime.tasks.log.caller = self._caller_id
        self.runtime.tasks.cell_of_caller = self.cell
        self.runtime.on_calls = self.on_calls
        self.runtime.block_hook = self
        self.runtime.tick_hook = self.on_tick
        self.runtime.link.on["lease"] = self._on_lease
        self.runtime.link.on["create"] = self._on_create
        self.runtime.link.on["exit"] = self._on_exit
        self.runtime.link.on["send_lines"] = self._on_send_lines
        self.runtime.link.on_lost = lambda: os._exit(1)
        signal.signal(signal.SIGUSR1, self.runtime.reactor.shielded(self._on_signal))
        self.lines: logs.LineBuffer
        logs.install(self)

    # -- the loop

    def run(self) -> int:
        """Run calls until told to end; the exit code."""
        runtime = self.runtime
        runtime.reactor.start_background()
        runtime.link.hear_early()
        queue = self.queue
        reactor = runtime.reactor
        while self.exit_code is None:
            if self.errand is not None:
                errand, self.errand = self.errand, None
                errand()
                continue
            if not queue:
                self.settle()
                reactor.lead(self._has_work)
                if reactor._parked:
                    reactor.unpark()
                continue
            try:
                peer, message = queue.popleft()
            except IndexError:
                continue  # given back by the background thread
            self.execute(peer, message)
        self.settle()
        self.events.hand_over(HANDED_AT_END)
        runtime.close()
        return self.exit_code

    def _has_work(self) -> bool:
        return bool(self.queue) or self.exit_code is not None or self.errand is not None

    def settle(self) -> None:
        """Before going idle: send what is still to be said."""
        self.send_lines()  # ahead of the answers, after which a driver may end
        if self._replied is not None:
            self._replied.flush()
            self._replied = None
        runtime = self.runtime
        runtime.flush()
        if runtime.exports.ended:
            runtime.exports.release_ended()
        if runtime.actors.ended:
            runtime.actors.end_unreferenced()
        if runtime.link.peer.outbox:
            runtime.link.peer.flush()

    def send_lines(self) -> None:
        """Send to the driver what calls have printed."""
        chunks = self.lines.take()
        if chunks:
            self.runtime.link.send(("log", chunks))

    def _on_send_lines(self, number: int) -> None:
        self.send_lines()
        self.runtime.link.send(("lines_sent", number))

    def execute(self, peer: Peer, message: Message) -> None:
        """Run one call in this thread and answer it."""
        _, seq, target, payload, count, options = message
        self.running = (peer, message)
        self.runtime.tasks.parent = seq
        if options:
            self.runtime.group = options.get("group", self.home)
            self.runtime.tasks.cell = options.get("cell")
        else:
            self.runtime.group = self.home
            self.runtime.tasks.cell = None
        started = self.started = time.perf_counter()
        fresh: list[Any] = []
        held = None
        marks: Any = None  # times of phases, where there is something to measure
        try:
            function = self.functions.get(target) or self.function(target)
            self._interruptible = seq  # before the look: a cancellation is either seen or interrupts
            if self._cancelled:
                self.check_cancelled(peer, seq)
            if type(payload) is tuple:
                value = function(*payload)
            else:
                value = self._call(function, payload, fresh)
                marks = self._decoded
            if count < 0:
                value = streams.send_items(self, peer, seq, value, options, self.name_of(target))
            self._interruptible = 0
            if is_plain(value) and (count == 1 or count < 0):
                status, data = m.PLAIN, value
            else:
                marks = (self._decoded if marks else started, time.perf_counter())
                status, data = encode_result(self.runtime, value, count, peer, self.name_of(target), options)
                value = None
        except BaseException as error:  # noqa: BLE001 - everything a call raises is its answer
            self._interruptible = 0
            if seq in self._cancel_children:
                self._cancel_children.discard(seq)
                self.runtime.tasks.cancel_children(seq)
            if self._ends_process(error):
                status, data = (
                    m.ERROR,
                    self.runtime.pack_error(actor_modes.died(self, "exit_actor() was called")),
                )
            else:
                status, data = self.error_reply(error, target, peer, seq)
        if fresh:
            held = self.runtime.exports.register_held(fresh, peer)
        if type(payload) is list and payload[0] == m.SHM and not self.runtime.store.sees(payload[1]):
            held = [*(held or ()), b""]
        now = time.perf_counter()
        self.running = None
        if self._cancelled and (peer, seq) in self._cancelled:
            self._cancelled.discard((peer, seq))
            if self.actor_spec is not None:  # actors are not interrupted, but nobody gets the result
                status, data = self.error_reply(KeyboardInterrupt(), target, peer)
        if self._replied is not peer:
            if self._replied is not None:
                self._replied.flush()
            self._replied = peer
        micros = (now - started) * 1e6
        self._remember((peer.prefix, seq, target, options, now, micros, status, marks))
        peer.outbox.append((m.REPLY, seq, status, data, micros, held))
        if not self.queue or now - self._last_flush > _BATCH_S:
            self._last_flush = now
            peer.flush()

    def is_cancelled(self) -> bool:
        """Whether the call in which the asking thread is was cancelled."""
        running = self.context()
        return running is not None and (running.peer, running.seq) in self._cancelled

    def check_cancelled(self, peer: Peer, seq: int) -> None:
        """Raise for a call that was cancelled before it started."""
        if (peer, seq) in self._cancelled:
            self._cancelled.discard((peer, seq))
            raise TaskCancelledError(error_message="cancelled before it started")

    def _call(self, function: Callable[..., Any], payload: Any, fresh: list[Any]) -> Any:
        # In a frame of its own, so that nothing keeps the arguments alive afterwards.
        args, kwargs = decode(self.runtime, payload, fresh)
        self._decoded = time.perf_counter()
        return function(*args, **kwargs)

    def _ends_process(self, error: BaseException) -> bool:
        if isinstance(error, SystemExit) and self.actor_spec is not None:
            self.end_actor(
                "exit_actor() was called" if isinstance(error, actor_modes.ActorExit) else str(error)
            )
            return True
        return False

    def end_actor(self, reason: str) -> None:
        """The actor ends by its own wish, after this call is answered."""
        self.runtime.link.send(("actor_exiting", self.actor_id, reason))
        self.exit_code = 0

    def error_reply(
        self, error: BaseException, target: Any, caller: Peer | None = None, seq: int = 0
    ) -> tuple[int, Any]:
        """The answer for a call that raised ``error``."""
        if type(error) is DependencyLost and caller is not None:
            return m.LOST, error.path
        if isinstance(error, KeyboardInterrupt):
            error = TaskCancelledError(error_message="the call was cancelled while it ran")
        postmortem.note(self.runtime, error)
        actor = None
        if self.actor_spec is not None:
            actor = {"actor_repr": self.title(), "actor_id": self.actor_id.hex()}
        error = as_task_error(error, self.name_of(target), actor)
        self.events.failed(caller.prefix if caller is not None else b"", seq, error)
        return m.ERROR, self.runtime.pack_error(error, caller)

    # -- what is called

    def function(self, target: Any) -> Callable[..., Any]:
        """The callable named by a call: a function sent before, or a method of the actor."""
        if self.actor_spec is not None:
            method = actor_modes.method(self, target)
        else:
            blob = self.functions.get((target,))
            if blob is None:
                raise RaySystemError(
                    "a call names a function this process has not got; this is a bug in rayjup"
                )
            method = pickle.loads(blob)
            if target in self.limits:
                method = retiring.Limited(self, method, self.limits[target])
        self.functions[target] = method
        return method

    def name_of(self, target: Any) -> str:
        """The name of a function or ``Class.method``, for messages."""
        if self.actor_spec is not None:
            return f"{self.actor_spec['class_name']}.{target}"
        return self.names.get(target, "task")

    def title(self) -> str:
        """How this process is called in front of the lines it prints."""
        if self.actor_spec is not None:
            return f"{actor_modes.shown_name(self)} pid={os.getpid()}"
        running = self.running
        name = self.name_of(running[1][2]) if running is not None else "task"
        return f"{name} pid={os.getpid()}"

    def cell(self) -> int | None:
        """The notebook cell that the call comes from, in the thread or coroutine that asks."""
        running = self.context()
        if running is not None:
            return (running.options or {}).get("cell")
        return (self.actor_spec or {}).get("cell")  # it is being made

    # -- messages from callers (run by whoever leads the reactor)

    def on_calls(self, peer: Peer, messages: list[Message]) -> None:
        """Calls, definitions and cancellations."""
        for message in messages:
            kind = message[0]
            if kind == m.CALL:
                self.queue.append((peer, message))
            elif kind == m.DEFINE:
                self.functions[(message[1],)] = message[2]
                self.names[message[1]] = message[3]
                if message[4]:
                    self.limits[message[1]] = message[4]
            elif kind == m.CONSUMED:
                self.consumed[(peer, message[1])] = message[2]
            elif kind == m.CANCEL:
                self._on_cancel(peer, message[1], message[2])
            else:  # a frame may hold other messages between calls
                self.runtime.on_message(peer, message)

    def _on_cancel(self, peer: Peer, seq: int, recursive: bool) -> None:
        if any(queued_peer is peer and message[1] == seq for queued_peer, message in list(self.queue)):
            self._cancelled.add((peer, seq))
            return
        running = self.running
        if running is not None and running[0] is peer and running[1][1] == seq:
            self._cancelled.add((peer, seq))
            if self.actor_spec is not None:
                if recursive:
                    self.runtime.tasks.cancel_children(seq)
                return
            if recursive:
                self._cancel_children.add(seq)
            if self._interruptible == seq:
                signal.pthread_kill(self._main, signal.SIGUSR1)
        else:
            actor_modes.cancel(self, peer, seq)

    def _on_signal(self, *_: Any) -> None:
        seq, running = self._interruptible, self.running
        if seq and running is not None and (running[0], seq) in self._cancelled:
            self._interruptible = 0  # it is interrupted once, but counts as cancelled to its end
            raise KeyboardInterrupt

    # -- while a call runs for long

    def on_tick(self) -> None:
        """Called by the background thread, a few hundred times a second while something is going on."""
        if self.lines.due():
            self.send_lines()
        self.events.tick(time.monotonic())
        if self.running is None or time.perf_counter() - self.started < _LONG_S:
            return
        if self._replied is not None:
            self._replied.flush()
        if self.queue and self.actor_spec is None:
            self.bounce()

    def bounce(self) -> None:
        """Give back the calls that have not started."""
        back: dict[Peer, list[int]] = {}
        while True:
            try:
                peer, message = self.queue.pop()
            except IndexError:
                break
            back.setdefault(peer, []).append(message[1])
        for peer, seqs in back.items():
            if self._cancelled:  # their caller knows which ones it has cancelled
                self._cancelled.difference_update((peer, seq) for seq in seqs)
            peer.send((m.BOUNCE, seqs[::-1]))

    # -- lending the CPU while blocked (the runtime's block hook)

    def applies(self) -> bool:
        """Whether the calling thread holds CPUs that it could lend out while it waits."""
        return (
            self.running is not None
            and threading.get_ident() == self._main
            and bool(self.lease)
            and self.lease["resources"].get("CPU", 0.0) > 0.0
        )

    def enter(self) -> None:
        """The main thread begins to wait."""
        if self._replied is not None:
            self._replied.flush()
        if self.actor_spec is None:
            self.bounce()
        self.runtime.link.send(("blocked", self.lease["id"]))

    def leave(self) -> None:
        """The main thread goes on."""
        self.runtime.link.send(("unblocked", self.lease["id"]))

    # -- messages from the agent

    def _on_lease(self, lease: dict[str, Any]) -> None:
        self.lease = lease
        self.runtime.tasks.own_lease = lease["id"]
        self.events.leases.append((time.perf_counter(), lease["resources"]))
        threads.set_threads(lease["resources"].get("CPU", 1.0))

    def _on_exit(self) -> None:
        """The agent has more idle executors than it keeps."""
        if self.is_needed():
            self.runtime.link.send(("still_needed",))
        else:
            self.exit_code = 0

    def is_needed(self) -> bool:
        """Whether this process has what others hold, wait for or look at."""
        has = self.runtime.exports.holders or self.runtime.tasks.unfinished() or postmortem.kept()
        return bool(has)

    def _on_create(
        self, actor_id: bytes, spec: dict[str, Any], payload: bytes, lease: dict[str, Any]
    ) -> None:
        self.actor_id = actor_id
        self.lease = lease
        threads.set_threads(lease["resources"].get("CPU", 1.0))
        self.errand = functools.partial(self._create, spec, payload)

    def _create(self, spec: dict[str, Any], payload: bytes) -> None:
        """Make the actor; its constructor's arguments stay alive with it."""
        self.actor_spec = spec
        self.home = self.runtime.group = spec.get("group")
        link = self.runtime.link
        began = time.perf_counter()
        try:
            class_ = pickle.loads(spec["class"])
            args, kwargs = decode_for_creation(self.runtime, pickle.loads(payload))
            mode = actor_modes.prepare(self, class_, spec)
            self.actor = class_.__new__(class_)
            actor_modes.construct(self, args, kwargs)
        except BaseException as error:  # noqa: BLE001 - the constructor's error is what callers get
            _, data = self.error_reply(error, "__init__")
            link.send(("actor_failed", self.actor_id, data, isinstance(error, SystemExit)))
            self.events.creation = (began, time.perf_counter(), True)
            self.exit_code = 0
            return
        self.events.creation = (began, time.perf_counter(), False)
        link.send(("actor_ready", self.actor_id))
        if mode is not None:
            mode()

    # -- for runtime contexts and the log of what is submitted here

    def _caller_id(self) -> bytes | None:
        """Id of the call that runs here, 24 bytes."""
        running = self.context()
        return running.task_id if running is not None else None

    def context(self) -> Running | None:
        """The call in which the asking thread or coroutine is."""
        running = current.get()
        if running is None and self.running is not None and threading.get_ident() == self._main:
            peer, message = self.running
            return Running(peer, message[1], self.name_of(message[2]), message[5])
        return running

    def reply_later(self, peer: Peer, message: Message, started: float) -> Callable[[Any, Any], None]:
        """A function that answers the call, from any thread: ``answer(value, error)``."""
        _, seq, target, _, count, options = message

        def answer(value: Any, error: BaseException | None) -> None:
            if error is None:
                try:
                    status, data = (
                        encode_one(self.runtime, value, peer)
                        if count < 0
                        else encode_result(self.runtime, value, count, peer, self.name_of(target), options)
                    )
                except Exception as problem:  # noqa: BLE001 - failing to pickle the result is the call's error
                    error = problem
            if error is not None:
                if self._ends_process(error) or (
                    isinstance(error, asyncio.CancelledError) and self.exit_code is not None
                ):
                    data = self.runtime.pack_error(actor_modes.died(self, "exit_actor() was called"))
                    status = m.ERROR
                else:
                    status, data = self.error_reply(error, target, peer, seq)
            now = time.perf_counter()
            micros = (now - started) * 1e6
            self._remember((peer.prefix, seq, target, options, now, micros, status, None))
            peer.outbox.append((m.REPLY, seq, status, data, micros, None))

        return answer
