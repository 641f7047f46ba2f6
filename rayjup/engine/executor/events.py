"""What an executor remembers of the calls it has finished, for those who ask later.

Nothing is sent per call: a call that ends leaves one tuple in a ring, made of values that are at
hand anyway. Whoever wants to know (the state API, the timeline) asks all processes. Because a
process may be killed, its newest entries go to the agent about once a second, a bounded number.
"""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import messages as m
from rayjup.engine.runtime.error_kinds import kind_of, text_of

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor
    from rayjup.engine.lane.peer import Message, Peer

KEPT_VARIABLE = "RAYJUP_TASK_EVENTS"
KEPT = 10_000
KEPT_FAILURES = 1000
HANDED_AT_ONCE = 200
HANDED_AT_END = 5000
_BUSY_S = 1.0  # between two handings over while calls go on
_IDLE_S = 0.25  # and when there are none

Entry = tuple[bytes, int, Any, Any, float, float, int, Any]
"""Caller's prefix, number, target, options, end (``perf_counter``), microseconds, status, marks."""


def kept() -> int:
    """How many finished calls each process remembers (RAYJUP_TASK_EVENTS; 0: none)."""
    try:
        return max(0, int(os.environ.get(KEPT_VARIABLE, KEPT)))
    except ValueError:
        return KEPT


class Events:
    """The finished and running calls of one executor.

    Parameters
    ----------
    executor
        The one whose calls these are.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.finished: deque[Entry] = deque(maxlen=kept())
        self.failures: OrderedDict[tuple[bytes, int, float], tuple[str, str]] = OrderedDict()
        self.active: dict[tuple[Peer, int], tuple[Message, float]] = {}  # calls on threads
        self.leases: deque[tuple[float, dict[str, float]]] = deque(maxlen=64)
        self.creation: tuple[float, float, bool] | None = None  # began, ended, failed
        self.prints: deque[list[Any]] = deque(maxlen=1000)  # what calls wrote: see ``printed``
        self._handed: Entry | None = None
        self._next = 0.0

    def failed(self, prefix: bytes, seq: int, error: BaseException) -> None:
        """A call is about to be answered with ``error``."""
        if len(self.failures) >= KEPT_FAILURES:
            self.failures.popitem(last=False)
        # Calls that are tried again have the same number: the time tells them apart.
        self.failures[(prefix, seq, time.perf_counter())] = (kind_of(error), text_of(error))

    def printed(self, stream: str, start: int, end: int) -> None:
        """The running call wrote bytes ``start`` to ``end`` of its process's log."""
        running = self.executor.context()
        if running is None:
            return
        last = self.prints[-1] if self.prints else None
        if last is not None and last[0] == running.task_id and last[1] == stream and last[3] == start:
            last[3] = end
        else:
            self.prints.append([running.task_id, stream, start, end])

    def put_aside(self, stream: str) -> None:
        """A new log was begun: where calls have printed in the one before is of no use any more."""
        self.prints = deque((entry for entry in self.prints if entry[1] != stream), self.prints.maxlen)

    # -- asked for

    def report(self, newest: int | None = None) -> dict[str, Any]:
        """Everything known here, in plain values; of finished calls only the ``newest``."""
        executor = self.executor
        entries = list(self.finished)
        if newest is not None:
            entries = entries[-newest:]
        failures: dict[tuple[bytes, int], list[tuple[float, str, str]]] = {}
        for (prefix, seq, at), (kind, text) in list(self.failures.items()):
            failures.setdefault((prefix, seq), []).append((at, kind, text))
        spec = executor.actor_spec
        actor = None
        if spec is not None:
            actor = (executor.actor_id, spec["class_name"], spec.get("holding") or {})
        name_of = self._name_of
        return {
            "finished": [
                (prefix, seq, name_of(target), _own(target, options), ended, micros, status == m.ERROR, marks)
                for prefix, seq, target, options, ended, micros, status, marks in entries
                if not _hidden(options)
            ],
            "hidden": Counter(name_of(entry[2]) for entry in entries if _hidden(entry[3])),
            "full": bool(entries) and len(entries) == self.finished.maxlen,
            "failures": failures,
            "running": self._running(),
            "queued": [
                (peer.prefix, message[1], name_of(message[2]), _own(message[2], message[5]))
                for peer, message in list(executor.queue)
                if not _hidden(message[5])
            ],
            "leases": list(self.leases),
            "actor": actor,
            "creation": self.creation,
            "log": _log_path(),
            "prints": [tuple(entry) for entry in list(self.prints)],
        }

    def _name_of(self, target: Any) -> str:
        """As the executor's, but it may have run functions before it became an actor."""
        if type(target) is bytes:
            return self.executor.names.get(target, "task")
        return self.executor.name_of(target)

    def _running(self) -> list[tuple[Any, ...]]:
        executor = self.executor
        running = executor.running
        calls: list[tuple[Peer, Message, float]] = []
        if running is not None:
            calls.append((*running, executor.started))
        calls += [(peer, *rest) for (peer, _), rest in list(self.active.items())]
        for (peer, _), task in list(executor.coroutines.items()):
            found = _begun(task)
            if found is not None:
                calls.append((peer, *found))
        return [
            (peer.prefix, message[1], self._name_of(message[2]), _own(message[2], message[5]), started)
            for peer, message, started in calls
            if not _hidden(message[5])
        ]

    # -- handed to the agent, because this process may be killed

    @property
    def behind(self) -> bool:
        """Whether calls have ended of which the agent has not heard."""
        return bool(self.finished) and self.finished[-1] is not self._handed

    def tick(self, now: float) -> None:
        """Hand over what is new, if it is time."""
        if now < self._next or not self.behind:
            return
        self._next = now + (_IDLE_S if self.executor.running is None else _BUSY_S)
        self.hand_over()

    def hand_over(self, most: int = HANDED_AT_ONCE) -> None:
        """Post the newest entries that the agent has not got; failures have their texts."""
        entries = list(self.finished)
        handed, self._handed = self._handed, entries[-1] if entries else None
        new: list[Entry] = []
        for entry in reversed(entries):
            if entry is handed or len(new) == most:
                break
            new.append(entry)
        since = new[-1][4] - new[-1][5] / 1e6 if new else 0.0  # when the first of them began
        part = self.report(newest=len(new))
        part["failures"] = {
            key: [row for row in rows if row[0] >= since]
            for key, rows in part["failures"].items()
            if rows[-1][0] >= since
        }
        self.executor.runtime.reports.hand_over(part)


def _hidden(options: Any) -> bool:
    return bool(options) and options.get("events") is False


def _own(target: Any, options: Any) -> tuple[bool, str | None, bytes | None, int | None] | None:
    """Whether it is a method, the call's own name, placement group and cell; None for the common case."""
    is_method = type(target) is str
    if not options:
        return (True, None, None, None) if is_method else None
    group = options.get("group")
    return is_method, options.get("name"), group[0] if group else None, options.get("cell")


def _begun(task: Any) -> tuple[Message, float] | None:
    """The call that a coroutine runs and when it began; None where it waits for its turn.

    Its frame knows: to note it down elsewhere would cost every call something.
    """
    coroutine = task.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            return None
        names = frame.f_locals
        if "started" in names and "message" in names:
            return names["message"], names["started"]
        coroutine = coroutine.cr_await
    return None


def _log_path() -> str | None:
    """The file to which this process writes what it prints."""
    try:
        return os.readlink("/proc/self/fd/1")
    except OSError:
        return None  # no /proc here
