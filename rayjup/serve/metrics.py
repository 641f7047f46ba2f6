"""Metrics of a deployment's own, tagged with where they come from (mirrors ``ray.serve.metrics``)."""

from __future__ import annotations

from typing import Any

from rayjup.serve.context import current_replica
from rayjup.util import metrics

__all__ = ["Counter", "Gauge", "Histogram"]

_OWN = ("deployment", "replica", "application")


def _keys(given: Any) -> tuple[str, ...]:
    keys = tuple(given or ())
    if current_replica() is None:
        return keys
    return keys + tuple(key for key in _OWN if key not in keys)


def _with_own(metric: metrics.Metric, given: dict[str, str]) -> dict[str, str]:
    replica = current_replica()
    if replica is None:
        return given
    own = {
        "deployment": replica.deployment,
        "replica": replica.replica_tag,
        "application": replica.app_name,
    }
    return {**own, **given}


class Counter(metrics.Counter):
    """A number that only grows; in a replica its tags say which."""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        super().__init__(name, description, _keys(tag_keys))
        self.set_default_tags({})

    def set_default_tags(self, default_tags: dict[str, str]) -> metrics.Metric:
        """Tags of values that are given without them; the replica's own are added."""
        return super().set_default_tags(_with_own(self, default_tags))

    def inc(self, value: int | float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add ``value``, which must be above 0."""
        super().inc(value, tags)


class Gauge(metrics.Gauge):
    """The last of several values; in a replica its tags say which."""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        super().__init__(name, description, _keys(tag_keys))
        self.set_default_tags({})

    def set_default_tags(self, default_tags: dict[str, str]) -> metrics.Metric:
        """Tags of values that are given without them; the replica's own are added."""
        return super().set_default_tags(_with_own(self, default_tags))

    def set(self, value: int | float | None, tags: dict[str, str] | None = None) -> None:
        """Set the value."""
        super().set(value, tags)


class Histogram(metrics.Histogram):
    """How many values fell between boundaries; in a replica its tags say which."""

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(name, description, boundaries, _keys(tag_keys))
        self.set_default_tags({})

    def set_default_tags(self, default_tags: dict[str, str]) -> metrics.Metric:
        """Tags of values that are given without them; the replica's own are added."""
        return super().set_default_tags(_with_own(self, default_tags))

    def observe(self, value: int | float, tags: dict[str, str] | None = None) -> None:
        """Count one value."""
        super().observe(value, tags)
