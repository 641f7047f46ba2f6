"""What a serving process does about once a second: write logs, hand over numbers under Ray's names."""

from __future__ import annotations

import asyncio
from typing import Any

from rayjup.serve._private import router as routers
from rayjup.serve._private.measures import BOUNDS
from rayjup.util.metrics import Counter, Gauge, Histogram

PERIOD_S = 1.0
_LATENCY_MS = (
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    300,
    400,
    500,
    1000,
    2000,
    5000,
    10000,
    60000,
    120000,
    300000,
    600000,
)


class Reporter:
    """Reports for one replica or proxy (``owner`` has ``measures``, ``log``, and perhaps ``id``)."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self._handle: asyncio.TimerHandle | None = None
        self._metrics: dict[str, Any] = {}
        self._routes: dict[tuple[str, str, int], int] = {}
        self._requests = 0
        self._errors = 0
        self._counts: list[int] = [0] * (len(BOUNDS) + 1)

    def start(self) -> None:
        """Report from now on."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(PERIOD_S, self._turn)

    def stop(self) -> None:
        """Report what is left, and no more."""
        if self._handle is not None:
            self._handle.cancel()
        self.report()

    def routers(self) -> list[routers.Router]:
        """The routers of this process."""
        return list(routers._routers.values())

    def _turn(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(PERIOD_S, self._turn)
        self.report()

    def report(self) -> None:
        """Hand over what has changed."""
        owner = self.owner
        owner.log.settle()
        measures = owner.measures
        id = getattr(owner, "id", None)
        if id is not None:
            tags = {
                "deployment": id.deployment_id.name,
                "application": id.deployment_id.app_name,
                "replica": id.unique_id,
            }
            if measures.requests != self._requests:
                grown = measures.requests - self._requests
                self._requests = measures.requests
                self._counter(
                    "serve_deployment_request_counter", "Requests answered by a replica.", tags, grown
                )
                self._latencies(measures.counts, tags)
            if measures.errors != self._errors:
                grown, self._errors = measures.errors - self._errors, measures.errors
                self._counter("serve_deployment_error_counter", "Requests that raised.", tags, grown)
            gauge = self._metric(Gauge, "serve_replica_processing_queries", "Requests that run now.", tags)
            gauge.set(owner.ongoing, tags=tags)
        for key, count in list(measures.by_route.items()):
            grown = count - self._routes.get(key, 0)
            if not grown:
                continue
            self._routes[key] = count
            route, method, status = key
            named = {"route": route, "method": method, "status_code": str(status)}
            self._counter("serve_num_http_requests", "Requests over HTTP.", named, grown)
            if status >= 400:
                failed = {"route": route, "method": method, "error_code": str(status)}
                self._counter(
                    "serve_num_http_error_requests", "Requests answered with an error.", failed, grown
                )
        for router in self.routers():
            tags = {"deployment": router.id.name, "application": router.id.app_name}
            self._metric(
                Gauge, "serve_deployment_queued_queries", "Requests that wait for a replica.", tags
            ).set(router.waiting(), tags=tags)

    def _latencies(self, counts: list[int], tags: dict[str, str]) -> None:
        histogram = self._metric(
            Histogram, "serve_deployment_processing_latency_ms", "How long requests took, in ms.", tags
        )
        for slot, count in enumerate(counts):
            grown = count - self._counts[slot]
            if grown:
                histogram.observe_many(BOUNDS[min(slot, len(BOUNDS) - 1)], grown, tags=tags)
        self._counts = list(counts)

    def _counter(self, name: str, text: str, tags: dict[str, str], by: int) -> None:
        self._metric(Counter, name, text, tags).inc(by, tags=tags)

    def _metric(self, kind: Any, name: str, text: str, tags: dict[str, str]) -> Any:
        metric = self._metrics.get(name)
        if metric is None:
            if kind is Histogram:
                metric = Histogram(name, text, boundaries=list(_LATENCY_MS), tag_keys=tuple(tags))
            else:
                metric = kind(name, text, tag_keys=tuple(tags))
            self._metrics[name] = metric
        return metric
