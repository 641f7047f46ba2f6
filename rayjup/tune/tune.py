"""`tune.run` and `tune.run_experiments`: the older way to run experiments."""

from __future__ import annotations

import datetime
import os
import posixpath
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayjup.runs import registry, storage
from rayjup.runs.config import CheckpointConfig, FailureConfig, SyncConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.storage import StorageContext
from rayjup.tune.analysis.experiment_analysis import ExperimentAnalysis
from rayjup.tune.execution import journal
from rayjup.tune.experiment.experiment import Experiment, convert_to_experiment_list
from rayjup.tune.experiment.trial import Trial
from rayjup.tune.running import PLAN_FILE, Plan, run_plan
from rayjup.tune.schedulers.trial_scheduler import TrialScheduler
from rayjup.tune.tune_config import ResumeConfig, ResumeType
from rayjup.tune.tuner import unwrap


def run(
    run_or_experiment: str | Callable[..., Any] | type | Experiment | Any,
    *,
    name: str | None = None,
    metric: str | None = None,
    mode: str | None = None,
    stop: Any = None,
    time_budget_s: float | datetime.timedelta | None = None,
    config: dict[str, Any] | None = None,
    resources_per_trial: Any = None,
    num_samples: int = 1,
    storage_path: str | None = None,
    storage_filesystem: Any = None,
    search_alg: Any = None,
    scheduler: TrialScheduler | str | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    verbose: Any = None,
    progress_reporter: Any = None,
    log_to_file: Any = False,
    trial_name_creator: Callable[[Trial], str] | None = None,
    trial_dirname_creator: Callable[[Trial], str] | None = None,
    sync_config: SyncConfig | None = None,
    export_formats: Sequence[str] | None = None,
    max_failures: int = 0,
    fail_fast: bool | str = False,
    restore: str | None = None,
    resume: bool | str | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence[Any] | None = None,
    max_concurrent_trials: int | None = None,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_freq: int | None = None,
    checkpoint_at_end: bool | None = None,
    local_dir: str | None = None,
    _remote: bool | None = None,
    **older: Any,
) -> ExperimentAnalysis:
    """Try a trainable with many configurations (older API; see `Tuner`).

    Parameters are those of `Tuner`, `TuneConfig` and `RunConfig` together. ``resume`` goes on with the
    experiment of the same name: True, ``"AUTO"`` (if there is one), ``"AUTO+ERRORED"``,
    ``"AUTO+RESTART_ERRORED"``.

    Examples
    --------
    >>> import rayjup, tempfile
    >>> from rayjup import tune
    >>> _ = rayjup.init(num_cpus=1)
    >>> analysis = tune.run(
    ...     lambda config: {"y": (config["x"] - 2) ** 2},
    ...     config={"x": tune.grid_search([1, 2, 3])},
    ...     metric="y", mode="min", verbose=0, storage_path=tempfile.mkdtemp(),
    ... )
    >>> analysis.best_config
    {'x': 2}
    >>> rayjup.shutdown()
    """
    if older:
        unknown = sorted(set(older) - {"_experiment_checkpoint_dir", "_entrypoint", "_tuner_api"})
        if unknown:
            raise TypeError(f"tune.run() has no argument {unknown[0]!r}")
    if local_dir is not None:
        warnings.warn(
            "tune.run(local_dir=...) is now tune.run(storage_path=...)", DeprecationWarning, stacklevel=2
        )
        storage_path = storage_path or local_dir
    if isinstance(run_or_experiment, Experiment):
        experiment = run_or_experiment
        plan = _plan_of(experiment)
        name = experiment.name
    else:
        trainable, label, wanted, _ = unwrap(run_or_experiment)
        registry.register(registry.TRAINABLE, label, trainable)
        name = name or f"{label}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        if isinstance(checkpoint_config, dict):
            checkpoint_config = CheckpointConfig(**checkpoint_config)
        checkpoints = checkpoint_config or CheckpointConfig()
        for field, value in (
            ("num_to_keep", keep_checkpoints_num),
            ("checkpoint_frequency", checkpoint_freq),
            ("checkpoint_at_end", checkpoint_at_end),
        ):
            if value is not None:
                setattr(checkpoints, field, value)
        if checkpoint_score_attr:
            checkpoints.checkpoint_score_order = "min" if checkpoint_score_attr.startswith("min-") else "max"
            checkpoints.checkpoint_score_attribute = checkpoint_score_attr.removeprefix("min-")
        plan = Plan(
            experiment_args={
                "name": name,
                "run": label,
                "stop": stop,
                "time_budget_s": time_budget_s,
                "config": config,
                "resources_per_trial": resources_per_trial if resources_per_trial is not None else wanted,
                "num_samples": num_samples,
                "storage_path": storage_path,
                "storage_filesystem": storage_filesystem,
                "sync_config": sync_config,
                "checkpoint_config": checkpoints,
                "trial_name_creator": trial_name_creator,
                "trial_dirname_creator": trial_dirname_creator,
                "log_to_file": log_to_file,
                "export_formats": export_formats,
                "max_failures": max_failures,
                "restore": restore,
            }
        )
    plan.metric, plan.mode = metric, mode
    plan.search_alg, plan.scheduler = search_alg, scheduler
    plan.max_concurrent, plan.reuse_actors = max_concurrent_trials, reuse_actors
    plan.callbacks = list(callbacks) if callbacks else None
    plan.failure_config = FailureConfig(max_failures=0 if fail_fast else max_failures, fail_fast=fail_fast)
    plan.sync_config, plan.verbose, plan.progress_reporter = sync_config, verbose, progress_reporter
    analysis = _run_or_resume(plan, resume, resume_config)
    _raise_failures(analysis, raise_on_failed_trial)
    return analysis


