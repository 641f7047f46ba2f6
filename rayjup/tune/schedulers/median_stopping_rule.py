"""The median stopping rule (Golovin et al., "Google Vizier")."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from rayjup.tune.schedulers.trial_scheduler import (
    FIFOScheduler,
    TrialScheduler,
    check_metric_and_mode,
    check_mode,
    value_of,
)

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial


class MedianStoppingRule(FIFOScheduler):
    """Stops a trial whose best value is worse than the median of the others' averages up to the same time.

    Parameters
    ----------
    time_attr
        The metric that counts time.
    metric, mode
        What is optimized.
    grace_period
        No trial is stopped before.
    min_samples_required
        So many others must have got as far.
    min_time_slice
        A trial runs at least so long before it is looked at again.
    hard_stop
        Whether trials are stopped; else they are paused, and go on when there is nothing better to do.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: int = 0,
        hard_stop: bool = True,
    ) -> None:
        check_mode("MedianStoppingRule", mode)
        self._time_attr = time_attr
        self._metric, self._mode = metric, mode
        self._grace = grace_period
        self._min_samples = min_samples_required
        self._min_slice = min_time_slice
        self._hard_stop = hard_stop
        self._results: dict[str, list[tuple[float, float]]] = {}
        self._stopped: set[str] = set()
        self._last_pause: dict[str, float] = {}
        self._sign: float | None = None

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Check that it is known what is optimized."""
        self._sign = check_metric_and_mode("MedianStoppingRule", self._metric, self._mode)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Stop it if it is below the median."""
        now, score = value_of(result, self._time_attr), value_of(result, self._metric)
        if now is None or score is None:
            return TrialScheduler.CONTINUE
        assert self._sign is not None
        if trial.trial_id in self._stopped:
            return TrialScheduler.STOP if self._hard_stop else TrialScheduler.CONTINUE
        mine = self._results.setdefault(trial.trial_id, [])
        mine.append((now, self._sign * score))
        if now < self._grace:
            return TrialScheduler.CONTINUE
        others = [
            found for other, found in self._results.items() if other != trial.trial_id and found[-1][0] >= now
        ]
        if len(others) < self._min_samples:
            return self._slice(tune_controller, trial, now)
        averages = []
        for found in others:
            # The first reports, before the grace period, say little.
            values = [value for at, value in found if self._grace <= at <= now] or [found[-1][1]]
            averages.append(sum(values) / len(values))
        best = max(value for _, value in mine)
        if best < statistics.median(averages):
            self._stopped.add(trial.trial_id)
            return TrialScheduler.STOP if self._hard_stop else TrialScheduler.PAUSE
        return self._slice(tune_controller, trial, now)

    def _slice(self, tune_controller: TuneController, trial: Trial, now: float) -> str:
        """Let others have their turn, if time slices are asked for."""
        if not self._min_slice or not any(
            tune_controller.has_room(other) is False for other in tune_controller.waiting()
        ):
            return TrialScheduler.CONTINUE
        if now - self._last_pause.get(trial.trial_id, 0.0) <= self._min_slice:
            return TrialScheduler.CONTINUE
        self._last_pause[trial.trial_id] = now
        return TrialScheduler.PAUSE

    def debug_string(self) -> str:
        """How many were stopped."""
        return f"Using MedianStoppingRule: num_stopped={len(self._stopped)}."
