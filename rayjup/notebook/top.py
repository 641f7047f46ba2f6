"""``%ray_top``: tasks with their rates, and what every process of the cluster uses."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayjup.notebook.processes import Meter
from rayjup.notebook.table import Column, Table

if TYPE_CHECKING:
    from rayjup.notebook.table_displays import LiveTables

_TASKS = (
    Column("name", "task"),
    Column("running", "running", kind="number"),
    Column("pending", "pending", kind="number"),
    Column("finished", "finished", kind="number"),
    Column("failed", "failed", kind="number"),
    Column("rate", "per s", kind="number"),
    Column("history", "rate", kind="spark", width=1.4),
)
_PROCESSES = (
    Column("what", "process"),
    Column("pid", "pid", kind="state"),
    Column("state", "state", kind="state"),
    Column("cpu", "CPU", kind="percent"),
    Column("memory", "memory", kind="bytes"),
    Column("pending", "pending", kind="number"),
    Column("history", "CPU", kind="spark", width=1.4),
)
_GPU_MEMORY = Column("gpu_memory", "GPU memory", kind="bytes")
_HISTORY = 40


class Top:
    """Makes the tables of `ray_top` from snapshots; it remembers the last ones for rates."""

    def __init__(self, node_pid: int | None) -> None:
        self._meter = Meter(node_pid)
        self._finished: dict[str, int] = {}
        self._time = 0.0
        self._rates: dict[str, deque[float]] = {}
        self._loads: dict[int, deque[float]] = {}
        self._rate: dict[str, float] = {}
        self._gpus: bool | None = None

    def __call__(self, snapshot: Mapping[str, Any]) -> Sequence[Table]:
        if self._gpus is None:  # tables keep their columns
            self._gpus = any(node.get("gpus") for node in snapshot.get("nodes") or [])
        return [self._tasks(snapshot), self._processes(snapshot)]

    def _tasks(self, snapshot: Mapping[str, Any]) -> Table:
        tasks = snapshot.get("tasks") or []
        now = float(snapshot.get("time") or 0.0)
        passed = now - self._time
        if passed > 0:
            for task in tasks:
                name, finished = task["name"], task["finished"]
                if self._time:
                    rate = max(0.0, (finished - self._finished.get(name, 0)) / passed)
                    self._rates.setdefault(name, deque(maxlen=_HISTORY)).append(rate)
                    self._rate[name] = rate
                self._finished[name] = finished
            self._time = now
        rows = [
            {**task, "rate": self._rate.get(task["name"]), "history": list(self._rates.get(task["name"], ()))}
            for task in sorted(tasks, key=lambda task: (-task["running"], -task["pending"]))
        ]
        empty = "No tasks yet: call a remote function and it shows up here."
        return Table(_TASKS, rows, title="tasks", empty=empty)

    def _processes(self, snapshot: Mapping[str, Any]) -> Table:
        here = {n["node_id"] for n in snapshot.get("nodes") or [] if n.get("host") == platform.node()}
        rows: list[dict[str, Any]] = []
        local = self._meter.pids()
        actors = [actor for actor in snapshot.get("actors") or [] if actor["state"] != "DEAD"]
        measured = self._meter.measure(
            local | {a["pid"] for a in actors if a["pid"] and a["node_id"] in here} | {os.getpid()}
        )
        for actor in actors:
            name = f"{actor['class_name']} '{actor['name']}'" if actor.get("name") else actor["class_name"]
            used = measured.get(actor["pid"], {}) if actor["node_id"] in here else {}
            rows.append({**used, **actor, "what": name, "state": actor["state"].lower()})
        known = {actor["pid"] for actor in actors}
        for pid in sorted(local - known):
            if pid in measured:
                cpu = measured[pid]["cpu"]
                state = "working" if cpu > 1 else "idle"
                rows.append({**measured[pid], "what": "tasks", "pid": pid, "state": state})
        own = measured.get(os.getpid(), {})
        rows.append({**own, "what": "this kernel", "pid": os.getpid(), "state": "driver"})
        for row in rows:
            if row.get("cpu") is not None:
                history = self._loads.setdefault(row["pid"], deque(maxlen=_HISTORY))
                history.append(row["cpu"])
                row["history"] = list(history)
        for gone in set(self._loads) - {row["pid"] for row in rows}:
            del self._loads[gone]
        columns = [*_PROCESSES[:5], _GPU_MEMORY, *_PROCESSES[5:]] if self._gpus else _PROCESSES
        return Table(columns, rows, title="processes")


def ray_top(*, sort: str | None = None) -> LiveTables:
    """Tasks and processes of the cluster with what they use, as tables that stay live.

    Parameters
    ----------
    sort : str, optional
        Column of the table of processes to sort by, largest first: ``"cpu"``, ``"memory"``, ….

    Raises
    ------
    ConnectionError
        When this notebook isn't connected to a cluster.
    """
    from rayjup.notebook import session
    from rayjup.notebook.table_displays import LiveTables

    connection, snapshot = session.watched()
    extra = connection.descriptor.extra if connection.descriptor is not None else {}
    shown = LiveTables(Top(extra.get("node_pid")), snapshot)
    if sort is not None:
        shown.sort_by(sort, 1)
        if sort not in ("what", "state"):
            shown.sort_by(sort, 1)  # once more: the largest first
    return shown
