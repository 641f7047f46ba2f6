"""MLflow: one run per trial, by MLflow's own client."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.runs.loggers.base import LoggerCallback, parameters_of
from rayjup.runs.loggers.json_lines import is_number

_MAX_PARAM = 6000  # MLflow refuses longer values


class MLflowLoggerCallback(LoggerCallback):
    """Logs parameters, metrics and (on request) files of each trial to an MLflow server or directory.

    Parameters
    ----------
    tracking_uri, registry_uri
        Where MLflow keeps runs and models.
    experiment_name
        The MLflow experiment, made if needed; the name of the Tune experiment by default.
    tags
        Tags of every run.
    tracking_token
        Token of the server.
    save_artifact
        Whether the trial's directory is uploaded at its end.
    log_params_on_trial_end
        Whether parameters are logged at the end of the trial instead of the start.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: dict[str, Any] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri
        self.experiment_name = experiment_name
        self.tags = tags
        self.tracking_token = tracking_token
        self.should_save_artifact = save_artifact
        self.log_params_on_trial_end = log_params_on_trial_end
        self._client: Any = None
        self._experiment_id: str | None = None
        self._runs: dict[Any, str] = {}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Find or make the MLflow experiment."""
        load("mlflow", "MLflowLoggerCallback", "mlflow")
        from mlflow.tracking import MlflowClient

        if self.tracking_token:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self.tracking_token
        self._client = MlflowClient(self.tracking_uri, self.registry_uri)
        name = (
            self.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or kwargs.get("experiment_name")
        )
        self._experiment_id = _experiment(self._client, name or "Default", create=True)

    def log_trial_start(self, trial: Any) -> None:
        """Begin a run for the trial."""
        if trial not in self._runs:
            tags = {**(self.tags or {}), "trial_name": str(trial), "mlflow.runName": str(trial)}
            run = self._client.create_run(experiment_id=self._experiment_id, tags=tags)
            self._runs[trial] = run.info.run_id
            if not self.log_params_on_trial_end:
                self._log_params(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Log the numbers of a result."""
        from mlflow.entities import Metric

        if trial not in self._runs:
            self.log_trial_start(trial)
        step = int(result.get("timesteps_total") or result.get("training_iteration") or 0)
        at = int(result.get("timestamp", 0)) * 1000
        metrics = [
            Metric(key, float(value), at, step)
            for key, value in flatten({k: v for k, v in result.items() if k != "config"}).items()
            if is_number(value) and not isinstance(value, bool)
        ]
        self._client.log_batch(self._runs[trial], metrics=metrics)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """End the run."""
        run = self._runs.get(trial)
        if run is None:
            return
        if self.log_params_on_trial_end:
            self._log_params(trial)
        if self.should_save_artifact:
            self._client.log_artifacts(run, local_dir=trial.local_path)
        self._client.set_terminated(run, status="FAILED" if failed else "FINISHED")

    def get_state(self) -> dict[str, Any]:
        """Which run belongs to which trial."""
        return {
            "runs": {trial.trial_id: run for trial, run in self._runs.items() if hasattr(trial, "trial_id")}
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Nothing is taken over: a trial that goes on gets a run of its own."""

    def _log_params(self, trial: Any) -> None:
        from mlflow.entities import Param

        params = flatten(parameters_of(trial))
        self._client.log_batch(
            self._runs[trial], params=[Param(key, str(value)[:_MAX_PARAM]) for key, value in params.items()]
        )


def _experiment(client: Any, name: str, *, create: bool, artifact_location: str | None = None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        known: str = found.experiment_id
        return known
    if not create:
        raise ValueError(
            f"MLflow has no experiment {name!r}; pass create_experiment_if_not_exists=True to make it"
        )
    made: str = client.create_experiment(name, artifact_location=artifact_location)
    return made


class _NoopModule:
    """In place of MLflow on workers that are not to log: every attribute and call does nothing."""

    def __getattr__(self, item: str) -> _NoopModule:
        return _NoopModule()

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        return None


def setup_mlflow(
    config: dict[str, Any] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = False,
    tags: dict[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> ModuleType | _NoopModule:
    """Begin an MLflow run inside of a training function and return the ``mlflow`` module.

    Parameters
    ----------
    config
        Logged as parameters.
    experiment_id, experiment_name
        The MLflow experiment; environment variables are used when neither is given.
    run_name
        The name of the trial by default.
    create_experiment_if_not_exists
        Whether a missing experiment is made.
    rank_zero_only
        Whether the other workers of a training run get a stand-in that does nothing.
    """
    mlflow: ModuleType = load("mlflow", "setup_mlflow()", "mlflow")
    run = session.current()
    if rank_zero_only and run is not None and run.world_rank not in (0, None):
        return _NoopModule()
    from mlflow.tracking import MlflowClient

    if tracking_token:
        os.environ["MLFLOW_TRACKING_TOKEN"] = tracking_token
    if tracking_uri:
        mlflow.set_tracking_uri(tracking_uri)
    if registry_uri:
        mlflow.set_registry_uri(registry_uri)
    client = MlflowClient(tracking_uri, registry_uri)
    experiment_id = experiment_id or os.environ.get("MLFLOW_EXPERIMENT_ID")
    name = experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
    if experiment_id is None:
        if name is None:
            name = run.experiment_name if run is not None else None
        if name is None:
            raise ValueError("setup_mlflow() needs an experiment_name or an experiment_id")
        experiment_id = _experiment(
            client, name, create=create_experiment_if_not_exists, artifact_location=artifact_location
        )
    shown = dict(tags or {})
    if run is not None and run.trial_id:
        shown.setdefault("trial_id", run.trial_id)
    mlflow.end_run()  # one that an earlier trial of this process has left open
    mlflow.start_run(
        experiment_id=experiment_id,
        run_name=run_name or (run.trial_name if run is not None else None),
        tags=shown or None,
    )
    if run is not None:
        run.at_end(mlflow.end_run)
    if config:
        params = {key: str(value)[:_MAX_PARAM] for key, value in flatten(config).items()}
        mlflow.log_params(params)
    return mlflow
