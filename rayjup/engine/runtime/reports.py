"""A process answers what it is asked about itself: its calls, its objects, its metrics.

Questions come from the agent, seldom and on demand; whoever leads the reactor answers them, so also
a process whose main thread is busy does. Layers above add topics to ``TOPICS``.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

Topic = Callable[["Runtime", dict[str, Any]], Any]


def _tasks(runtime: Runtime, options: dict[str, Any]) -> dict[str, Any]:
    limit = int(options.get("limit", 10_000))
    report: dict[str, Any] = {"submitted": runtime.tasks.log.report(limit)}
    if runtime.reports.events is not None:
        report["executed"] = runtime.reports.events.report()
    return report


def _objects(runtime: Runtime, options: dict[str, Any]) -> Any:
    from rayjup.engine.runtime import object_rows  # needed by few processes, and seldom

    return object_rows.report(runtime, int(options.get("limit", 10_000)))


TOPICS: dict[str, Topic] = {"tasks": _tasks, "objects": _objects}
"""What can be asked about, and who answers."""


class Reports:
    """The answers of one process.

    Parameters
    ----------
    runtime
        Of this process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.events: Any = None  # an executor's, see rayjup.engine.executor.events
        self.sites: Any = None  # where refs were made, see object_rows
        runtime.link.on["collect"] = self._on_collect

    def head(self) -> dict[str, Any]:
        """Who reports, and how its clock relates to the time of day."""
        runtime = self.runtime
        return {
            "worker_id": runtime.worker_id.hex(),
            "prefix": runtime.prefix,
            "pid": runtime.pid,
            "job_id": runtime.job_id.hex(),
            "clock": (time.time(), time.perf_counter()),
        }

    def _on_collect(self, ticket: int, topic: str, options: dict[str, Any]) -> None:
        answer = TOPICS.get(topic)
        report = {**self.head(), "topic": topic, "report": answer(self.runtime, options) if answer else None}
        # As bytes, so that nobody on the way has to unpack it.
        self.runtime.link.send(("collected", ticket, pickle.dumps(report, 5)))

    def hand_over(self, executed: dict[str, Any]) -> None:
        """Give the agent what would be lost with this process."""
        report = {**self.head(), "topic": "tasks", "report": {"executed": executed}}
        self.runtime.link.post(("events", pickle.dumps(report, 5)))
