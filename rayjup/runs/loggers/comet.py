"""Comet: one experiment per trial, by its own client."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.runs.loggers.base import LoggerCallback
from rayjup.runs.loggers.json_lines import is_number

_SYSTEM = ("node_ip", "hostname", "pid", "date")
_OTHER = ("trial_id", "experiment_id", "experiment_tag")
_NOT_LOGGED = frozenset({*_SYSTEM, *_OTHER, "done", "should_checkpoint", "config"})


class CometLoggerCallback(LoggerCallback):
    """Logs each trial as a Comet experiment.

    Parameters
    ----------
    online
        Whether they go to the server at once, or into offline archives.
    tags
        Tags of every experiment.
    save_checkpoints
        Whether checkpoints become artifacts.
    **experiment_kwargs
        Given to ``comet_ml.Experiment`` or ``OfflineExperiment``.
    """

    def __init__(
        self,
        online: bool = True,
        tags: list[str] | None = None,
        save_checkpoints: bool = False,
        **experiment_kwargs: Any,
    ) -> None:
        self.online = online
        self.tags = tags or []
        self.save_checkpoints = save_checkpoints
        self.experiment_kwargs = experiment_kwargs
        self._comet: Any = None
        self._experiments: dict[Any, Any] = {}
        self._logged: set[Any] = set()

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Find Comet's client."""
        self._comet = load("comet_ml", "CometLoggerCallback", "comet_ml")

    def log_trial_start(self, trial: Any) -> None:
        """Begin an experiment for the trial."""
        if trial in self._experiments:
            return
        if self._comet is None:
            self.setup()
        kind = self._comet.Experiment if self.online else self._comet.OfflineExperiment
        experiment = kind(**self.experiment_kwargs)
        experiment.set_name(str(trial))
        experiment.add_tags(self.tags)
        experiment.log_other("Created from", "rayjup")
        experiment.log_parameters(flatten(trial.config))
        self._experiments[trial] = experiment

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log the numbers of a result."""
        if trial not in self._experiments:
            self.log_trial_start(trial)
        experiment = self._experiments[trial]
        step = int(result.get("training_iteration") or 0)
        flat = flatten({k: v for k, v in result.items() if k not in _NOT_LOGGED})
        experiment.log_metrics({k: v for k, v in flat.items() if is_number(v)}, step=step)
        if trial not in self._logged:
            self._logged.add(trial)
            experiment.log_others({k: v for k, v in result.items() if k in _OTHER})
            experiment.log_system_info("node", {k: v for k, v in result.items() if k in _SYSTEM})

    def log_trial_save(self, trial: Any) -> None:
        """Log the checkpoint as an artifact, if wanted."""
        checkpoint = trial.checkpoint
        if self.save_checkpoints and checkpoint is not None and trial in self._experiments:
            artifact = self._comet.Artifact(f"checkpoint_{trial.trial_id}", "model")
            with checkpoint.as_directory() as local:
                artifact.add(local)
                self._experiments[trial].log_artifact(artifact)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the experiment."""
        experiment = self._experiments.pop(trial, None)
        self._logged.discard(trial)
        if experiment is not None:
            experiment.end()
