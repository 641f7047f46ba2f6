"""ASHA: successive halving that never waits (Li et al., "A System for Massively Parallel Hyperparameter
Tuning")."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

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

logger = logging.getLogger(__name__)


class AsyncHyperBandScheduler(FIFOScheduler):
    """Stops a trial that comes to a rung and is not among the best that came there before.

    Parameters
    ----------
    time_attr
        The metric that counts time, such as ``training_iteration``.
    metric, mode
        What is optimized; those of the TuneConfig by default.
    max_t
        Trials are stopped after so much time.
    grace_period
        The first rung; no trial is stopped before.
    reduction_factor
        One of so many goes on at each rung, and the next rung comes after so many times as long.
    brackets
        Number of brackets; each begins its rungs later than the one before.
    stop_last_trials
        Whether trials are stopped at ``max_t``.

    Examples
    --------
    >>> from rayjup.tune.schedulers import ASHAScheduler
    >>> ASHAScheduler(max_t=16, grace_period=1, reduction_factor=4).rungs()
    [[1, 4]]
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: int = 100,
        grace_period: int = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
    ) -> None:
        if max_t <= 0:
            raise ValueError(f"ASHAScheduler: max_t is {max_t}; it must be above 0")
        if not 0 < grace_period <= max_t:
            raise ValueError(
                f"ASHAScheduler: grace_period is {grace_period}; it must be in (0, max_t={max_t}]"
            )
        if reduction_factor <= 1:
            raise ValueError(f"ASHAScheduler: reduction_factor is {reduction_factor}; it must be above 1")
        if brackets <= 0:
            raise ValueError(f"ASHAScheduler: brackets is {brackets}; it must be above 0")
        check_mode("ASHAScheduler", mode)
        self._factor = reduction_factor
        self._max_t = max_t
        self._time_attr = time_attr
        self._metric, self._mode = metric, mode
        self._stop_last = stop_last_trials
        self._brackets = [_Bracket(grace_period, max_t, reduction_factor, s) for s in range(brackets)]
        self._bracket_of: dict[str, _Bracket] = {}
        self._random = np.random.default_rng(0)
        self._sign: float | None = None
        self._stopped = 0

    def rungs(self) -> list[list[int]]:
        """The times at which each bracket stops trials."""
        return [sorted(int(rung) for rung in bracket.rungs) for bracket in self._brackets]

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Assign it to a bracket: more of them to those that begin early."""
        self._sign = check_metric_and_mode("ASHAScheduler", self._metric, self._mode)
        sizes = np.array([len(bracket.rungs) for bracket in self._brackets], dtype=float)
        weights = np.exp(sizes - sizes.max())
        choice = self._random.choice(len(self._brackets), p=weights / weights.sum())
        self._bracket_of[trial.trial_id] = self._brackets[int(choice)]

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Stop it if it is not good enough for its rung."""
        now, score = value_of(result, self._time_attr), value_of(result, self._metric)
        if now is None or score is None:
            return TrialScheduler.CONTINUE
        assert self._sign is not None
        bracket = self._bracket_of[trial.trial_id]
        if now >= self._max_t and self._stop_last:
            bracket.enter(trial.trial_id, now, self._sign * score)
            self._stopped += 1
            return TrialScheduler.STOP
        if bracket.enter(trial.trial_id, now, self._sign * score):
            return TrialScheduler.CONTINUE
        self._stopped += 1
        return TrialScheduler.STOP

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Count its last value for the rungs."""
        now, score = value_of(result, self._time_attr), value_of(result, self._metric)
        bracket = self._bracket_of.pop(trial.trial_id, None)
        if bracket is not None and now is not None and score is not None and self._sign is not None:
            bracket.enter(trial.trial_id, now, self._sign * score)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """Forget it."""
        self._bracket_of.pop(trial.trial_id, None)

    def debug_string(self) -> str:
        """One line per bracket."""
        lines = "\n".join(bracket.describe() for bracket in self._brackets)
        return f"Using AsyncHyperBand: num_stopped={self._stopped}\n{lines}"


class _Bracket:
    """Rungs, and the scores of the trials that have come to each."""

    def __init__(self, first: float, max_t: float, factor: float, skip: int) -> None:
        self._factor = factor
        self.rungs: dict[float, dict[str, float]] = {}
        rung = first * factor**skip
        while rung < max_t:
            self.rungs[int(rung) if float(rung).is_integer() else rung] = {}
            rung *= factor

    def cutoff(self, scores: dict[str, float]) -> float | None:
        """What a trial has to reach; None while too few have come."""
        if len(scores) < 1:
            return None
        return float(np.nanpercentile(list(scores.values()), (1 - 1 / self._factor) * 100))

    def enter(self, trial_id: str, now: float, score: float) -> bool:
        """A trial has a score at a time; whether it goes on."""
        for rung in sorted(self.rungs, reverse=True):
            scores = self.rungs[rung]
            if now < rung or trial_id in scores:
                continue
            cutoff = self.cutoff(scores)
            scores[trial_id] = score
            # The first ones of a rung have nobody to be compared with.
            return cutoff is None or score >= cutoff
        return True

    def describe(self) -> str:
        parts = []
        for rung in sorted(self.rungs, reverse=True):
            cutoff = self.cutoff(self.rungs[rung])
            parts.append(f"Iter {rung:.3f}: {cutoff}")
        return "Bracket: " + " | ".join(parts)


ASHAScheduler = AsyncHyperBandScheduler
