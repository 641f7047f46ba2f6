"""One configuration that is tried: its parameters, state, results and checkpoints."""

from __future__ import annotations

import base64
import collections
import json
import math
import os
import pickle
import posixpath
import re
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.runs import registry, storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.checkpoints import CheckpointManager, flatten, look_up
from rayjup.runs.config import CheckpointConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.placement import PlacementGroupFactory, resource_dict_to_pg_factory
from rayjup.runs.progress import AUTO_KEYS, DONE, TRAINING_ITERATION
from rayjup.runs.result import ERROR_FILE, ERROR_PICKLE_FILE
from rayjup.runs.storage import StorageContext
from rayjup.runs.trainable import TrainingResult

DEFAULT_METRIC_STEPS = (5, 10)
_ANALYZED = frozenset({"training_iteration", "time_total_s", "timesteps_total", "episodes_total"})
_MAX_DIRNAME = 130


class ExportFormat:
    """Formats that a model can be exported in."""

    CHECKPOINT = "checkpoint"
    MODEL = "model"
    ONNX = "onnx"
    H5 = "h5"

    @staticmethod
    def validate(formats: list[str]) -> None:
        """Raise if one is not known; they are put into lower case in place."""
        known = [ExportFormat.CHECKPOINT, ExportFormat.MODEL, ExportFormat.ONNX, ExportFormat.H5]
        for i, name in enumerate(formats):
            formats[i] = name.strip().lower()
            if formats[i] not in known:
                raise TuneError(f"the export format {name!r} is not known; there are {known}")


