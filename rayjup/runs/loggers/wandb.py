"""Weights & Biases: one run per trial, by its own client."""

from __future__ import annotations

import os
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.runs.loggers.base import LoggerCallback
from rayjup.runs.loggers.json_lines import is_number

_NOT_LOGGED = frozenset(
    {
        "config",
        "done",
        "should_checkpoint",
        "trial_id",
        "experiment_tag",
        "date",
        "hostname",
        "node_ip",
        "pid",
    }
)


class WandbLoggerCallback(LoggerCallback):
    """Logs each trial as a run of Weights & Biases.

    Parameters
    ----------
    project, group
        Of Weights & Biases; the experiment's name is the default group.
    api_key_file, api_key
        How it is logged in; ``WANDB_MODE=offline`` needs neither.
    excludes
        Metrics that are not logged.
    log_config
        Whether the parameters are logged with each result, too.
    upload_checkpoints
        Whether checkpoints become artifacts.
    **kwargs
        Given to ``wandb.init``.
    """

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | None = None,
        api_key: str | None = None,
        excludes: list[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        save_checkpoints: bool = False,
        upload_timeout: int = 1800,
        video_kwargs: dict[str, Any] | None = None,
        image_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.project = project
        self.group = group
        self.api_key_file = api_key_file
        self.api_key = api_key
        self.excludes = frozenset(excludes or ())
        self.log_config = log_config
        self.upload_checkpoints = upload_checkpoints or save_checkpoints
        self.upload_timeout = upload_timeout
        self.video_kwargs = video_kwargs or {}
        self.image_kwargs = image_kwargs or {}
        self.kwargs = kwargs
        self._wandb: Any = None
        self._runs: dict[Any, Any] = {}

    def setup(
        self,
        stop: Any = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Log in, if there is a key."""
        self._wandb = load("wandb", "WandbLoggerCallback", "wandb")
        _log_in(self._wandb, self.api_key, self.api_key_file)
        self.group = self.group or os.environ.get("WANDB_GROUP_NAME") or info.get("experiment_name")
        self.project = self.project or os.environ.get("WANDB_PROJECT_NAME")

    def log_trial_start(self, trial: Any) -> None:
        """Begin a run for the trial."""
        if trial in self._runs:
            return
        trial.init_local_path()
        options = {
            "id": trial.trial_id,
            "name": str(trial),
            "resume": "allow",
            "project": self.project,
            "group": self.group,
            "config": _plain(trial.config),
            "dir": trial.local_path,
            "reinit": "create_new",
            **self.kwargs,
        }
        self._runs[trial] = self._wandb.init(**{k: v for k, v in options.items() if v is not None})

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log the numbers of a result, and what Weights & Biases has types of its own for."""
        if trial not in self._runs:
            self.log_trial_start(trial)
        skipped = self.excludes | (frozenset() if self.log_config else _NOT_LOGGED)
        flat = flatten({k: v for k, v in result.items() if k not in skipped})
        media = self._wandb.sdk.data_types.base_types.wb_value.WBValue
        shown = {key: value for key, value in flat.items() if is_number(value) or isinstance(value, media)}
        if self.log_config:
            shown["config"] = _plain(trial.config)
        self._runs[trial].log(shown)

    def log_trial_save(self, trial: Any) -> None:
        """Upload the checkpoint, if wanted."""
        checkpoint = trial.checkpoint
        if self.upload_checkpoints and checkpoint is not None and trial in self._runs:
            artifact = self._wandb.Artifact(name=f"checkpoint_{trial.trial_id}", type="model")
            with checkpoint.as_directory() as local:
                artifact.add_dir(local)
                self._runs[trial].log_artifact(artifact)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the run."""
        run = self._runs.pop(trial, None)
        if run is not None:
            run.finish(exit_code=1 if failed else 0)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """End runs that are still open."""
        for trial in list(self._runs):
            self.log_trial_end(trial)


def _log_in(wandb: Any, api_key: str | None, api_key_file: str | None) -> None:
    if api_key and api_key_file:
        raise ValueError("give either api_key or api_key_file to Weights & Biases, not both")
    if api_key_file:
        with open(os.path.expanduser(api_key_file)) as stream:
            api_key = stream.readline().strip()
    if api_key:
        wandb.login(key=api_key)


def _plain(config: Any) -> Any:
    """Parameters as what JSON can say."""
    if isinstance(config, dict):
        return {str(key): _plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [_plain(value) for value in config]
    return config if isinstance(config, (int, float, str, bool, type(None))) else str(config)


class RunDisabled:
    """In place of a run on workers that are not to log: every attribute and call does nothing."""

    def __getattr__(self, item: str) -> RunDisabled:
        return RunDisabled()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        return None


def setup_wandb(
    config: dict[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | None = None,
    rank_zero_only: bool = True,
    **kwargs: Any,
) -> Any:
    """Begin a run of Weights & Biases inside of a training function, named after the trial, and return it.

    Parameters
    ----------
    config
        Shown as the run's parameters.
    api_key, api_key_file
        How it is logged in.
    rank_zero_only
        Whether the other workers of a training run get a stand-in that does nothing.
    **kwargs
        Given to ``wandb.init``.
    """
    wandb = load("wandb", "setup_wandb()", "wandb")
    run = session.current()
    if rank_zero_only and run is not None and run.world_rank not in (0, None):
        return RunDisabled()
    _log_in(wandb, api_key, api_key_file)
    options: dict[str, Any] = {"config": _plain(config or {}), "reinit": "finish_previous"}
    if run is not None:
        options.update(
            id=run.trial_id, name=run.trial_name, group=run.experiment_name, dir=run.trial_dir, resume="allow"
        )
    options.update(kwargs)
    options.setdefault("project", os.environ.get("WANDB_PROJECT_NAME"))
    made = wandb.init(**{key: value for key, value in options.items() if value is not None})
    if run is not None:
        run.at_end(made.finish)
    return made
