"""Stoppers that end what does not get better any more."""

from __future__ import annotations

import collections
import statistics
from typing import Any

from rayjup.runs.checkpoints import look_up
from rayjup.tune.stopper.basic import Stopper


def _spread(values: Any) -> float:
    return statistics.pstdev(values)


class ExperimentPlateauStopper(Stopper):
    """Ends the experiment when its best trials are all the same.

    Parameters
    ----------
    metric, mode
        What is looked at.
    std
        The standard deviation of the best results below which nothing moves any more.
    top
        So many of the best results are looked at.
    patience
        So many further results are waited for.
    """

    def __init__(
        self, metric: str, std: float = 0.001, top: int = 10, mode: str = "min", patience: int = 0
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; it must be 'min' or 'max'")
        if not isinstance(top, int) or top <= 1:
            raise ValueError(f"top is {top!r}; at least 2 results are needed to compare")
        if not isinstance(patience, int) or patience < 0:
            raise ValueError(f"patience is {patience!r}; it must be 0 or more")
        if not isinstance(std, float) or std <= 0:
            raise ValueError(f"std is {std!r}; it must be a float above 0")
        self._metric = metric
        self._std = std
        self._top = top
        self._mode = mode
        self._patience = patience
        self._iterations = 0
        self._best: list[float] = []

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Look at a result; ends the trial when all end."""
        self._best.append(look_up(result, self._metric))
        self._best = sorted(self._best, reverse=self._mode == "max")[: self._top]
        self._iterations = self._iterations + 1 if self.has_plateaued() else 0
        return self.stop_all()

    def has_plateaued(self) -> bool:
        """Whether the best results are the same."""
        return len(self._best) == self._top and _spread(self._best) <= self._std

    def stop_all(self) -> bool:
        """Whether that has been so for longer than the patience."""
        return self.has_plateaued() and self._iterations >= self._patience


class TrialPlateauStopper(Stopper):
    """Ends each trial whose metric does not move any more.

    Parameters
    ----------
    metric, mode
        What is looked at.
    std
        The standard deviation below which nothing moves.
    num_results
        So many results are compared.
    grace_period
        So many results are waited for.
    metric_threshold
        Only trials beyond it are ended: below for ``"min"``, above for ``"max"``.
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        if metric_threshold is not None and mode not in ("min", "max"):
            raise ValueError(f"with metric_threshold, mode must be 'min' or 'max', not {mode!r}")
        self._metric = metric
        self._std = std
        self._num_results = num_results
        self._grace_period = grace_period
        self._threshold = metric_threshold
        self._mode = mode
        self._iterations: collections.Counter[str] = collections.Counter()
        self._recent: dict[str, collections.deque[float]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial's metric has come to rest."""
        value = look_up(result, self._metric)
        recent = self._recent.setdefault(trial_id, collections.deque(maxlen=self._num_results))
        recent.append(value)
        self._iterations[trial_id] += 1
        if self._iterations[trial_id] < self._grace_period or len(recent) < self._num_results:
            return False
        if self._threshold is not None:
            if self._mode == "min" and value > self._threshold:
                return False
            if self._mode == "max" and value < self._threshold:
                return False
        return _spread(recent) < self._std

    def stop_all(self) -> bool:
        """Never."""
        return False
