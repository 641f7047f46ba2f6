"""Which of a run's checkpoints are kept."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import CheckpointConfig


class Reported(NamedTuple):
    """A checkpoint and the metrics that were reported with it."""

    checkpoint: Checkpoint
    metrics: dict[str, Any]


class CheckpointManager:
    """Keeps the newest checkpoint and the best ``num_to_keep``; has the others removed.

    It decides; ``delete`` acts (by default it removes the directory).

    Examples
    --------
    >>> from rayjup.runs.checkpoint import Checkpoint
    >>> from rayjup.runs.checkpoints import CheckpointManager
    >>> from rayjup.runs.config import CheckpointConfig
    >>> config = CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score")
    >>> manager = CheckpointManager(config, delete=lambda checkpoint: None)
    >>> for number, score in enumerate([1, 3, 2]):
    ...     _ = manager.register(Checkpoint(f"/tmp/c{number}"), {"score": score})
    >>> [reported.metrics["score"] for reported in manager.best()]
    [2, 3]
    """

    def __init__(
        self, config: CheckpointConfig | None = None, delete: Callable[[Checkpoint], None] | None = None
    ) -> None:
        self.config = config or CheckpointConfig()
        self.kept: list[Reported] = []  # oldest first
        self._delete = delete or remove

    @property
    def latest(self) -> Reported | None:
        """The newest one."""
        return self.kept[-1] if self.kept else None

    def register(self, checkpoint: Checkpoint, metrics: Mapping[str, Any]) -> list[Reported]:
        """Take a new checkpoint; remove, and return, those that are kept no longer."""
        self.kept.append(Reported(checkpoint, dict(metrics)))
        keep = self.config.num_to_keep
        if keep is None or len(self.kept) <= keep:
            return []
        newest = self.kept[-1]
        ranked = sorted(self.kept, key=self._score, reverse=True)
        chosen = ranked[:keep]
        if not any(one is newest for one in chosen):
            # A run goes on from its newest checkpoint, so that one stays whatever its score is.
            chosen.append(newest)
        gone = [one for one in self.kept if not any(one is other for other in chosen)]
        self.kept = [one for one in self.kept if any(one is other for other in chosen)]
        for one in gone:
            self._delete(one.checkpoint)
        return gone

    def best(self) -> list[Reported]:
        """All that are kept, the best last (the newest last, without a score attribute)."""
        return sorted(self.kept, key=self._score)

    def _score(self, reported: Reported) -> tuple[bool, float, int]:
        """For sorting: larger is better; without the metric, or with NaN, worse than all; newer wins ties."""
        age = next(i for i, one in enumerate(self.kept) if one is reported)
        name = self.config.checkpoint_score_attribute
        if name is None:
            return (True, 0.0, age)
        value = look_up(reported.metrics, name)
        if not isinstance(value, numbers.Real) or math.isnan(float(value)):
            return (False, 0.0, age)
        sign = 1.0 if self.config.checkpoint_score_order == "max" else -1.0
        return (True, sign * float(value), age)


def remove(checkpoint: Checkpoint) -> None:
    """Delete the checkpoint's directory."""
    storage.delete(checkpoint.filesystem, checkpoint.path)


def look_up(metrics: Mapping[str, Any], name: str) -> Any:
    """The metric ``name``, nested ones as ``a/b``; None when there is none."""
    if name in metrics:
        return metrics[name]
    found: Any = metrics
    for part in name.split("/"):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def flatten(data: Mapping[str, Any], delimiter: str = "/") -> dict[str, Any]:
    """Nested dictionaries as one, with joined keys; empty ones are kept.

    Examples
    --------
    >>> from rayjup.runs.checkpoints import flatten
    >>> flatten({"a": {"b": 1, "c": {}}, "d": 2})
    {'a/b': 1, 'a/c': {}, 'd': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            for inner, found in flatten(value, delimiter).items():
                flat[f"{key}{delimiter}{inner}"] = found
        else:
            flat[str(key)] = value
    return flat


def unflatten(data: Mapping[str, Any], delimiter: str = "/") -> dict[str, Any]:
    """The reverse of `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in data.items():
        *path, last = key.split(delimiter)
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return nested
