"""How many replicas are wanted (mirrors ``ray.serve.autoscaling_policy``)."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rayjup.serve._private.scaling import AutoscalingContext, wanted_by_load

__all__ = [
    "PrometheusQueryMixin",
    "PrometheusSample",
    "PrometheusScalar",
    "PrometheusVector",
    "default_autoscaling_policy",
    "replica_queue_length_autoscaling_policy",
]


def replica_queue_length_autoscaling_policy(ctx: AutoscalingContext) -> tuple[int | float, dict[str, Any]]:
    """As many replicas as bring each to its ``target_ongoing_requests``; the usual policy."""
    return wanted_by_load(ctx)


default_autoscaling_policy = replica_queue_length_autoscaling_policy


@dataclass(frozen=True)
class PrometheusScalar:
    """A number that a query of Prometheus gives."""

    value: float
    timestamp: float


@dataclass(frozen=True)
class PrometheusSample:
    """One element of a vector: its labels and its value."""

    labels: Mapping[str, str]
    value: float
    timestamp: float


@dataclass(frozen=True)
class PrometheusVector:
    """The vector that a query of Prometheus gives."""

    samples: tuple[PrometheusSample, ...]


class PrometheusQueryMixin:
    """For policies that look at numbers in Prometheus: a thread asks, reading never waits.

    Parameters
    ----------
    prometheus_address
        Where Prometheus is; by default what ``RAY_PROMETHEUS_HOST`` says.
    prometheus_queries
        Queries in PromQL.
    fetch_interval_s
        Pause between two rounds.
    cache_ttl_s
        Answers older than that count as none.
    """

    def __init__(
        self,
        *,
        prometheus_address: str | None = None,
        prometheus_queries: list[str] | None = None,
        fetch_interval_s: float = 5.0,
        cache_ttl_s: float = 15.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._address = prometheus_address or os.environ.get("RAY_PROMETHEUS_HOST")
        self._queries = list(prometheus_queries or ())
        self._interval_s = fetch_interval_s
        self._ttl_s = cache_ttl_s
        self._results: dict[str, PrometheusScalar | PrometheusVector] = {}
        self._fetched = 0.0
        self._asking = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_asking": False, "_results": {}, "_fetched": 0.0}

    @property
    def prometheus_results(self) -> dict[str, PrometheusScalar | PrometheusVector] | None:
        """Answers by query; None while there are no fresh ones."""
        if not self._address:
            return None
        if not self._asking:
            self._asking = True
            threading.Thread(target=self._ask, name="rayjup-serve-prometheus", daemon=True).start()
        if time.monotonic() - self._fetched > self._ttl_s or not self._fetched:
            return None
        return dict(self._results)

    @property
    def prometheus_metrics(self) -> dict[str, float] | None:
        """The answers that are one number each."""
        results = self.prometheus_results
        if results is None:
            return None
        found = {}
        for query, result in results.items():
            if isinstance(result, PrometheusScalar):
                found[query] = result.value
            elif len(result.samples) == 1:
                found[query] = result.samples[0].value
        return found

    def _ask(self) -> None:
        while True:
            try:
                results = {query: self._one(query) for query in self._queries}
            except (OSError, ValueError, KeyError):
                pass  # not to be reached: what is known gets old
            else:
                self._results, self._fetched = results, time.monotonic()
            time.sleep(self._interval_s)

    def _one(self, query: str) -> PrometheusScalar | PrometheusVector:
        address = str(self._address).rstrip("/")
        url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"the address of Prometheus must begin with http:// or https://, got {address!r}"
            )
        headers = json.loads(os.environ.get("RAY_PROMETHEUS_HEADERS", "{}"))
        request = urllib.request.Request(url, headers=headers if isinstance(headers, dict) else dict(headers))
        with urllib.request.urlopen(request, timeout=5) as answer:
            data = json.load(answer)["data"]
        if data["resultType"] == "scalar":
            moment, value = data["result"]
            return PrometheusScalar(float(value), float(moment))
        return PrometheusVector(
            tuple(
                PrometheusSample(one["metric"], float(one["value"][1]), float(one["value"][0]))
                for one in data["result"]
            )
        )
