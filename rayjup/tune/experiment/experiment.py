"""An experiment: a trainable, its search space, and where its trials are kept."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rayjup.runs import registry
from rayjup.runs.config import CheckpointConfig, SyncConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.function_trainable import as_trainable_class, function_name
from rayjup.runs.placement import PlacementGroupFactory, resource_dict_to_pg_factory
from rayjup.runs.storage import StorageContext
from rayjup.tune.experiment.trial import Trial
from rayjup.tune.stopper import CombinedStopper, FunctionStopper, Stopper, TimeoutStopper


class Experiment:
    """What `tune.run` and `tune.run_experiments` take: a trainable with all that belongs to its trials.

    Parameters
    ----------
    name
        Name of the experiment.
    run
        Trainable, or the name of a registered one.
    stop
        When a trial ends: a dictionary of bounds, a function of trial id and result, or a `Stopper`.
    time_budget_s
        So long the whole experiment may take.
    config
        Search space.
    resources_per_trial
        What each trial asks for.
    num_samples
        So many draws of the space; -1: until stopped.
    storage_path, storage_filesystem
        Where it is kept.

    Examples
    --------
    >>> from rayjup import tune
    >>> space = {"x": tune.uniform(0, 1)}
    >>> tune.Experiment("squares", lambda config: {"y": config["x"] ** 2}, config=space).name
    'squares'
    """

    PUBLIC_KEYS = ("stop", "num_samples", "time_budget_s")

    def __init__(
        self,
        name: str | None,
        run: str | Callable[..., Any] | type,
        *,
        stop: Any = None,
        time_budget_s: float | datetime.timedelta | None = None,
        config: dict[str, Any] | None = None,
        resources_per_trial: Mapping[str, Any] | PlacementGroupFactory | Callable[..., Any] | None = None,
        num_samples: int = 1,
        storage_path: str | None = None,
        storage_filesystem: Any = None,
        sync_config: SyncConfig | dict[str, Any] | None = None,
        checkpoint_config: CheckpointConfig | dict[str, Any] | None = None,
        trial_name_creator: Callable[[Trial], str] | None = None,
        trial_dirname_creator: Callable[[Trial], str] | None = None,
        log_to_file: Any = False,
        export_formats: Sequence[str] | None = None,
        max_failures: int = 0,
        restore: str | None = None,
    ) -> None:
        self._run_identifier = self.register_if_needed(run)
        self.name = name or f"{self._run_identifier}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        if isinstance(checkpoint_config, dict):
            checkpoint_config = CheckpointConfig(**checkpoint_config)
        self._checkpoint_config = checkpoint_config or CheckpointConfig()
        self.sync_config = SyncConfig(**sync_config) if isinstance(sync_config, dict) else sync_config
        self.config = config if config is not None else {}
        if not isinstance(self.config, Mapping) and not callable(self.config):
            raise TuneError(
                f"the search space must be a dictionary of parameters, not {type(self.config).__name__}"
            )
        if num_samples == 0 or not isinstance(num_samples, int) or num_samples < -1:
            raise ValueError(
                f"num_samples is {num_samples!r}; it must be at least 1, or -1 for an experiment without "
                f"an end"
            )
        self.num_samples = num_samples
        self.time_budget_s = time_budget_s
        self.resources_per_trial = resources_per_trial
        self.trial_name_creator = trial_name_creator
        self.trial_dirname_creator = trial_dirname_creator
        self.log_to_file = log_to_file
        self.export_formats = list(export_formats) if export_formats else None
        self.max_failures = max_failures
        self.restore = restore
        self.stop = stop
        self._criterion, self._stopper = _stopping(stop, time_budget_s)
        self.storage = StorageContext(storage_path, self.name, storage_filesystem)
        self._prefix = Trial.generate_id()[:5]
        self._count = 0

    @classmethod
    def from_json(cls, name: str, spec: dict[str, Any]) -> Experiment:
        """An experiment from a dictionary of its arguments, with ``run`` (or ``env``) among them."""
        spec = dict(spec)
        if "run" not in spec:
            raise TuneError(f"the specification of {name!r} has no 'run': the trainable")
        run = spec.pop("run")
        if "env" in spec:
            spec.setdefault("config", {})["env"] = spec.pop("env")
        spec.pop("resume", None)
        for old in ("checkpoint_freq", "checkpoint_at_end"):
            if old in spec:
                new = "checkpoint_frequency" if old == "checkpoint_freq" else old
                config = spec.setdefault("checkpoint_config", {})
                config[new] = spec.pop(old)
        if "local_dir" in spec:
            spec["storage_path"] = spec.pop("local_dir")
        return cls(name, run, **spec)

    @classmethod
    def get_trainable_name(cls, run_object: str | Callable[..., Any] | type) -> str:
        """What a trainable is called in names."""
        if isinstance(run_object, str):
            return run_object
        if not callable(run_object):
            as_trainable_class(run_object)  # raises
        return function_name(run_object)

    @classmethod
    def register_if_needed(cls, run_object: str | Callable[..., Any] | type) -> str:
        """Register a trainable under its name; that name."""
        if isinstance(run_object, str):
            registry.validate_trainable(run_object)
            return run_object
        name = cls.get_trainable_name(run_object)
        as_trainable_class(run_object)
        registry.register(registry.TRAINABLE, name, run_object)
        return name

    # ------------------------------------------------------------ trials

    def make_trial(
        self,
        config: dict[str, Any],
        *,
        evaluated: dict[str, Any] | None = None,
        tag: str = "",
        trial_id: str = "",
    ) -> Trial:
        """A trial of the experiment with these parameters."""
        number = self._count
        self._count += 1
        trial = Trial(
            self._run_identifier,
            config=config,
            trial_id=trial_id or f"{self._prefix}_{number:05d}",
            evaluated_params=evaluated,
            experiment_tag=f"{number}_{tag}" if tag else str(number),
            placement_group_factory=self.resources_for(config),
            stopping_criterion=self._criterion,
            checkpoint_config=self._checkpoint_config,
            export_formats=self.export_formats,
            restore_path=self.restore,
            trial_name_creator=self.trial_name_creator,
            trial_dirname_creator=self.trial_dirname_creator,
            log_to_file=self.log_to_file,
            max_failures=self.max_failures,
            _setup_default_resource=False,
        )
        trial.set_storage(self.storage)
        return trial

    def next_trial_id(self) -> str:
        """The id that the next trial will have."""
        return f"{self._prefix}_{self._count:05d}"

    def seen(self, trial: Trial) -> None:
        """Count a trial that was made before a restart; new ones are named like it."""
        self._count += 1
        self._prefix = trial.trial_id.rpartition("_")[0] or self._prefix

    def resources_for(self, config: dict[str, Any]) -> PlacementGroupFactory:
        """What a trial with these parameters asks for."""
        wanted = self.resources_per_trial
        if wanted is None:
            trainable = registry.find(registry.TRAINABLE, self._run_identifier)
            wanted = getattr(trainable, "_resources", None)
            if wanted is None and isinstance(trainable, type):
                wanted = trainable.default_resource_request(config)  # type: ignore[attr-defined]
        if callable(wanted) and not isinstance(wanted, PlacementGroupFactory):
            wanted = wanted(config)
        if isinstance(wanted, PlacementGroupFactory):
            return wanted
        if hasattr(wanted, "as_placement_group_factory"):
            return wanted.as_placement_group_factory()  # type: ignore[union-attr, no-any-return]
        return resource_dict_to_pg_factory(dict(wanted) if wanted is not None else None)

    # ------------------------------------------------------------ what it is

    @property
    def stopper(self) -> Stopper | None:
        """Who ends trials, beside bounds."""
        return self._stopper

    @property
    def stopping_criterion(self) -> dict[str, float]:
        """The bounds at which trials end."""
        return self._criterion

    @property
    def run_identifier(self) -> str:
        """The trainable's registered name."""
        return self._run_identifier

    @property
    def checkpoint_config(self) -> CheckpointConfig:
        """Which checkpoints are made and kept."""
        return self._checkpoint_config

    @property
    def path(self) -> str:
        """The experiment's directory on its filesystem."""
        return self.storage.experiment_fs_path

    @property
    def local_path(self) -> str:
        """The experiment's directory, where the driver writes."""
        return self.storage.experiment_local_path

    @property
    def remote_path(self) -> str:
        """The experiment's directory on its filesystem."""
        return self.storage.experiment_fs_path

    @property
    def public_spec(self) -> dict[str, Any]:
        """What callbacks are told of it."""
        return {"stop": self.stop, "num_samples": self.num_samples, "time_budget_s": self.time_budget_s}

    @property
    def spec(self) -> dict[str, Any]:
        """Its arguments."""
        return {
            "run": self._run_identifier,
            "config": self.config,
            "num_samples": self.num_samples,
            "stop": self._criterion,
            "storage": self.storage,
            "checkpoint_config": self._checkpoint_config,
            "max_failures": self.max_failures,
        }

    def __repr__(self) -> str:
        return f"Experiment({self.name!r}, run={self._run_identifier!r}, path={self.path!r})"


