"""`Trainable`: the class whose ``step`` is called again and again."""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from rayjup.runs.checkpoint import Checkpoint, persist
from rayjup.runs.errors import must_define
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.runs.progress import DONE, SHOULD_CHECKPOINT, Progress, node_ip

METADATA_FILE = ".tune_metadata"
DICT_FILE = "_dict_checkpoint.pkl"


class TrainingResult(NamedTuple):
    """A checkpoint that was just saved and the metrics that belong to it."""

    checkpoint: Checkpoint | None
    metrics: dict[str, Any]


class TrialInfo(NamedTuple):
    """What a trainable knows of its trial."""

    trial_name: str | None = None
    trial_id: str | None = None
    trial_dir: str | None = None
    resources: PlacementGroupFactory | None = None
    experiment_name: str | None = None


class Trainable:
    """Base class of trainables with a life of their own: `setup` once, `step` per iteration,
    `save_checkpoint` at times.

    Parameters
    ----------
    config
        The trial's parameters.
    storage
        Where the trial is kept (a `StorageContext`), for trainables that Tune runs.

    Examples
    --------
    >>> from rayjup import tune
    >>> class Count(tune.Trainable):
    ...     def setup(self, config):
    ...         self.at = config["start"]
    ...     def step(self):
    ...         self.at += 1
    ...         return {"score": self.at}
    >>> Count({"start": 3}).train()["score"]
    4
    """

    def __init__(self, config: dict[str, Any] | None = None, storage: Any = None, **older: Any) -> None:
        self.config = config or {}
        info = self.config.pop("__trial_info__", None) if config else None
        self._trial_info: TrialInfo = info or TrialInfo()
        self._storage = storage
        self._logdir = self._trial_info.trial_dir or (
            storage.trial_local_path if storage is not None and storage.trial_dir_name else None
        )
        logger_creator: Callable[..., Any] | None = older.get("logger_creator")
        self._result_logger = logger_creator(self.config) if logger_creator else None
        if self._result_logger is not None and getattr(self._result_logger, "logdir", None):
            self._logdir = self._result_logger.logdir
        self._progress = Progress(self._trial_info.trial_id or uuid.uuid4().hex[:8])
        self._last_result: dict[str, Any] | None = None
        self._last_time = time.monotonic()
        self._start_time = time.time()
        self._local_ip = node_ip()
        self.setup(copy.deepcopy(self.config))

    # ------------------------------------------------------------ for subclasses

    def setup(self, config: dict[str, Any]) -> None:
        """Make ready; called once with a copy of the parameters."""

    def step(self) -> dict[str, Any]:
        """Do one iteration and return its metrics; ``done=True`` in them ends the trial."""
        raise must_define(self, "step(): what one iteration does")

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        """Write what is needed to go on into a directory, or return it as a dictionary."""
        raise must_define(self, "save_checkpoint(checkpoint_dir) if it is to be saved")

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Go on from a checkpoint: the directory, or the dictionary that `save_checkpoint` returned."""
        raise must_define(self, "load_checkpoint(checkpoint) if it is to be restored")

    def cleanup(self) -> None:
        """Let go of what `setup` took; called when the trial ends."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take other parameters without being made anew; True if that was done (False: it can't)."""
        return False

    def log_result(self, result: dict[str, Any]) -> None:
        """Called with each result, as it goes to the driver; may be extended."""
        if self._result_logger is not None:
            self._result_logger.on_result(result)

    def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
        return {}

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory | None:
        """What one trial asks for; None for the default of one CPU."""
        return None

    @classmethod
    def resource_help(cls, config: dict[str, Any]) -> str:
        """A hint how to change what a trial asks for, for errors about missing resources."""
        return ""

    # ------------------------------------------------------------ running

    def train(self) -> dict[str, Any]:
        """Do one iteration: `step`, and what is added to every result."""
        start = time.monotonic()
        result = self.step()
        if not isinstance(result, dict):
            raise TypeError(
                f"{type(self).__name__}.step() must return a dictionary of metrics, not {result!r}"
            )
        result = self._progress.fill(dict(result), time.monotonic() - start)
        result.setdefault("trial_id", self._progress.trial_id)
        self._last_result = result
        self.log_result(result)
        return result

    def train_buffered(self, buffer_time_s: float, max_buffer_length: int = 1000) -> list[dict[str, Any]]:
        """Iterate for ``buffer_time_s``, or until done or a checkpoint is due; all results."""
        results: list[dict[str, Any]] = []
        deadline = time.monotonic() + buffer_time_s
        while True:
            result = self.train()
            results.append(result)
            if result.get(DONE) or result.get(SHOULD_CHECKPOINT) or len(results) >= max_buffer_length:
                return results
            if time.monotonic() >= deadline:
                return results

    def save(self, checkpoint_dir: str | None = None) -> TrainingResult:
        """Make a checkpoint, in ``checkpoint_dir`` or a temporary directory."""
        local = checkpoint_dir or tempfile.mkdtemp(prefix="checkpoint_tmp_")
        os.makedirs(local, exist_ok=True)
        saved = self.save_checkpoint(local)
        if isinstance(saved, dict):
            import cloudpickle

            with open(os.path.join(local, DICT_FILE), "wb") as stream:
                cloudpickle.dump(saved, stream)
        elif isinstance(saved, Checkpoint):
            persist(saved, *_local(local))
        elif saved is not None and os.path.commonpath([os.path.abspath(p) for p in (saved, local)]) != (
            os.path.abspath(local)
        ):
            raise ValueError(
                f"{type(self).__name__}.save_checkpoint() returned {saved!r}, which is not in the directory "
                f"it was given, {local!r}"
            )
        with open(os.path.join(local, METADATA_FILE), "wb") as stream:
            pickle.dump(self.get_state(), stream)
        return TrainingResult(Checkpoint.from_directory(local), self._last_result or {})

    def restore(self, checkpoint_path: str | Checkpoint | TrainingResult) -> None:
        """Go on from a checkpoint that `save` made."""
        if isinstance(checkpoint_path, TrainingResult):
            assert checkpoint_path.checkpoint is not None
            checkpoint_path = checkpoint_path.checkpoint
        checkpoint = (
            checkpoint_path if isinstance(checkpoint_path, Checkpoint) else Checkpoint(checkpoint_path)
        )
        if checkpoint._dict is not None:
            self.load_checkpoint(checkpoint.to_dict())
            return
        with checkpoint.as_directory() as local:
            state: dict[str, Any] = {}
            file = os.path.join(local, METADATA_FILE)
            if os.path.exists(file):
                with open(file, "rb") as stream:
                    state = pickle.load(stream)
            as_dict = os.path.join(local, DICT_FILE)
            if os.path.exists(as_dict):
                with open(as_dict, "rb") as stream:
                    self.load_checkpoint(pickle.load(stream))
            else:
                self.load_checkpoint(local)
        self._progress.set_state(state)
        self._last_result = state.get("last_result")

    def stop(self) -> None:
        """End the trial: `cleanup`."""
        if self._result_logger is not None:
            self._result_logger.flush()
            self._result_logger.close()
        self.cleanup()

    def reset(self, new_config: dict[str, Any], storage: Any = None) -> bool:
        """Become another trial with `reset_config`; True if that worked."""
        config = dict(new_config)
        info: TrialInfo = config.pop("__trial_info__", None) or TrialInfo()
        if not self.reset_config(config):
            return False
        self.config = config
        self._trial_info = info
        self._storage = storage
        if info.trial_dir:
            self._logdir = info.trial_dir
        self._progress = Progress(info.trial_id or uuid.uuid4().hex[:8])
        self._last_result = None
        return True

    def export_model(self, export_formats: list[str] | str, export_dir: str | None = None) -> dict[str, str]:
        """Write the model in other formats, by the subclass's ``_export_model``; paths by format."""
        formats = [export_formats] if isinstance(export_formats, str) else list(export_formats)
        return self._export_model(formats, export_dir or self.logdir)

    # ------------------------------------------------------------ what it knows

    def get_auto_filled_metrics(
        self,
        now: datetime | None = None,
        time_this_iter: float | None = None,
        timestamp: int | None = None,
        debug_metrics_only: bool = False,
    ) -> dict[str, Any]:
        """What is added to every result."""
        moment = now.timestamp() if now else time.time()
        added = self._progress.automatic(moment, time_this_iter or 0.0, debug_only=debug_metrics_only)
        added["timestamp"] = timestamp if timestamp is not None else int(moment)
        added["config"] = self.config
        return added

    def get_state(self) -> dict[str, Any]:
        """What every checkpoint keeps beside the subclass's own."""
        return {**self._progress.state(), "last_result": self._last_result, "trial_id": self.trial_id}

    def get_config(self) -> dict[str, Any]:
        """The trial's parameters."""
        return self.config

    def get_current_ip_pid(self) -> tuple[str, int]:
        """Where it runs."""
        return self._local_ip, os.getpid()

    def is_actor(self) -> bool:
        """Whether it runs in an actor's process."""
        import rayjup

        return rayjup.is_initialized() and rayjup.get_runtime_context().get_actor_id() is not None

    @property
    def logdir(self) -> str:
        """The trial's directory."""
        if self._logdir is None:
            name = f"{type(self).__name__}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
            self._logdir = os.path.join(tempfile.mkdtemp(prefix="rayjup_trial_"), name)
            os.makedirs(self._logdir, exist_ok=True)
        return self._logdir

    @property
    def trial_name(self) -> str | None:
        """Name of the trial."""
        return self._trial_info.trial_name

    @property
    def trial_id(self) -> str | None:
        """Id of the trial."""
        return self._trial_info.trial_id

    @property
    def trial_resources(self) -> PlacementGroupFactory | None:
        """What the trial asked for."""
        return self._trial_info.resources

    @property
    def iteration(self) -> int:
        """How many iterations are done."""
        return self._progress.iteration

    @property
    def training_iteration(self) -> int:
        """How many iterations are done."""
        return self._progress.iteration


def _local(path: str) -> tuple[Any, str]:
    from rayjup.runs.storage import resolve

    return resolve(path)
