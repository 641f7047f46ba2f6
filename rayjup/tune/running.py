"""What `Tuner.fit`, `tune.run` and `tune.run_experiments` have in common: one experiment from its beginning
to its end."""

from __future__ import annotations

import os
import pickle
import posixpath
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import rayjup
from rayjup.runs import registry, storage
from rayjup.runs.callback import Callback, CallbackList
from rayjup.runs.config import FailureConfig, SyncConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.function_trainable import FunctionTrainable
from rayjup.runs.loggers import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback, default_loggers
from rayjup.runs.storage import StorageContext
from rayjup.tune.analysis.experiment_analysis import ExperimentAnalysis
from rayjup.tune.execution import journal
from rayjup.tune.execution.controller import TuneController
from rayjup.tune.execution.journal import Journal
from rayjup.tune.execution.loop import TuneLoop, make_setup
from rayjup.tune.execution.replay import restore
from rayjup.tune.execution.state import RunState
from rayjup.tune.experiment.experiment import Experiment
from rayjup.tune.progress_reporter import Reporting, default_reporter
from rayjup.tune.schedulers import create_scheduler
from rayjup.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler
from rayjup.tune.search import create_searcher
from rayjup.tune.search.basic_variant import BasicVariantGenerator
from rayjup.tune.search.generator import SearchAlgorithm, SearchGenerator
from rayjup.tune.search.searcher import ConcurrencyLimiter, Searcher
from rayjup.tune.search.variants import has_grid, has_unresolved

PLAN_FILE = "tuner.pkl"


@dataclass
class Plan:
    """All that is needed to run an experiment, as it was before the first trial; kept in ``tuner.pkl``."""

    experiment_args: dict[str, Any]
    metric: Any = None
    mode: Any = None
    search_alg: Any = None
    scheduler: Any = None
    max_concurrent: int | None = None
    reuse_actors: bool | None = None
    chdir: bool = True
    callbacks: list[Any] | None = None
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    sync_config: SyncConfig | None = None
    verbose: Any = None
    progress_reporter: Any = None
    spare: dict[str, float] | None = None

    def save(self, place: StorageContext) -> None:
        """Write it into the experiment's directory."""
        import cloudpickle

        try:
            data = cloudpickle.dumps(self)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            if self.callbacks or self.progress_reporter:
                warnings.warn(
                    f"callbacks can't be written down ({error}); a restored experiment goes on without them",
                    stacklevel=4,
                )
                replace(self, callbacks=None, progress_reporter=None).save(place)
                return
            raise TuneError(
                f"the experiment can't be written down, so it could not be restored: {error}. Something "
                f"in its search "
                "space, searcher, scheduler or callbacks can't be pickled; make it inside of the "
                "trainable instead"
            ) from error
        storage.write_bytes(
            place.storage_filesystem, posixpath.join(place.experiment_fs_path, PLAN_FILE), data
        )

    @staticmethod
    def load(place: StorageContext) -> Plan:
        """Read it from an experiment's directory."""
        file = posixpath.join(place.experiment_fs_path, PLAN_FILE)
        if not storage.exists(place.storage_filesystem, file):
            raise RuntimeError(
                f"there is no experiment at {place.experiment_fs_path!r}: it has no {PLAN_FILE}. Give the "
                f"directory "
                "that contains the trials' directories."
            )
        plan: Plan = pickle.loads(storage.read_bytes(place.storage_filesystem, file))
        return plan


def prepare_search(plan: Plan, experiment: Experiment) -> SearchAlgorithm:
    """The search algorithm of a plan, told what to search."""
    given = plan.search_alg
    if isinstance(given, str):
        given = create_searcher(given, metric=plan.metric, mode=plan.mode)
    limit = plan.max_concurrent or 0
    if given is None:
        search: SearchAlgorithm = BasicVariantGenerator(max_concurrent=limit)
    elif isinstance(given, Searcher):
        if limit and not given.set_max_concurrency(limit):
            given = ConcurrencyLimiter(given, limit)
        search = SearchGenerator(given)
    elif isinstance(given, SearchAlgorithm):
        search = given
    else:
        raise TuneError(
            f"search_alg must be a Searcher, a SearchAlgorithm or a name such as 'optuna', not {given!r}"
        )
    space = experiment.config
    independent = isinstance(search, BasicVariantGenerator)
    accepted = search.set_search_properties(
        plan.metric, plan.mode, {} if independent else space, **experiment.public_spec
    )
    if not independent and not accepted and has_unresolved(space):
        name = type(getattr(search, "searcher", search)).__name__
        if has_grid(space):
            raise TuneError(
                f"{name} can't search a grid; use tune.choice([...]) in place of tune.grid_search([...]), "
                f"or no "
                "search algorithm"
            )
        raise TuneError(
            f"{name} did not take the Tuner's param_space: it has a search space of its own, or can't use "
            f"this one. "
            "Give the space in one place only."
        )
    search.add_configurations([experiment])
    return search


