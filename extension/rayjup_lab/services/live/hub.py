"""One poll for all browser tabs, at most once per interval, and none while nobody looks."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from rayjup.cluster.descriptors import Descriptor
from rayjup_lab.services.clusters.manager import ClustersManager
from rayjup_lab.services.live.shorten import shorten
from rayjup_lab.services.live.subscriber import Subscriber

_MIN_GAP_S = 0.25
"""Gap between two rounds even when clients keep waking the hub."""
_UNWATCHED_AGE_S = 5.0
"""How old the node count of a cluster that nobody has opened may get."""
_RESEND_S = 10.0
"""An unchanged list of clusters is repeated this often: it tells clients the line is alive."""


class LiveHub:
    """Reads the clusters that somebody watches and sends each tab what it asked for."""

    def __init__(
        self,
        clusters: ClustersManager,
        *,
        interval_s: float,
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self._clusters = clusters
        self._interval_s = interval_s
        self._log = log
        self._subscribers: set[Subscriber] = set()
        self._task: asyncio.Task[None] | None = None
        self._wakeup = asyncio.Event()

    @property
    def polling(self) -> bool:
        """True while at least one tab looks, so that clusters are being read."""
        return self._task is not None and not self._task.done()

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        self.wake()

    def wake(self) -> None:
        """Do the next round now: somebody subscribed, or a cluster was started or stopped."""
        self._wakeup.set()
        if not self.polling and any(s.active for s in self._subscribers):
            self._task = asyncio.get_running_loop().create_task(self._run(), name="rayjup-live")
            self._task.add_done_callback(self._ended)

    async def close(self) -> None:
        self._subscribers.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._log.error("rayjup: the live view stopped on an error", exc_info=task.exception())

    async def _run(self) -> None:
        while any(s.active for s in self._subscribers):
            self._wakeup.clear()
            try:
                await self._round()
            except OSError as error:
                # For example the runtime directory became unreadable; the next round tries again.
                self._log.warning("rayjup: the live view could not be updated: %s", error)
            await asyncio.sleep(_MIN_GAP_S)
            try:
                await asyncio.wait_for(self._wakeup.wait(), self._interval_s - _MIN_GAP_S)
            except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
                continue

    async def _round(self) -> None:
        found = await self._clusters.live()
        watched = {cluster for s in self._subscribers if s.active for cluster in s.snapshots}
        snapshots = dict(zip((d.cluster_id for d in found), await self._read(found, watched), strict=True))
        listing = {
            "type": "clusters",
            "clusters": [self._clusters.summary(d) for d in found],
            "starting": self._clusters.starting,
        }
        short = {key: shorten(value) for key, value in snapshots.items() if value and key in watched}
        for subscriber in [s for s in self._subscribers if s.active and s.ready()]:
            for cluster in sorted(subscriber.snapshots):
                subscriber.send(self._about(cluster, snapshots, short))
            subscriber.snapshots &= snapshots.keys()
            if subscriber.wants_clusters:
                subscriber.send_clusters(listing, time.time(), _RESEND_S)

    async def _read(self, found: list[Descriptor], watched: set[str]) -> list[dict[str, Any] | None]:
        return await asyncio.gather(
            *(
                self._clusters.refresh(d, max_age_s=0.0 if d.cluster_id in watched else _UNWATCHED_AGE_S)
                for d in found
            )
        )

    def _about(
        self, cluster: str, snapshots: dict[str, dict[str, Any] | None], short: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        if cluster not in snapshots:
            return {"type": "gone", "cluster": cluster}
        if cluster not in short:
            return {"type": "unreachable", "cluster": cluster, "reason": self._clusters.error(cluster)}
        return {"type": "snapshot", "cluster": cluster, "snapshot": short[cluster]}
