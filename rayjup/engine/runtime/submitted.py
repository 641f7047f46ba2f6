"""What a process remembers of the calls it has submitted, beyond those that are under way.

When a call was made costs nothing per call: calls are numbered, and every tick notes the time at
which the numbers had come so far. So times are right to within a tick (5 ms).
"""

from __future__ import annotations

import bisect
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.runtime.arguments import Arguments
from rayjup.engine.runtime.error_kinds import kind_of, text_of

if TYPE_CHECKING:
    from rayjup.engine.runtime.pools import Task
    from rayjup.engine.runtime.runtime import Runtime

_KEPT_TICKS = 4096
_KEPT_FAILURES = 1000
_KEPT_PARENTS = 10_000

NORMAL, ACTOR, CREATION = "NORMAL_TASK", "ACTOR_TASK", "ACTOR_CREATION_TASK"


class Submitted:
    """The log of one submitting process.

    Parameters
    ----------
    runtime
        Whose calls these are.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        # Failures that no executor can tell of, and attempts that were followed by others.
        self.failures: deque[dict[str, Any]] = deque(maxlen=_KEPT_FAILURES)
        self.dropped = 0
        self.caller: Callable[[], bytes | None] = lambda: None  # in an executor: the running task's id
        self._parents: deque[tuple[int, bytes]] = deque(maxlen=_KEPT_PARENTS)
        self._ticks: list[tuple[int, float]] = []
        self._last = 0

    # -- noted while calls are made

    def tick(self) -> None:
        """Note how far the numbers have come."""
        number = next(self.runtime.tasks.sequence)  # one that no call will have
        if number != self._last + 1:
            self._ticks.append((number, time.perf_counter()))
            if len(self._ticks) > _KEPT_TICKS:
                del self._ticks[: _KEPT_TICKS // 2 : 2]  # older ones need not be as exact
        self._last = number

    def under(self, seq: int, parent: int) -> None:
        """From call ``seq`` on, calls are made by another call of this process."""
        self.runtime.tasks.noted = parent if parent >= 0 else -2  # -1: has to be asked for at every call
        self._parents.append((seq, self.caller() or b""))

    def failed(self, task: Task, error: BaseException, attempt_only: bool = False) -> None:
        """A call has failed here, or its attempt; executors know of those that raised."""
        if task.options is not None and task.options.get("events") is False:
            return
        row = self._row(task, "FAILED")
        if len(self.failures) == _KEPT_FAILURES:
            self.dropped += 1
        self.failures.append(
            {
                **row,
                "error": (kind_of(error), text_of(error)),
                "ended": time.perf_counter(),
                "final": not attempt_only,
            }
        )

    # -- asked for

    def created(self, seq: int) -> float | None:
        """When call ``seq`` was made at the latest (``perf_counter``); None: not known."""
        index = bisect.bisect_right(self._ticks, (seq, float("inf")))
        return self._ticks[index][1] if index < len(self._ticks) else None

    def report(self, limit: int) -> dict[str, Any]:
        """Everything known here, in plain values; of unfinished calls at most ``limit``."""
        rows, left_out = self._unfinished(limit)
        return {
            "pending": rows,
            "left_out": left_out,
            "failures": list(self.failures),
            "dropped": self.dropped,
            "parents": list(self._parents),
            "ticks": list(self._ticks),
            "counts": self.runtime.tasks.counts(),
        }

    def _unfinished(self, limit: int) -> tuple[list[dict[str, Any]], int]:
        tasks = self.runtime.tasks
        found: list[tuple[Task, str]] = []
        seen: set[int] = set()

        def add(task: Task, state: str) -> None:
            if task.seq not in seen and (task.options is None or task.options.get("events") is not False):
                seen.add(task.seq)
                found.append((task, state))

        for task in list(tasks.inflight.values()):
            add(task, "SUBMITTED_TO_WORKER")
        for task in list(tasks.waiting.values()):
            add(task, "PENDING_ARGS_AVAIL")
        left_out = 0
        for pool in list(tasks.pools.values()):
            backlog = list(pool.backlog)
            left_out += max(0, len(backlog) - limit)
            for task in backlog[:limit]:
                add(task, "PENDING_NODE_ASSIGNMENT")
        actors = {}
        for client in list(self.runtime.actors.clients.values()):
            for task in list(client.queue):
                actors[task.seq] = client.actor_id
                add(task, "PENDING_NODE_ASSIGNMENT")
        left_out += max(0, len(found) - limit)
        return [self._row(task, state, actors.get(task.seq)) for task, state in found[:limit]], left_out

    def _row(self, task: Task, state: str, actor_id: bytes | None = None) -> dict[str, Any]:
        lease, pool = task.lease, task.pool
        if pool is None and actor_id is None:
            actor_id = getattr(lease, "actor_id", None)
        peer = getattr(lease, "peer", None)
        row: dict[str, Any] = {
            "seq": task.seq,
            "function": task.function.name,
            "name": (task.options or {}).get("name"),
            "cell": (task.options or {}).get("cell"),
            "state": state,
            "kind": NORMAL if pool is not None else ACTOR,
            "created": self.created(task.seq),
        }
        if pool is None and task.refs is None and state == "PENDING_ARGS_AVAIL":
            row["kind"] = CREATION  # stands for the constructor until its arguments are there
        if pool is not None:
            row["resources"] = pool.shape["resources"]
            row["group"] = pool.shape.get("group")
        if actor_id:
            row["actor_id"] = actor_id
        if peer is not None and state != "PENDING_NODE_ASSIGNMENT":
            row["worker"] = peer.worker_id[:8].hex()
        return row


def used_by(task: Any) -> list[Any]:
    """The refs that an unfinished call needs."""
    arguments = task.arguments
    if type(arguments) is not Arguments:
        return []
    return [*arguments.refs, *(ref for _, ref in arguments.dependencies)]
