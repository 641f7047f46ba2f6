"""Calls, the leases under which they run, and the pools in which they wait for one."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from rayjup.engine.lane.peer import Peer
from rayjup.engine.ownership.object_ref import ObjectRef
from rayjup.engine.runtime.functions import Function
from rayjup.engine.runtime.streams import Stream

_MOST_UNREACHED = 3  # executors, within
_UNREACHED_S = 60.0


class Task:
    """One submitted call, until it is answered."""

    __slots__ = (
        "arguments",
        "cancelled",
        "function",
        "lease",
        "n_returns",
        "name",
        "options",
        "parent",
        "pool",
        "recipe",  # only where the result can be lost, or the call was run before
        "refs",
        "retries",
        "retry_exceptions",
        "seq",
        "stream",
    )

    def __init__(self, seq: int, function: Function, arguments: Any, pool: Any) -> None:
        self.seq = seq
        self.function = function
        self.arguments = arguments
        self.pool = pool
        self.lease: Any = None  # Lease, or an actor's client, while it is with an executor
        self.refs: list[ObjectRef] | None = None
        self.n_returns = 1
        self.retries = 0
        self.retry_exceptions: Any = False
        self.options: dict[str, Any] | None = None
        self.name = function.name
        self.cancelled = False
        self.parent = 0  # the call of this process that submitted it
        self.stream: Stream | None = None  # of a generator call
        self.recipe: Any


class Lease:
    """The right to run calls on one executor."""

    __slots__ = (
        "doomed",
        "drain",
        "drain_at",
        "granted",
        "id",
        "idle_since",
        "inflight",
        "peer",
        "pool",
        "stuck",
    )

    def __init__(self, id: str, pool: Pool, peer: Peer) -> None:
        self.id = id
        self.pool = pool
        self.peer = peer
        self.inflight: dict[int, Task] = {}
        self.granted = self.idle_since = time.monotonic()
        self.drain = False  # give it back once it is idle
        self.drain_at = 0.0  # when to begin with that, because somebody else waits for it
        self.stuck = False  # runs a long call: nothing is queued behind it
        self.doomed = ""  # why the executor was ended, where we know


class Pool:
    """Leases of one shape and the calls that wait for one."""

    __slots__ = (
        "backlog",
        "contended_until",
        "dirty",
        "error",
        "id",
        "key",
        "leases",
        "received",
        "shape",
        "unreached",
        "wanted",
    )

    def __init__(self, id: int, key: Any, shape: dict[str, Any]) -> None:
        self.id = id
        self.key = key
        self.shape = shape
        self.leases: list[Lease] = []
        self.backlog: deque[Task] = deque()
        self.wanted = 0  # leases asked for and not granted yet
        self.received = 0  # grants that have come, also of leases that had ended by then
        self.dirty = False
        self.contended_until = 0.0  # others have asked for leases like ours
        self.error: BaseException | None = None  # why nothing can run here any more
        self.unreached: list[float] = []  # when executors of other hosts did not answer

    def gives_up(self, now: float) -> bool:
        """An executor of another host did not answer; whether that is so often that calls have to fail."""
        self.unreached = [at for at in self.unreached if now - at < _UNREACHED_S] + [now]
        return len(self.unreached) > _MOST_UNREACHED

    def free_lease(self, depth: int) -> Lease | None:
        """The least loaded lease that may take a call of a function pipelined to ``depth``."""
        best = None
        for lease in self.leases:
            load = len(lease.inflight)
            if load < depth and not lease.drain and not (load and lease.stuck):
                if not load:
                    return lease
                depth = load
                best = lease
        return best