def prepare_scheduler(plan: Plan, search: SearchAlgorithm) -> TrialScheduler:
    """The scheduler of a plan, told what is optimized."""
    scheduler = plan.scheduler
    if isinstance(scheduler, str):
        scheduler = create_scheduler(scheduler)
    scheduler = scheduler or FIFOScheduler()
    if not isinstance(scheduler, TrialScheduler):
        raise TuneError(f"scheduler must be a TrialScheduler or a name such as 'asha', not {scheduler!r}")
    if isinstance(plan.metric, (list, tuple)):
        if type(scheduler) is not FIFOScheduler:
            raise TuneError(f"{type(scheduler).__name__} optimizes one metric, not {plan.metric}")
        return scheduler
    if not scheduler.set_search_properties(plan.metric, plan.mode):
        raise TuneError(
            f"{type(scheduler).__name__} was given metric={scheduler.metric!r} already; give metric and mode "
            "either to it or to TuneConfig, not to both"
        )
    if type(scheduler).__name__ in ("PopulationBasedTraining", "PB2") and isinstance(search, SearchGenerator):
        warnings.warn(
            f"{type(scheduler).__name__} changes parameters while trials run; "
            f"{type(search.searcher).__name__} does not hear of that and learns from wrong values",
            stacklevel=3,
        )
    return scheduler


def prepare_callbacks(plan: Plan) -> CallbackList:
    """The user's callbacks and the loggers that every experiment has."""
    callbacks = list(plan.callbacks or [])
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TuneError(f"callbacks must be tune.Callback objects, not {callback!r}")
    if os.environ.get("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS") == "1":
        return CallbackList(callbacks)
    present = tuple(
        kind
        for kind in (CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback)
        if any(isinstance(callback, kind) for callback in callbacks)
    )
    added = [logger for logger in default_loggers() if not isinstance(logger, present)]
    return CallbackList([*added, *callbacks])


def run_plan(
    plan: Plan, *, resume: dict[str, str] | None = None, place: StorageContext | None = None
) -> tuple[ExperimentAnalysis, TuneController]:
    """Run an experiment to its end; with ``resume``, go on with the one whose journal lies at ``place``."""
    if not rayjup.is_initialized():
        rayjup.init()
    experiment = Experiment(**plan.experiment_args)
    if place is not None:
        experiment.storage = place
    place = experiment.storage
    place.check()
    trainable = registry.find(registry.TRAINABLE, experiment.run_identifier)
    check_pickles(trainable, experiment.run_identifier)
    if resume is None:
        _refuse_to_overwrite(place)
        plan.save(
            place
        )  # before searcher and scheduler are told anything: a restored experiment begins with them
    search = prepare_search(plan, experiment)
    scheduler = prepare_scheduler(plan, search)
    can_save = isinstance(trainable, type) and not issubclass(trainable, FunctionTrainable)
    controller = TuneController(search, scheduler, experiment.stopper, plan.failure_config, can_save=can_save)
    callbacks = prepare_callbacks(plan)
    callbacks.setup(
        stop=experiment.stop,
        num_samples=experiment.num_samples,
        total_num_samples=search.total_samples,
        experiment_name=experiment.name,
        **{k: v for k, v in experiment.public_spec.items() if k not in ("stop", "num_samples")},
    )
    local = place.experiment_local_path
    if resume is not None:
        if not place.is_local:
            storage.download(place.storage_filesystem, place.experiment_fs_path, local)
        restore(controller, place, experiment.checkpoint_config, **resume)
        if callbacks.can_restore(local):
            callbacks.restore_from_dir(local)
    state = RunState(experiment.name, place.experiment_fs_path, plan.metric, plan.mode, search.total_samples)
    reporting = Reporting(
        plan.progress_reporter or default_reporter(plan.verbose),
        controller,
        state,
        plan.metric,
        plan.mode,
        plan.verbose,
    )
    loop = TuneLoop(
        controller,
        place,
        make_setup(trainable, controller, chdir=plan.chdir, reuse=bool(plan.reuse_actors)),
        callbacks,
        Journal(os.path.join(local, journal.FILE)),
        state,
        max_concurrent=plan.max_concurrent or None,
        one_trial_per_process=_one_per_process(plan, experiment),
        spare=plan.spare,
        sync=plan.sync_config,
        every_turn=reporting.turn,
    )
    loop.run()
    analysis = ExperimentAnalysis(
        place.experiment_fs_path,
        storage_filesystem=place.storage_filesystem,
        trials=controller.get_trials(),
        default_metric=plan.metric if isinstance(plan.metric, str) else None,
        default_mode=plan.mode if isinstance(plan.mode, str) else None,
    )
    place.discard_staging()
    return analysis, controller


def _one_per_process(plan: Plan, experiment: Experiment) -> bool:
    """Every trial has a process of its own when that was asked for, or when trials use GPUs (whose memory
    stays)."""
    if plan.reuse_actors is False:
        return True
    if plan.reuse_actors is None:
        wanted = experiment.resources_per_trial
        if wanted is None:
            trainable = registry.find(registry.TRAINABLE, experiment.run_identifier)
            wanted = getattr(trainable, "_resources", None)
        return bool(getattr(wanted, "required_resources", {}).get("GPU")) or bool(
            isinstance(wanted, dict) and wanted.get("gpu")
        )
    return False


def _refuse_to_overwrite(place: StorageContext) -> None:
    """An experiment of that name that is there already is put aside, not mixed with the new one."""
    file = posixpath.join(place.experiment_local_path, journal.FILE)
    if place.is_local and os.path.exists(file):
        os.replace(file, f"{file}.{int(os.path.getmtime(file))}")


def check_pickles(trainable: Any, name: str) -> None:
    """Raise, naming what is to blame, if a trainable can't be sent to other processes."""
    import cloudpickle

    try:
        cloudpickle.dumps(trainable)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        from rayjup.tune.utils.util import blamed

        raise TuneError(
            f"the trainable {name!r} can't be sent to the processes that run trials: "
            f"{error}.{blamed(trainable)} Make "
            "such things inside of the function, or pass data with tune.with_parameters(function, data=...)"
        ) from error