def run_experiments(
    experiments: Experiment | Mapping[str, Any] | Sequence[Experiment | Mapping[str, Any]],
    scheduler: TrialScheduler | None = None,
    verbose: Any = None,
    progress_reporter: Any = None,
    resume: bool | str | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool | None = None,
    raise_on_failed_trial: bool = True,
    concurrent: bool = True,
    callbacks: Sequence[Any] | None = None,
    _remote: bool | None = None,
) -> list[Trial]:
    """Run several experiments, each with all of the cluster, and return their trials.

    Examples
    --------
    >>> import rayjup, tempfile
    >>> from rayjup import tune
    >>> _ = rayjup.init(num_cpus=1)
    >>> one = tune.Experiment("one", lambda config: {"y": 1}, storage_path=tempfile.mkdtemp())
    >>> [trial.status for trial in tune.run_experiments(one, verbose=0)]
    ['TERMINATED']
    >>> rayjup.shutdown()
    """
    trials: list[Trial] = []
    for experiment in convert_to_experiment_list(experiments):
        plan = _plan_of(experiment)
        plan.scheduler, plan.verbose, plan.progress_reporter = scheduler, verbose, progress_reporter
        plan.reuse_actors = reuse_actors
        plan.callbacks = list(callbacks) if callbacks else None
        plan.failure_config = FailureConfig(max_failures=experiment.max_failures)
        analysis = _run_or_resume(plan, resume, resume_config)
        _raise_failures(analysis, raise_on_failed_trial)
        trials += analysis.trials
    return trials


def _plan_of(experiment: Experiment) -> Plan:
    place = experiment.storage
    return Plan(
        experiment_args={
            "name": experiment.name,
            "run": experiment.run_identifier,
            "stop": experiment.stop,
            "time_budget_s": experiment.time_budget_s,
            "config": experiment.config,
            "resources_per_trial": experiment.resources_per_trial,
            "num_samples": experiment.num_samples,
            "storage_path": place.storage_fs_path,
            "storage_filesystem": place.storage_filesystem,
            "sync_config": experiment.sync_config,
            "checkpoint_config": experiment.checkpoint_config,
            "trial_name_creator": experiment.trial_name_creator,
            "trial_dirname_creator": experiment.trial_dirname_creator,
            "log_to_file": experiment.log_to_file,
            "export_formats": experiment.export_formats,
            "max_failures": experiment.max_failures,
            "restore": experiment.restore,
        }
    )


def _run_or_resume(plan: Plan, resume: bool | str | None, config: ResumeConfig | None) -> ExperimentAnalysis:
    if not resume:
        return run_plan(plan)[0]
    how = "LOCAL" if resume is True else str(resume).upper()
    kind, _, errored = how.partition("+")
    if kind not in ("AUTO", "LOCAL", "REMOTE", "ERRORED_ONLY", "PROMPT"):
        raise TuneError(
            f"resume is {resume!r}; it must be True, 'AUTO', 'AUTO+ERRORED' or 'AUTO+RESTART_ERRORED'"
        )
    args = plan.experiment_args
    path = args["storage_path"] or storage.default_storage_path()
    place = StorageContext(path, args["name"], args["storage_filesystem"])
    there = storage.exists(place.storage_filesystem, posixpath.join(place.experiment_fs_path, PLAN_FILE))
    if not there or not os.path.exists(os.path.join(place.experiment_local_path, journal.FILE)):
        if kind != "AUTO":
            raise TuneError(
                f"there is no experiment to resume at {place.experiment_fs_path!r}; use resume='AUTO' to "
                f"begin one then"
            )
        return run_plan(plan)[0]
    wanted = config or ResumeConfig(
        unfinished=ResumeType.SKIP if kind == "ERRORED_ONLY" else ResumeType.RESUME,
        errored=ResumeType.RESTART
        if errored == "RESTART_ERRORED"
        else ResumeType.RESUME
        if errored == "ERRORED" or kind == "ERRORED_ONLY"
        else ResumeType.SKIP,
    )
    saved = Plan.load(place)
    # Searcher and scheduler begin as they were given the first time, and are told again what happened.
    plan.search_alg, plan.scheduler = saved.search_alg, saved.scheduler
    kinds = {name: ResumeType(getattr(wanted, name)).value for name in ("finished", "unfinished", "errored")}
    return run_plan(plan, resume=kinds, place=place)[0]


def _raise_failures(analysis: ExperimentAnalysis, wanted: bool) -> None:
    failed = [trial for trial in analysis.trials if trial.status == Trial.ERROR]
    if failed and wanted:
        raise TuneError(
            f"{len(failed)} of {len(analysis.trials)} trials failed: {failed[:10]}. The first one with: "
            f"{failed[0].error}"
        )
