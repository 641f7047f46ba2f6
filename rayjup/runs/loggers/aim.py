"""Aim: one run per trial, by its own client."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.runs.loggers.base import LoggerCallback, parameters_of
from rayjup.runs.loggers.json_lines import is_number


class AimLoggerCallback(LoggerCallback):
    """Logs each trial as an Aim run.

    Parameters
    ----------
    repo
        Aim's repository; the experiment's directory by default.
    experiment_name
        The name of the runs' experiment in Aim.
    metrics
        Which metrics are logged; all by default.
    **aim_run_kwargs
        Given to ``aim.Run``.
    """

    def __init__(
        self,
        repo: Any = None,
        experiment_name: str | None = None,
        metrics: list[str] | None = None,
        **aim_run_kwargs: Any,
    ) -> None:
        self._repo = repo
        self._experiment_name = experiment_name
        self._metrics = metrics
        self._options = aim_run_kwargs
        self._aim: Any = None
        self._runs: dict[Any, Any] = {}

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Find Aim's client."""
        self._aim = load("aim", "AimLoggerCallback", "aim")

    def log_trial_start(self, trial: Any) -> None:
        """Begin a run for the trial."""
        if self._aim is None:
            self.setup()
        if trial in self._runs:
            self._runs[trial].close()
        run = self._aim.Run(
            repo=self._repo or trial.local_experiment_path,
            experiment=self._experiment_name or trial.experiment_dir_name,
            **self._options,
        )
        run["trial_id"] = trial.trial_id
        run["trial_name"] = str(trial)
        run["hparams"] = {k: v if is_number(v) else str(v) for k, v in flatten(parameters_of(trial)).items()}
        self._runs[trial] = run

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log the numbers of a result."""
        if trial not in self._runs:
            self.log_trial_start(trial)
        step = int(result.get("timesteps_total") or result.get("training_iteration") or 0)
        for key, value in flatten({k: v for k, v in result.items() if k != "config"}).items():
            if is_number(value) and (self._metrics is None or key in self._metrics):
                self._runs[trial].track(float(value), name=key, step=step, context={"subset": "train"})

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the run."""
        run = self._runs.pop(trial, None)
        if run is not None:
            run.close()