class Trial:
    """One configuration that is tried.

    Trials are made by search algorithms; schedulers, stoppers and callbacks get them.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"

    def __init__(
        self,
        trainable_name: str,
        *,
        config: dict[str, Any] | None = None,
        trial_id: str | None = None,
        storage: StorageContext | None = None,
        evaluated_params: dict[str, Any] | None = None,
        experiment_tag: str = "",
        placement_group_factory: PlacementGroupFactory | None = None,
        stopping_criterion: Mapping[str, float] | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        export_formats: list[str] | None = None,
        restore_path: str | None = None,
        trial_name_creator: Callable[[Trial], str] | None = None,
        trial_dirname_creator: Callable[[Trial], str] | None = None,
        log_to_file: Any = None,
        max_failures: int = 0,
        stub: bool = False,
        _setup_default_resource: bool = True,
    ) -> None:
        self.trainable_name = trainable_name
        self.trial_id = trial_id or self.generate_id()
        self.config = config or {}
        self.evaluated_params = evaluated_params or {}
        self.experiment_tag = experiment_tag
        self.stopping_criterion = dict(stopping_criterion or {})
        self.checkpoint_config = checkpoint_config or CheckpointConfig()
        self.export_formats = export_formats
        self.log_to_file = log_to_file
        self.max_failures = max_failures
        self.stub = stub
        self.status = Trial.PENDING
        self.start_time: float | None = None
        self.run_number = 0
        self.num_started = 0
        self.num_errors = 0
        self.num_restored_errors = 0
        self.error: Exception | None = None
        self.error_text: str | None = None
        self.location: tuple[str | None, int | None] = (None, None)
        self.checkpoint_index = 0
        self.restore_path = restore_path
        self.restore_from: Checkpoint | None = Checkpoint(restore_path) if restore_path else None
        self._last_result: dict[str, Any] = {}
        self._analysis: dict[str, list[Any]] = {}
        self._results = 0
        self._manager: CheckpointManager | None = None
        self._made_directory = False
        self._actor: Any = None
        self.storage: StorageContext | None = None
        self.placement_group_factory = placement_group_factory or PlacementGroupFactory([{"CPU": 1}])
        self._default_resources = placement_group_factory is None
        self.custom_trial_name = trial_name_creator(self) if trial_name_creator else None
        self.custom_dirname = None
        if trial_dirname_creator:
            self.custom_dirname = trial_dirname_creator(self)
            if os.path.sep in self.custom_dirname:
                raise ValueError(
                    f"trial_dirname_creator gave {self.custom_dirname!r}: a name can't contain "
                    f"{os.path.sep!r}"
                )
        if _setup_default_resource and placement_group_factory is None and not stub:
            self.create_placement_group_factory()
        if storage is not None:
            self.set_storage(storage)

    # ------------------------------------------------------------ names and places

    @classmethod
    def generate_id(cls) -> str:
        """A new id."""
        return uuid.uuid4().hex[:8]

    def __str__(self) -> str:
        return self.custom_trial_name or f"{self.trainable_name}_{self.trial_id}"

    def __repr__(self) -> str:
        return str(self)

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and other.trial_id == self.trial_id

    @property
    def dirname(self) -> str:
        """Name of its directory in the experiment's."""
        if self.custom_dirname:
            return self.custom_dirname
        name = f"{self}_{self.experiment_tag}" if self.experiment_tag else str(self)
        cleaned = re.sub(r"[^\w=.,\-+@]+", "_", name)[:_MAX_DIRNAME]
        self.custom_dirname = f"{cleaned}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        return self.custom_dirname

    def set_storage(self, new_storage: StorageContext) -> None:
        """Say where the experiment is kept; checkpoints known so far move along."""
        mine = new_storage.for_trial(self.dirname)
        old = self.storage
        self.storage = mine
        self._made_directory = False
        if old is not None and self._manager is not None and old.trial_fs_path != mine.trial_fs_path:
            for reported in self._manager.kept:
                name = posixpath.basename(reported.checkpoint.path)
                reported.checkpoint.path = posixpath.join(mine.trial_fs_path, name)
                reported.checkpoint.filesystem = mine.storage_filesystem

    def _place(self) -> StorageContext:
        if self.storage is None:
            raise RuntimeError(f"the trial {self} belongs to no experiment yet, so it has no directory")
        return self.storage

    def init_local_path(self) -> None:
        """Make its directory."""
        if not self._made_directory:
            os.makedirs(self._place().trial_local_path, exist_ok=True)
            self._made_directory = True

    @property
    def local_path(self) -> str:
        """Its directory, where the driver writes."""
        return self._place().trial_local_path

    @property
    def path(self) -> str:
        """Its directory on the storage's filesystem."""
        return self._place().trial_fs_path

    @property
    def local_experiment_path(self) -> str:
        """The experiment's directory, where the driver writes."""
        return self._place().experiment_local_path

    @property
    def remote_experiment_path(self) -> str:
        """The experiment's directory on the storage's filesystem."""
        return self._place().experiment_fs_path

    @property
    def experiment_dir_name(self) -> str:
        """Name of the experiment's directory."""
        return self._place().experiment_dir_name

    @property
    def logdir(self) -> str:
        """Older name of `local_path`."""
        return self.local_path

    # ------------------------------------------------------------ results

    @property
    def last_result(self) -> dict[str, Any]:
        """The newest result; before the first one, what is known anyway."""
        return self._last_result or {"config": self.config, TRAINING_ITERATION: 0}

    @property
    def has_reported_at_least_once(self) -> bool:
        """Whether there is a result."""
        return bool(self._last_result)

    def update_last_result(self, result: dict[str, Any]) -> None:
        """Take a new result."""
        if self.experiment_tag:
            result.setdefault("experiment_tag", self.experiment_tag)
        self._results += 1
        if self._results == 2:
            self._count(self._last_result)
        if self._results >= 2:
            self._count(result)
        self._last_result = result

    def _count(self, result: Mapping[str, Any]) -> None:
        for name, value in flatten({k: v for k, v in result.items() if k != "config"}).items():
            if (name in AUTO_KEYS and name not in _ANALYZED) or isinstance(value, (bool, str)):
                continue
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            entry = self._analysis.get(name)
            if entry is None:
                entry = [number, number, 0.0, 0, number, collections.deque(maxlen=max(DEFAULT_METRIC_STEPS))]
                self._analysis[name] = entry
            # NaN is neither best nor worst.
            entry[0] = number if not number <= entry[0] and not math.isnan(number) else entry[0]
            entry[1] = number if not number >= entry[1] and not math.isnan(number) else entry[1]
            if math.isnan(entry[0]) and not math.isnan(number):
                entry[0] = entry[1] = number
            entry[2] += number
            entry[3] += 1
            entry[4] = number
            entry[5].append(number)

    @property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """Of every metric: max, min, avg, last and the averages of the last 5 and 10."""
        if self._results == 1 and not self._analysis:
            self._count(self._last_result)
            found = self._summaries()
            self._analysis = {}
            return found
        return self._summaries()

    def _summaries(self) -> dict[str, dict[str, float]]:
        summaries = {}
        for name, (highest, lowest, total, count, last, recent) in self._analysis.items():
            summaries[name] = {"max": highest, "min": lowest, "avg": total / count, "last": last}
            newest = list(recent)
            for steps in DEFAULT_METRIC_STEPS:
                part = newest[-steps:]
                summaries[name][f"last-{steps}-avg"] = sum(part) / len(part)
        return summaries

    @property
    def metric_n_steps(self) -> dict[str, dict[str, Any]]:
        """Of every metric, the newest values."""
        if self._results == 1 and not self._analysis:
            return {
                name: {str(n): collections.deque([s["last"]]) for n in DEFAULT_METRIC_STEPS}
                for name, s in self.metric_analysis.items()
            }
        return {
            name: {str(n): collections.deque(list(entry[5])[-n:]) for n in DEFAULT_METRIC_STEPS}
            for name, entry in self._analysis.items()
        }

    def should_stop(self, result: Mapping[str, Any]) -> bool:
        """Whether the result meets its stopping criterion (or is the last one)."""
        if result.get(DONE):
            return True
        for name, bound in self.stopping_criterion.items():
            value = look_up(result, name)
            if value is None:
                raise TuneError(
                    f"the trial {self} is to stop by {name!r} (stop={{{name!r}: {bound!r}}}), but its "
                    f"result has no "
                    f"such metric; it has {sorted(set(flatten(result)) - AUTO_KEYS)}"
                )
            if value >= bound:
                return True
        return False

    # ------------------------------------------------------------ checkpoints

    @property
    def checkpoints(self) -> CheckpointManager:
        """Its checkpoints."""
        if self._manager is None:
            self._manager = CheckpointManager(self.checkpoint_config)
        return self._manager

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest one (or the one it is to start from)."""
        latest = self._manager.latest if self._manager is not None else None
        return latest.checkpoint if latest is not None else self.restore_from

    @property
    def latest_checkpoint_result(self) -> TrainingResult | None:
        """The newest checkpoint and its metrics."""
        latest = self._manager.latest if self._manager is not None else None
        return TrainingResult(latest.checkpoint, latest.metrics) if latest is not None else None

    def on_checkpoint(self, checkpoint_result: TrainingResult) -> None:
        """Take in a checkpoint that was made of it."""
        if checkpoint_result.checkpoint is not None:
            self.checkpoint_index += 1
            self.checkpoints.register(checkpoint_result.checkpoint, checkpoint_result.metrics)

    def has_checkpoint(self) -> bool:
        """Whether there is one."""
        return self.checkpoint is not None

    @property
    def checkpoint_at_end(self) -> bool | None:
        """Whether one is made at the end."""
        return self.checkpoint_config.checkpoint_at_end

    @property
    def checkpoint_freq(self) -> int | None:
        """How often one is made."""
        return self.checkpoint_config.checkpoint_frequency

    def should_checkpoint(self) -> bool:
        """Whether one is due now."""
        result = self.last_result
        if result.get(DONE) and self.checkpoint_at_end:
            return True
        often = self.checkpoint_freq
        return bool(often and result.get(TRAINING_ITERATION, 0) % often == 0)

    # ------------------------------------------------------------ state

    def set_status(self, status: str) -> None:
        """Set its state."""
        self.status = status
        if status == Trial.RUNNING and self.start_time is None:
            self.start_time = time.time()

    def is_finished(self) -> bool:
        """Whether it is over."""
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    @property
    def is_restoring(self) -> bool:
        """Whether it is to go on from a checkpoint."""
        return self.restore_from is not None and self.status != Trial.RUNNING

    @property
    def is_saving(self) -> bool:
        """Whether a checkpoint is being made."""
        return False

    def on_restore(self) -> None:
        """It goes on from its checkpoint."""
        self.restore_from = None

    def handle_error(self, exc: Exception | None = None) -> None:
        """Note a failure, in its directory, too."""
        self.num_errors += 1
        self.error = exc
        cause = getattr(exc, "cause", None) or exc
        text = getattr(exc, "traceback_str", None)
        if text is None and exc is not None:
            text = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        self.error_text = text
        if self.storage is None:
            return
        self.init_local_path()
        with open(self._error_path(ERROR_FILE), "a") as stream:
            stream.write(
                f"Failure # {self.num_errors} (occurred at {time.strftime('%Y-%m-%d_%H-%M-%S')})\n{text}\n"
            )
        try:
            data = _pickled(exc)
        except (pickle.PicklingError, TypeError, AttributeError):
            data = _pickled(TuneError(f"{type(cause).__name__}: {cause}"))
        with open(self._error_path(ERROR_PICKLE_FILE), "wb") as file:
            file.write(data)

    def _error_path(self, name: str) -> str:
        return os.path.join(self.local_path, name)

    @property
    def error_file(self) -> str | None:
        """The file with its failures, if there are any."""
        return self._error_path(ERROR_FILE) if self.num_errors and self.storage is not None else None

    @property
    def pickled_error_file(self) -> str | None:
        """The file with its last exception."""
        return self._error_path(ERROR_PICKLE_FILE) if self.num_errors and self.storage is not None else None

    def get_error(self) -> Exception | None:
        """What it failed with."""
        return self.error

    def get_pickled_error(self) -> Exception | None:
        """What it failed with, read from its directory."""
        file = self.pickled_error_file
        if file is None or not os.path.exists(file):
            return self.error
        with open(file, "rb") as stream:
            found: Exception = pickle.load(stream)
        return found

    @property
    def num_failures(self) -> int:
        """How often it failed."""
        return self.num_errors

    @property
    def num_failures_after_restore(self) -> int:
        """How often it failed since the experiment was restored."""
        return self.num_errors - self.num_restored_errors

    def should_recover(self) -> bool:
        """Whether it is to be tried again."""
        return self.max_failures < 0 or self.num_failures_after_restore <= self.max_failures

    def set_experiment_tag(self, experiment_tag: str) -> None:
        """Set what its name shows of its parameters."""
        self.experiment_tag = experiment_tag

    def set_config(self, config: dict[str, Any]) -> None:
        """Give it other parameters."""
        self.config = config

    def resolve_config_placeholders(self, placeholder_resolvers: Mapping[tuple[Any, ...], Any]) -> None:
        """Set values in its parameters, by path."""
        from rayjup.tune.search.variants import assign

        for path, resolver in placeholder_resolvers.items():
            value = resolver.resolve(self.config) if hasattr(resolver, "resolve") else resolver
            assign(self.config, path, value)

    def set_location(self, location: Any) -> None:
        """Note where it runs."""
        self.location = location

    def set_ray_actor(self, ray_actor: Any) -> None:
        """Note who runs it."""
        self._actor = ray_actor

    @property
    def node_ip(self) -> str | None:
        """Where it runs."""
        return self.location[0] if isinstance(self.location, tuple) else None

    def get_ray_actor_ip(self) -> str | None:
        """Where it runs."""
        return self.node_ip

    def get_trainable_cls(self) -> type | None:
        """The class it runs; None if its name is not registered here."""
        if self.stub or not registry.contains(registry.TRAINABLE, self.trainable_name):
            return None
        return registry.get_trainable_cls(self.trainable_name)

    def create_placement_group_factory(self) -> None:
        """Ask the trainable what it needs."""
        cls = self.get_trainable_cls()
        found = cls.default_resource_request(self.config) if cls is not None else None  # type: ignore[attr-defined]
        self.placement_group_factory = found or resource_dict_to_pg_factory(None)

    def update_resources(self, resources: dict[str, float] | PlacementGroupFactory) -> None:
        """Let it ask for something else, before it runs (again)."""
        if self.status is Trial.RUNNING:
            raise ValueError(f"the trial {self} runs: its resources can be changed while it is paused")
        if isinstance(resources, PlacementGroupFactory):
            self.placement_group_factory = resources
        else:
            self.placement_group_factory = resource_dict_to_pg_factory(resources)

    def reset(self) -> Trial:
        """A new trial with the same parameters."""
        fresh = Trial(
            self.trainable_name,
            config=self.config,
            evaluated_params=self.evaluated_params,
            experiment_tag=self.experiment_tag,
            placement_group_factory=self.placement_group_factory,
            stopping_criterion=self.stopping_criterion,
            checkpoint_config=self.checkpoint_config,
            max_failures=self.max_failures,
            stub=self.stub,
        )
        if self.storage is not None:
            fresh.set_storage(self.storage)
        return fresh

    # ------------------------------------------------------------ as text

    def get_json_state(self) -> tuple[str, str]:
        """The trial as two texts: what it is, and how far it has come."""
        fixed = {
            k: v
            for k, v in self.__dict__.items()
            if k not in ("_actor", "storage", "_manager", "_last_result", "_analysis")
        }
        moving = {k: self.__dict__[k] for k in ("_last_result", "_analysis", "_manager")}
        return _text(fixed), _text(moving)

    @classmethod
    def from_json_state(cls, json_state: str, stub: bool = False) -> Trial:
        """A trial from the first text of `get_json_state`."""
        made = cls(json.loads(json_state)["trainable_name"], stub=True)
        made.__dict__.update(_untext(json_state))
        made.stub = stub
        return made

    def restore_run_metadata(self, run_metadata: str) -> None:
        """Take the second text of `get_json_state`."""
        self.__dict__.update(_untext(run_metadata))

    def invalidate_json_state(self) -> None:
        """Nothing is kept that could be out of date."""

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str], stub: bool = False) -> Trial:
        """Read a trial from its directory."""
        from rayjup.runs.reading import read_params, read_result
        from rayjup.runs.result import Result

        filesystem, on_it = storage.resolve(path)
        result = read_result(Result, filesystem, on_it)
        metrics = dict(result.metrics or {})
        made = cls(
            str(metrics.get("trainable_name", "trainable")),
            config=read_params(filesystem, on_it),
            trial_id=metrics.get("trial_id"),
            stub=True,
        )
        made.stub = stub
        made.custom_dirname = posixpath.basename(on_it)
        parent = posixpath.dirname(on_it)
        made.set_storage(StorageContext(posixpath.dirname(parent), posixpath.basename(parent), filesystem))
        made._last_result = metrics
        made._results = 1
        for checkpoint, seen in result.best_checkpoints or []:
            made.checkpoints.register(checkpoint, seen)
        made.status = Trial.ERROR if result.error is not None else Trial.TERMINATED
        made.error = result.error
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_actor": None}


def _pickled(value: Any) -> bytes:
    import cloudpickle

    data = cloudpickle.dumps(value)
    pickle.loads(data)  # an exception whose constructor wants other arguments fails here, not at the reader's
    return data


def _text(state: Mapping[str, Any]) -> str:
    import cloudpickle

    data = base64.b64encode(cloudpickle.dumps(dict(state))).decode()
    return json.dumps({"trainable_name": state.get("trainable_name"), "state": data})


def _untext(text: str) -> dict[str, Any]:
    found: dict[str, Any] = pickle.loads(base64.b64decode(json.loads(text)["state"]))
    return found
