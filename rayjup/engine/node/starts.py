"""Executors on their way to be ready: warm ones for a new job, setup hooks, and starts that fail.

Whoever waits for an executor that does not come up asks again, so a start that always fails must
not be tried without end: it is tried more and more slowly, a few times, and then reported.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from rayjup.engine.node.connection import Connection
from rayjup.engine.node.environment_build import is_light
from rayjup.engine.node.executors import ExecutorProcess, Key

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent

_MOST_WARM = 4
_TRIES = 4
_FIRST_PAUSE_S = 0.1


class Starts:
    """Belongs to one agent."""

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent
        # How often one after the other, without a success in between, and when it was last.
        self._failures: dict[Key, tuple[int, float]] = {}

    def prestart(self, job_id: bytes) -> None:
        """Have executors warm for a job that just began, and its environment built."""
        agent = self.agent
        job = agent.executors.jobs.get(job_id, {})
        environment = job.get("environment", "")
        if environment and not job.get("eager", True) and not is_light(json.loads(environment)):
            return
        count = min(_MOST_WARM, max(1, int(agent.resources.get("CPU", 1))))
        agent.executors.prestart((job_id, (), environment), count)

    def on_hook(self, connection: Connection, op: str, *text: Any) -> None:
        """A setup hook has ended, well or not."""
        process = connection.executor
        if process is None:
            return
        if op == "hook_done":
            self.agent.executors.is_ready(process)
        else:
            process.failure = text[0]

    def failed(self, process: ExecutorProcess, code: int | None) -> bool:
        """Whether ``process`` has ended before it could be used; then the head is told here."""
        key = process.key
        if process.told:
            self._failures.pop(key, None)
            return False
        if not (process.lease_id or process.actor_id) or (process.expected and process.actor_id):
            return False
        kind, why, pause = process.failure_kind, process.failure, 0.0
        if process.expected:
            kind = ""  # we have ended it, but somebody waits for the lease
        elif not why:
            count, last = self._failures.get(key, (0, 0.0))
            if process.began > last:  # else it failed together with others
                count += 1
                self._failures[key] = (count, time.monotonic())
            pause = _FIRST_PAUSE_S * 2 ** max(0, count - 1)
            kind = ""
            if count >= _TRIES:
                self._failures.pop(key, None)
                kind = "env" if key[2] else "start"
                why = (
                    f"executors of node {self.agent.name} end with code {code} before they are ready, "
                    f"{count} times "
                    f"one after the other. Their logs are in {self.agent.log_dir}."
                )
        if process.actor_id is not None and kind:
            message: tuple[Any, ...] = ("actor_start_failed", process.actor_id, kind, why)
        elif process.actor_id is not None:
            message = ("actor_ended", process.actor_id, process.lease_id, code, "")
        else:
            message = ("lease_failed", process.lease_id, kind, why)
        if process.actor_id is not None:
            self.agent.actors.pop(process.actor_id, None)
        if process.connection is not None:
            process.connection.close()
        if pause and not kind:
            asyncio.get_running_loop().call_later(pause, self._tell, message)
        else:
            self.agent.to_head(message)
        return True

    def _tell(self, message: tuple[Any, ...]) -> None:
        if not self.agent._closed:
            self.agent.to_head(message)
