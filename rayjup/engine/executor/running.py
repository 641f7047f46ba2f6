"""Which call a thread or coroutine of an executor is in."""

from __future__ import annotations

import contextvars
from typing import Any

from rayjup.engine.lane.peer import Peer


class Running:
    """The call that a thread or coroutine is in."""

    __slots__ = ("name", "options", "peer", "seq")

    def __init__(self, peer: Peer, seq: int, name: str, options: dict[str, Any] | None) -> None:
        self.peer = peer
        self.seq = seq
        self.name = name
        self.options = options

    @property
    def task_id(self) -> bytes:
        """The 24 bytes of the task's id."""
        return self.peer.prefix + self.seq.to_bytes(8, "little")


current: contextvars.ContextVar[Running | None] = contextvars.ContextVar("rayjup_running", default=None)
"""The call that runs here (for actors with threads or coroutines; else see Executor.running)."""
