"""Numbers that a program counts and measures (mirrors ``ray.util.metrics``).

A metric is recorded in the process that calls ``inc``, ``set`` or ``observe``;
:func:`prometheus_text` gives all of a process in the format that Prometheus reads, and
:func:`rayjup.observe.metrics_text` all of a cluster.
"""

from __future__ import annotations

import bisect
import re
import threading
import warnings
from typing import Any

from rayjup.engine.runtime.reports import TOPICS
from rayjup.util.metrics_text import Family, render

Number = int | float
_Tags = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

_lock = threading.Lock()
_series: dict[str, _Series] = {}


class _Series:
    """What this process has recorded under one name: objects of the same name share it."""

    def __init__(self, kind: str, description: str, boundaries: tuple[float, ...]) -> None:
        self.kind = kind
        self.description = description
        self.boundaries = boundaries
        self.values: dict[_Tags, float] = {}
        self.buckets: dict[_Tags, list[int]] = {}


class Metric:
    """What counters, gauges and histograms have in common.

    Parameters
    ----------
    name
        Letters, digits, ``_`` and ``:``, without a digit in front.
    description
        What it says.
    tag_keys
        Names of the tags by which values are told apart.
    """

    _KIND = "untyped"

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        self._set_up(name, description, tag_keys, ())

    def _set_up(
        self, name: str, description: str, tag_keys: tuple[str, ...] | None, boundaries: tuple[float, ...]
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name of a metric must be str, got {type(name)}.")
        if not name:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        if tag_keys is not None and not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._name = name
        self._description = description
        self._tag_keys = tag_keys or ()
        self._default_tags: dict[str, str] = {}
        self._discarded = _NAME.fullmatch(name) is None
        if self._discarded:
            warnings.warn(
                f"Invalid metric name: {name}. Metric will be discarded and data will not be collected or "
                "published. Metric names can only contain letters, numbers, _, and :. "
                "Metric names cannot start with numbers.",
                stacklevel=4,
            )
            self._recorded = _Series(self._KIND, description, boundaries)
            return
        TOPICS["metrics"] = lambda runtime, options: _recorded()  # from now on the cluster may ask
        with _lock:
            known = _series.setdefault(name, _Series(self._KIND, description, boundaries))
        if known.kind != self._KIND or known.boundaries != boundaries:
            raise ValueError(
                f"metric {name!r} exists in this process as a {known.kind}"
                f"{f' with boundaries {list(known.boundaries)}' if known.boundaries else ''}: "
                f"give the {self._KIND} another name."
            )
        self._recorded = known

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def set_default_tags(self, default_tags: dict[str, str]) -> Metric:
        """Values of tags for calls that don't give them; the metric itself is returned.

        Raises
        ------
        ValueError
            A tag is not among the metric's ``tag_keys``.
        TypeError
            A value is no string.
        """
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        self._default_tags = dict(default_tags)
        return self

    def _tags(self, given: dict[str, str] | None) -> _Tags:
        """The tags of one value, in the order of ``tag_keys``."""
        for value in (given or {}).values():
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")
        tags = {**self._default_tags, **(given or {})}
        missing = [key for key in self._tag_keys if key not in tags]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple((key, tags[key]) for key in self._tag_keys)

    def __reduce__(self) -> Any:
        return _made_again, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self._tag_keys or None


def _made_again(kind: type[Metric], arguments: tuple[Any, ...], default_tags: dict[str, str]) -> Metric:
    return kind(*arguments).set_default_tags(default_tags)


class Counter(Metric):
    """A number that only grows.

    Examples
    --------
    >>> from rayjup.util.metrics import Counter
    >>> counter = Counter("requests", description="how many", tag_keys=("route",))
    >>> counter.inc(tags={"route": "/"})
    """

    _KIND = "counter"

    def inc(self, value: Number = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add ``value``, which must be above 0."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        key = self._tags(tags)
        with _lock:
            values = self._recorded.values
            values[key] = values.get(key, 0.0) + value


class Gauge(Metric):
    """The last of several values."""

    _KIND = "gauge"

    def set(self, value: Number | None, tags: dict[str, str] | None = None) -> None:
        """Set the value; None changes nothing."""
        if value is None:
            return
        _check_number(value)
        key = self._tags(tags)
        with _lock:
            self._recorded.values[key] = float(value)


class Histogram(Metric):
    """How many values fell between boundaries.

    Parameters
    ----------
    name, description, tag_keys
        As of all metrics.
    boundaries
        Upper limits of the buckets: positive and rising; above the last there is one more.
    """

    _KIND = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        if not boundaries:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. "
                f'e.g., Histogram("{name}", boundaries=[1.0, 2.0])'
            )
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {index}, {boundaries}. "
                    "Use positive values for the arguments."
                )
        self.boundaries = list(boundaries)
        self._set_up(name, description, tag_keys, tuple(sorted(float(b) for b in boundaries)))

    @property
    def info(self) -> dict[str, Any]:
        """As of all metrics, with the boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def observe(self, value: Number, tags: dict[str, str] | None = None) -> None:
        """Count one value."""
        self.observe_many(value, 1, tags)

    def observe_many(self, value: Number, count: int, tags: dict[str, str] | None = None) -> None:
        """Count the same value ``count`` times; beyond Ray's API, for what was counted in classes already."""
        _check_number(value)
        key = self._tags(tags)
        series = self._recorded
        with _lock:
            counts = series.buckets.setdefault(key, [0] * (len(series.boundaries) + 1))
            counts[bisect.bisect_left(series.boundaries, value)] += count
            series.values[key] = series.values.get(key, 0.0) + value * count

    def _arguments(self) -> tuple[Any, ...]:
        return self._name, self._description, self.boundaries, self._tag_keys or None


def prometheus_text(prefix: str = "ray_") -> str:
    """All metrics of this process in Prometheus's text format.

    Parameters
    ----------
    prefix
        In front of all names; Ray has ``ray_`` there.

    Examples
    --------
    >>> from rayjup.util.metrics import Gauge, prometheus_text
    >>> Gauge("temperature", "of the room").set(21.5)
    >>> "ray_temperature 21.5" in prometheus_text()
    True
    """
    families = []
    for name, series in sorted(_recorded().items()):
        family = Family(prefix + name, series["kind"], series["description"])
        family.add_series(series)
        families.append(family)
    return render(families)


def _recorded() -> dict[str, dict[str, Any]]:
    """What this process has recorded, by name, in plain values."""
    with _lock:
        return {
            name: {
                "kind": series.kind,
                "description": series.description,
                "boundaries": series.boundaries,
                "values": dict(series.values),
                "buckets": {tags: list(counts) for tags, counts in series.buckets.items()},
            }
            for name, series in _series.items()
            if series.values
        }


def _check_number(value: Any) -> None:
    if not isinstance(value, (int, float)):
        raise TypeError(f"value must be int or float, got {type(value)}.")