def _stopping(
    stop: Any, time_budget_s: float | datetime.timedelta | None
) -> tuple[dict[str, float], Stopper | None]:
    criterion: dict[str, float] = {}
    stoppers: list[Stopper] = []
    if not stop:
        pass
    elif isinstance(stop, (list, tuple)):
        if not all(isinstance(one, Stopper) for one in stop):
            raise ValueError(f"stop is a list, but not all in it are stoppers: {stop!r}")
        stoppers += stop
    elif isinstance(stop, Mapping):
        for name, bound in stop.items():
            if not isinstance(bound, (int, float)) and not hasattr(bound, "__float__"):
                raise ValueError(f"stop={{{name!r}: {bound!r}}}: the bound must be a number")
        criterion = dict(stop)
    elif isinstance(stop, Stopper):
        stoppers.append(stop)
    elif callable(stop):
        if not FunctionStopper.is_valid_function(stop):
            raise ValueError(f"stop must be a function of trial id and result, not {stop!r}")
        stoppers.append(FunctionStopper(stop))
    else:
        raise ValueError(f"stop must be a dictionary, a function or a Stopper, not {stop!r}")
    if time_budget_s:
        stoppers.append(TimeoutStopper(time_budget_s))
    if not stoppers:
        return criterion, None
    return criterion, stoppers[0] if len(stoppers) == 1 else CombinedStopper(*stoppers)


def convert_to_experiment_list(experiments: Any) -> list[Experiment]:
    """A list of experiments from one, several, or a dictionary of specifications."""
    if experiments is None:
        return []
    if isinstance(experiments, Experiment):
        return [experiments]
    if isinstance(experiments, Mapping):
        return [
            spec if isinstance(spec, Experiment) else Experiment.from_json(name, spec)
            for name, spec in experiments.items()
        ]
    if isinstance(experiments, Sequence):
        found: list[Experiment] = []
        for one in experiments:
            found += convert_to_experiment_list(one)
        return found
    raise TuneError(f"experiments must be Experiments or dictionaries of them, not {experiments!r}")
