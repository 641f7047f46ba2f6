"""One reading of the cluster for all pages that are open, made when somebody asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from rayjup.cluster.observer import Observer
from rayjup.dashboard.pages.requests import Requests
from rayjup.observe import ClusterView
from rayjup.observe.topics import TOPICS, read_log

_SNAPSHOT_S = 1.0
_KEPT_POINTS = 300


class Feed:
    """Documents of the cluster, each at most as old as its topic says.

    Parameters
    ----------
    view
        The cluster.
    requests
        What may be asked of it.
    """

    def __init__(self, view: ClusterView, requests: Requests) -> None:
        self.requests = requests
        # Lines of their own: what asks all processes holds up nothing else.
        self._quick = ClusterView(view.descriptor)
        self._slow = ClusterView(view.descriptor)
        self._documents: dict[str, tuple[float, Any]] = {}
        self._reading: dict[str, asyncio.Future[Any]] = {}
        self.history: list[dict[str, float]] = []

    async def get(self, topic: str) -> Any:
        """The document of a topic, or the ``snapshot``."""
        about = TOPICS.get(topic)
        interval = about.interval_s if about is not None else _SNAPSHOT_S
        known = self._documents.get(topic)
        if known is not None and time.monotonic() - known[0] < interval * 0.9:
            return known[1]
        reading = self._reading.get(topic)
        if reading is None:
            reading = self._reading[topic] = asyncio.ensure_future(self._read(topic))
            reading.add_done_callback(lambda _: self._reading.pop(topic, None))
        return await asyncio.shield(reading)

    async def log(self, node_id: str, name: str, lines: int) -> str:
        """The last lines of a log file."""
        found = await asyncio.to_thread(read_log, self._slow, node_id, name, lines=lines)
        return str(found["text"])

    async def _read(self, topic: str) -> Any:
        about = TOPICS.get(topic)
        read: Callable[[ClusterView], Any] = about.read if about is not None else ClusterView.snapshot
        view: Observer = self._slow if about is not None and about.asks_processes else self._quick
        document = await asyncio.to_thread(read, view)  # type: ignore[arg-type]
        self._documents[topic] = (time.monotonic(), document)
        if topic == "snapshot":
            self._note(document)
        return document

    def _note(self, snapshot: dict[str, Any]) -> None:
        """Remember the load, for the curves of the overview."""
        total, free = snapshot["resources_total"], snapshot["resources_available"]
        nodes = snapshot["nodes"]
        gpus = [gpu for node in nodes for gpu in node["gpus"] if gpu["utilization"] is not None]
        self.history.append(
            {
                "time": snapshot["time"],
                "cpus": total.get("CPU", 0.0) - free.get("CPU", 0.0),
                "cpu_percent": sum(n["cpu_percent"] for n in nodes) / max(1, len(nodes)),
                "gpu_percent": sum(g["utilization"] for g in gpus) / max(1, len(gpus)),
                "store": sum(n["store_used"] for n in nodes),
                "running": sum(row["running"] for row in snapshot["tasks"]),
            }
        )
        del self.history[:-_KEPT_POINTS]
