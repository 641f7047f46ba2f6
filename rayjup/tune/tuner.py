"""`Tuner`: runs experiments, and goes on with those that were interrupted."""

from __future__ import annotations

import copy
import os
import posixpath
import time
from collections.abc import Callable
from typing import Any

from rayjup.runs import registry, storage
from rayjup.runs.config import RunConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.function_trainable import function_name
from rayjup.runs.storage import StorageContext
from rayjup.runs.trainers import TunableTrainer, run_config_of
from rayjup.tune.analysis.experiment_analysis import ExperimentAnalysis
from rayjup.tune.experiment.experiment import Experiment
from rayjup.tune.result_grid import ResultGrid
from rayjup.tune.running import PLAN_FILE, Plan, run_plan
from rayjup.tune.tune_config import ResumeConfig, ResumeType, TuneConfig


class Tuner:
    """Tries a trainable with many configurations.

    Parameters
    ----------
    trainable
        A function of the trial's config, a `Trainable` class, a trainer, or a registered name.
    param_space
        The search space: values, ``tune.uniform(…)`` and the like, ``tune.grid_search([…])``, nested as you
        like.
    tune_config
        How it is searched.
    run_config
        Where results are kept, when trials stop, what happens after failures.

    Examples
    --------
    >>> import rayjup, tempfile
    >>> from rayjup import tune
    >>> _ = rayjup.init(num_cpus=2)
    >>> def objective(config):
    ...     return {"score": config["a"] ** 2 + config["b"]}
    >>> tuner = tune.Tuner(
    ...     objective,
    ...     param_space={"a": tune.grid_search([0.5, 1.0]), "b": tune.choice([1, 1])},
    ...     run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0),
    ... )
    >>> results = tuner.fit()
    >>> results.get_best_result(metric="score", mode="min").config["a"]
    0.5
    >>> rayjup.shutdown()
    """

    def __init__(
        self,
        trainable: str | Callable[..., Any] | type | TunableTrainer | None = None,
        *,
        param_space: dict[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        _tuner_kwargs: dict[str, Any] | None = None,
        _tuner_internal: Any = None,
        _entrypoint: Any = None,
    ) -> None:
        if trainable is None:
            raise TuneError("Tuner needs a trainable: a function, a class, a trainer or a registered name")
        if tune_config is not None and not isinstance(tune_config, TuneConfig):
            raise TypeError(f"tune_config must be a tune.TuneConfig, not {tune_config!r}")
        self._trainable, self._name, self._resources, found = unwrap(trainable)
        # Data sets are read by tasks of their own: trials must not take all CPUs from them.
        self._spare = {"CPU": 1.0} if getattr(trainable, "datasets", None) else None
        self._param_space = _as_space(param_space)
        self._tune_config = tune_config or TuneConfig()
        self._run_config = copy.copy(run_config or found or RunConfig())
        self._options = _tuner_kwargs or {}
        self._results: ResultGrid | None = None
        self._resume: dict[str, str] | None = None
        self._place: StorageContext | None = None
        self._plan: Plan | None = None

    def fit(self) -> ResultGrid:
        """Run the experiment (or what is left of a restored one), and give its results.

        An interrupt (Ctrl-C, the notebook's stop button) ends it cleanly: what is there so far comes back.
        """
        plan = self._plan or self._make_plan()
        registry.register(registry.TRAINABLE, self._name, self._trainable)
        analysis, _ = run_plan(plan, resume=self._resume, place=self._place)
        self._results = ResultGrid(analysis)
        return self._results

    def get_results(self) -> ResultGrid:
        """The results of `fit`, or those found in the directory of a restored experiment."""
        if self._results is not None:
            return self._results
        if self._place is None:
            raise RuntimeError(
                "there are no results yet: call fit() first, or Tuner.restore(path, trainable)"
            )
        plan = self._plan
        assert plan is not None
        return ResultGrid(
            ExperimentAnalysis(
                self._place.experiment_fs_path,
                storage_filesystem=self._place.storage_filesystem,
                default_metric=plan.metric,
                default_mode=plan.mode,
            )
        )

    @classmethod
    def restore(
        cls,
        path: str,
        trainable: str | Callable[..., Any] | type | TunableTrainer,
        resume_unfinished: bool = True,
        resume_errored: bool = False,
        restart_errored: bool = False,
        param_space: dict[str, Any] | None = None,
        storage_filesystem: Any = None,
        _resume_config: ResumeConfig | None = None,
    ) -> Tuner:
        """A Tuner whose `fit` goes on with an experiment that was interrupted.

        Search and scheduler go on with all they had learnt. The directory may have been moved.

        Parameters
        ----------
        path
            The experiment's directory.
        trainable
            The same as before.
        resume_unfinished
            Whether unfinished trials go on from their last checkpoints; else they stay as they are.
        resume_errored, restart_errored
            Whether failed trials go on from their last checkpoints, or begin anew.
        param_space
            The same as before; needed only where it holds things that do not outlive the cluster.
        storage_filesystem
            Filesystem on which ``path`` is a path.
        """
        if resume_errored and restart_errored:
            raise ValueError("give resume_errored or restart_errored, not both")
        filesystem, on_it = storage.resolve(path, storage_filesystem)
        place = StorageContext(posixpath.dirname(on_it), posixpath.basename(on_it), filesystem)
        plan = Plan.load(place)
        tuner = cls(trainable)
        name = plan.experiment_args["run"]
        if tuner._name != name and not isinstance(trainable, str):
            raise ValueError(
                f"the experiment at {path!r} was made of the trainable {name!r}, not of {tuner._name!r}; "
                f"restore it "
                "with the same one"
            )
        if param_space is not None:
            plan.experiment_args["config"] = _as_space(param_space)
        plan.experiment_args["name"] = place.experiment_dir_name
        plan.experiment_args["storage_path"] = place.storage_fs_path
        plan.experiment_args["storage_filesystem"] = filesystem
        errored = (
            ResumeType.RESUME
            if resume_errored
            else ResumeType.RESTART
            if restart_errored
            else ResumeType.SKIP
        )
        resume = _resume_config or ResumeConfig(
            unfinished=ResumeType.RESUME if resume_unfinished else ResumeType.SKIP, errored=errored
        )
        tuner._plan, tuner._place = plan, place
        tuner._resume = {
            "finished": ResumeType(resume.finished).value,
            "unfinished": ResumeType(resume.unfinished).value,
            "errored": ResumeType(resume.errored).value,
        }
        return tuner

    @classmethod
    def can_restore(cls, path: str | os.PathLike[str], storage_filesystem: Any = None) -> bool:
        """Whether there is an experiment in a directory that `restore` can go on with."""
        filesystem, on_it = storage.resolve(path, storage_filesystem)
        return storage.exists(filesystem, posixpath.join(on_it, PLAN_FILE))

    def _make_plan(self) -> Plan:
        run, tune = self._run_config, self._tune_config
        assert run.failure_config is not None
        name = run.name or f"{self._name}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        if run.name is None:
            name = _unused(run, name)
        return Plan(
            experiment_args={
                "name": name,
                "run": self._name,
                "stop": run.stop,
                "time_budget_s": tune.time_budget_s,
                "config": self._param_space,
                "num_samples": tune.num_samples,
                "storage_path": run.storage_path,
                "storage_filesystem": run.storage_filesystem,
                "sync_config": run.sync_config,
                "checkpoint_config": run.checkpoint_config,
                "trial_name_creator": tune.trial_name_creator,
                "trial_dirname_creator": tune.trial_dirname_creator,
                "log_to_file": run.log_to_file,
                "max_failures": run.failure_config.max_failures,
                "resources_per_trial": self._resources,
            },
            metric=tune.metric,
            mode=tune.mode,
            search_alg=tune.search_alg,
            scheduler=tune.scheduler,
            max_concurrent=tune.max_concurrent_trials,
            reuse_actors=tune.reuse_actors,
            chdir=tune.chdir_to_trial_dir,
            callbacks=run.callbacks,
            failure_config=run.failure_config,
            sync_config=run.sync_config,
            verbose=run.verbose,
            progress_reporter=run.progress_reporter,
            spare=self._spare,
        )

    def __repr__(self) -> str:
        return f"Tuner({self._name!r}, param_space={self._param_space!r})"


def unwrap(trainable: Any) -> tuple[Any, str, Any, RunConfig | None]:
    """What is run, its name, what its trials ask for, and the run configuration it brings."""
    if isinstance(trainable, str):
        registry.validate_trainable(trainable)
        return registry.find(registry.TRAINABLE, trainable), trainable, None, None
    if not isinstance(trainable, type) and isinstance(trainable, TunableTrainer):
        inner = trainable.as_trainable()
        resources = getattr(trainable, "trial_resources", None)
        return inner, type(trainable).__name__, resources, run_config_of(trainable)
    Experiment.register_if_needed(trainable)
    return trainable, function_name(trainable), None, None


def _as_space(param_space: Any) -> dict[str, Any]:
    if param_space is None:
        return {}
    if hasattr(param_space, "to_dict") and not isinstance(param_space, dict):
        param_space = param_space.to_dict()  # configurations of RLlib
    if not isinstance(param_space, dict):
        raise ValueError(f"param_space must be a dictionary of parameters, not {type(param_space).__name__}")
    return param_space


def _unused(run: RunConfig, name: str) -> str:
    """A name that no experiment has yet."""
    filesystem, base = storage.resolve(
        run.storage_path or storage.default_storage_path(), run.storage_filesystem
    )
    found, number = name, 1
    while storage.exists(filesystem, posixpath.join(base, found)):
        number += 1
        found = f"{name}_{number}"
    return found
