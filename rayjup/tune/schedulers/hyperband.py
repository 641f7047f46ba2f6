"""HyperBand (Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization")."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rayjup.runs.errors import TuneError
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


class Bracket:
    """Successive halving of one bracket: so many trials, each up to the rung; then the best of them further.

    Parameters
    ----------
    size
        Trials that it takes.
    first
        The first rung.
    max_t, factor
        As of the scheduler.
    """

    def __init__(self, size: int, first: float, max_t: float, factor: float, halvings: int) -> None:
        self.size = size
        self.rung = first
        self.max_t = max_t
        self.factor = factor
        self.halvings = halvings
        self.scores: dict[str, float | None] = {}  # of the living, None until the rung is reached
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Whether no more trials are taken."""
        return self.taken >= self.size

    def take(self, trial_id: str) -> None:
        """One more trial."""
        self.taken += 1
        self.scores[trial_id] = None

    def all_there(self) -> bool:
        """Whether all living trials have come to the rung."""
        return bool(self.scores) and all(score is not None for score in self.scores.values())

    def halve(self) -> tuple[list[str], list[str]]:
        """The trials that go on, and those that don't; the next rung is set."""
        ranked = sorted(self.scores, key=lambda trial_id: self.scores[trial_id] or 0.0, reverse=True)
        keep = max(1, math.ceil(len(ranked) / self.factor))
        if self.halvings <= 0 or self.rung >= self.max_t:
            keep = 0
        good, bad = ranked[:keep], ranked[keep:]
        self.rung = min(self.max_t, self.rung * self.factor)
        self.halvings -= 1
        self.scores = dict.fromkeys(good)
        return good, bad

    def describe(self) -> str:
        """One line."""
        there = sum(score is not None for score in self.scores.values())
        return f"Bracket(size={self.size}, rung={self.rung:.0f}, living={len(self.scores)}, there={there})"


class HyperBandScheduler(FIFOScheduler):
    """Runs brackets of trials side by side; in each, trials wait for each other at rungs, and the best go on.

    Trainables must be able to save and restore. `ASHAScheduler` does the same without waiting, which is
    faster.

    Parameters
    ----------
    time_attr
        The metric that counts time.
    metric, mode
        What is optimized.
    max_t
        No trial runs longer; a bracket with ``max_t=81`` and factor 3 has rungs at 1, 3, 9, 27 and 81.
    reduction_factor
        One of so many goes on at each rung.
    stop_last_trials
        Whether trials are stopped at ``max_t``.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: int = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
    ) -> None:
        if max_t <= 0:
            raise ValueError(f"{type(self).__name__}: max_t is {max_t}; it must be above 0")
        check_mode(type(self).__name__, mode)
        self._factor = reduction_factor
        self._max_t = max_t
        self._time_attr = time_attr
        self._metric, self._mode = metric, mode
        self._stop_last = stop_last_trials
        # log() alone is just below a whole number for exact powers.
        self._s_max = int(math.log(max_t) / math.log(reduction_factor) + 1e-9)
        self._next_s = self._s_max
        self._brackets: list[Bracket] = []
        self._bracket_of: dict[str, Bracket] = {}
        self._stopped = 0
        self._sign: float | None = None

    def _new_bracket(self) -> Bracket:
        s = self._next_s
        self._next_s = s - 1 if s > 0 else self._s_max
        size = math.ceil((self._s_max + 1) / (s + 1) * self._factor**s)
        first = max(1.0, self._max_t * self._factor**-s)
        bracket = Bracket(int(size), first, self._max_t, self._factor, s)
        self._brackets.append(bracket)
        return bracket

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Put it into the bracket that is filled now."""
        self._sign = check_metric_and_mode(type(self).__name__, self._metric, self._mode)
        bracket = (
            self._brackets[-1] if self._brackets and not self._brackets[-1].is_full else self._new_bracket()
        )
        bracket.take(trial.trial_id)
        self._bracket_of[trial.trial_id] = bracket

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Pause it at its rung; when all are there, halve."""
        bracket = self._bracket_of[trial.trial_id]
        now, score = value_of(result, self._time_attr), value_of(result, self._metric)
        if now is None or score is None:
            raise TuneError(
                f"{type(self).__name__} needs {self._time_attr!r} and {self._metric!r} in every result"
            )
        if now < bracket.rung:
            return TrialScheduler.CONTINUE
        assert self._sign is not None
        bracket.scores[trial.trial_id] = self._sign * score
        return self._at_rung(tune_controller, bracket, trial)

    def _at_rung(self, tune_controller: TuneController, bracket: Bracket, trial: Trial | None) -> str:
        """A trial has come to the rung, or left the bracket."""
        if not bracket.all_there() or not self._is_closed(tune_controller, bracket):
            return TrialScheduler.PAUSE
        good, bad = bracket.halve()
        decision = TrialScheduler.PAUSE
        for trial_id in bad:
            self._stopped += 1
            other = tune_controller.get_trial(trial_id)
            if trial is not None and trial_id == trial.trial_id:
                decision = TrialScheduler.STOP if self._stop_last or good else TrialScheduler.CONTINUE
            elif other is not None and not other.is_finished():
                tune_controller.stop_trial(other)
        for trial_id in good:
            other = tune_controller.get_trial(trial_id)
            if trial is not None and trial_id == trial.trial_id:
                decision = TrialScheduler.CONTINUE
            elif other is not None:
                tune_controller.unpause_trial(other)
        return decision

    def _is_closed(self, tune_controller: TuneController, bracket: Bracket) -> bool:
        """Whether no further trial will come to it."""
        return bracket.is_full or tune_controller.search_alg.is_finished()

    def _leave(self, tune_controller: TuneController, trial: Trial) -> None:
        bracket = self._bracket_of.pop(trial.trial_id, None)
        if bracket is None or trial.trial_id not in bracket.scores:
            return
        del bracket.scores[trial.trial_id]
        if bracket.scores and bracket.all_there():
            self._at_rung(tune_controller, bracket, None)

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """It is over: the others do not wait for it."""
        self._leave(tune_controller, trial)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """As `on_trial_complete`."""
        self._leave(tune_controller, trial)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """As `on_trial_complete`."""
        self._leave(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """One that waits; paused ones wait for their bracket, unless that gets no more trials."""
        for trial in tune_controller.waiting():
            if tune_controller.has_room(trial):
                return trial
        for bracket in self._brackets:
            if bracket.scores and bracket.all_there() and self._is_closed(tune_controller, bracket):
                self._at_rung(tune_controller, bracket, None)
                for trial in tune_controller.waiting():
                    if tune_controller.has_room(trial):
                        return trial
        return None

    def state(self) -> dict[str, int]:
        """How many brackets there are, and how many trials were stopped."""
        return {
            "num_brackets": len(self._brackets),
            "num_stopped": self._stopped,
        }

    def debug_string(self) -> str:
        """One line per bracket."""
        lines = "\n  ".join(bracket.describe() for bracket in self._brackets)
        return f"Using HyperBand: num_stopped={self._stopped} total_brackets={len(self._brackets)}\n  {lines}"
