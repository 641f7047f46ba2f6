"""`TrialScheduler`: who decides, result by result, what becomes of a trial; and the one that decides
nothing."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from rayjup.runs.checkpoints import look_up
from rayjup.runs.errors import must_define

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial


class TrialScheduler:
    """Decides what becomes of trials.

    `on_trial_result` returns one of ``CONTINUE``, ``PAUSE``, ``STOP`` and ``NOOP`` (something was done
    already).
    """

    CONTINUE = "CONTINUE"
    PAUSE = "PAUSE"
    STOP = "STOP"
    NOOP = "NOOP"

    _metric: str | None = None
    _mode: str | None = None
    _supports_buffered_results = True

    @property
    def metric(self) -> str | None:
        """What is optimized."""
        return self._metric

    @property
    def supports_buffered_results(self) -> bool:
        """Whether trials may run on before their results are looked at."""
        return self._supports_buffered_results

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from the Tuner; False if there are others already."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        if metric:
            self._metric = metric
        if mode:
            self._mode = mode
        return True

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """A trial was made."""
        raise must_define(self, "on_trial_add")

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """A trial has failed for good."""
        raise must_define(self, "on_trial_error")

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """A trial has reported; what becomes of it."""
        raise must_define(self, "on_trial_result")

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """A trial has ended."""
        raise must_define(self, "on_trial_complete")

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """A trial that waited or was paused has been ended."""
        raise must_define(self, "on_trial_remove")

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """Which of the waiting and paused trials runs next; None: none now."""
        raise must_define(self, "choose_trial_to_run")

    def debug_string(self) -> str:
        """One line about its state."""
        return f"Using {type(self).__name__} scheduling algorithm."

    def save(self, checkpoint_path: str) -> None:
        """Write its state to a file."""
        import cloudpickle

        with open(checkpoint_path, "wb") as stream:
            cloudpickle.dump(self, stream)

    def restore(self, checkpoint_path: str) -> None:
        """Read its state from a file."""
        with open(checkpoint_path, "rb") as stream:
            self.__dict__.update(pickle.load(stream).__dict__)


class FIFOScheduler(TrialScheduler):
    """Runs trials in the order they were made, to their end; the base of most schedulers.

    Examples
    --------
    >>> from rayjup.tune.schedulers import FIFOScheduler
    >>> FIFOScheduler().debug_string()
    'Using FIFO scheduling algorithm.'
    """

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Nothing to do."""

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Nothing to do."""

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Go on."""
        return TrialScheduler.CONTINUE

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Nothing to do."""

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """Nothing to do."""

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The first that waits and for which there is room; paused ones come last."""
        return tune_controller.first_waiting()

    def debug_string(self) -> str:
        """One line about its state."""
        name = type(self).__name__
        return "Using FIFO scheduling algorithm." if name == "FIFOScheduler" else f"Using {name}."


def check_metric_and_mode(name: str, metric: str | None, mode: str | None) -> float:
    """1 for ``"max"``, -1 for ``"min"``; raises when something is missing."""
    if not metric or mode not in ("min", "max"):
        raise ValueError(
            f"{name} has not been told what to optimize (metric={metric!r}, mode={mode!r}): give both to "
            f"TuneConfig(metric=..., mode=...), or to {name}"
        )
    return 1.0 if mode == "max" else -1.0


def check_mode(name: str, mode: str | None) -> None:
    """Raise if it is no mode."""
    if mode not in (None, "min", "max"):
        raise ValueError(f"{name}: mode is {mode!r}; it must be 'min' or 'max'")


def value_of(result: dict[str, Any], metric: str | None) -> Any:
    """The metric of a result."""
    return look_up(result, metric or "")
