"""One poll for all browser tabs, at most once per interval, and none while nobody looks."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from rayjup.cluster.descriptors import Descriptor
from rayjup.observe.topics import TOPICS
from rayjup_lab.services.clusters.manager import ClustersManager
from rayjup_lab.services.errors import ServiceError
from rayjup_lab.services.live.documents import Documents, Key
from rayjup_lab.services.live.shorten import shorten
from rayjup_lab.services.live.subscriber import SNAPSHOT, Subscriber

_MIN_GAP_S = 0.25
"""Gap between two rounds even when clients keep waking the hub."""
_UNWATCHED_AGE_S = 5.0
"""How old the node count of a cluster that nobody has opened may get."""
_PATIENCE_S = 0.5
"""How long a round waits for a document."""
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
        self._documents = Documents()
        self._readings: dict[Key, asyncio.Future[Any]] = {}
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
            await asyncio.gather(task, *self._readings.values(), return_exceptions=True)

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
        active = [s for s in self._subscribers if s.active]
        watched = {key for s in active for key in s.watched}
        by_id = {d.cluster_id: d for d in found}
        troubles: dict[Key, str] = {}
        here = {key for key in watched if key[1] in by_id}
        await asyncio.gather(
            self._read_clusters(found, {cluster for topic, cluster in here if topic == SNAPSHOT}, troubles),
            *(self._read_topic(key, by_id[key[1]], troubles) for key in sorted(here) if key[0] != SNAPSHOT),
        )
        self._documents.keep_only(here)
        for key in [key for key, reading in self._readings.items() if key not in here and reading.done()]:
            self._readings.pop(key).exception()  # nobody wants to know it any more
        listing = {
            "type": "clusters",
            "clusters": [self._clusters.summary(d) for d in found],
            "starting": self._clusters.starting,
        }
        for subscriber in [s for s in self._subscribers if s.active and s.ready()]:
            for cluster in sorted({cluster for _, cluster in subscriber.watched} - by_id.keys()):
                subscriber.send_gone(cluster)
            for key in sorted(subscriber.watched & here):
                if key in troubles:
                    subscriber.send_trouble(key, troubles[key])
                else:
                    subscriber.send_document(key, self._documents)
            if subscriber.wants_clusters:
                subscriber.send_clusters(listing, time.time(), _RESEND_S)
            # Each tab's message is compressed by itself: others get their turn in between.
            await asyncio.sleep(0)

    async def _read_clusters(
        self, found: list[Descriptor], watched: set[str], troubles: dict[Key, str]
    ) -> None:
        async def read(cluster: Descriptor) -> None:
            shown = cluster.cluster_id in watched
            snapshot = await self._clusters.refresh(cluster, max_age_s=0.0 if shown else _UNWATCHED_AGE_S)
            key = (SNAPSHOT, cluster.cluster_id)
            if shown and snapshot is not None:
                self._documents.put(key, shorten(snapshot))
            elif shown:
                troubles[key] = self._clusters.error(cluster.cluster_id) or "it does not answer"

        await asyncio.gather(*map(read, found))

    async def _read_topic(self, key: Key, cluster: Descriptor, troubles: dict[Key, str]) -> None:
        topic = TOPICS[key[0]]
        if self._documents.age_s(key) < topic.interval_s - _MIN_GAP_S:
            return
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.ensure_future(
                self._clusters.ask_found(cluster, topic.read, slow=topic.asks_processes)
            )
        # What takes long is shown in a later round, and holds up nothing else.
        done, _ = await asyncio.wait([reading], timeout=_PATIENCE_S)
        if not done:
            return
        del self._readings[key]
        error = reading.exception()
        if error is None:
            self._documents.put(key, reading.result())
        elif isinstance(error, (ServiceError, OSError)):
            troubles[key] = str(error)
        else:
            raise error
