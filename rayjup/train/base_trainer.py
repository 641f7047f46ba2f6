"""What all trainers have in common."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.runs.result import Result
from rayjup.train.exceptions import TrainingFailedError

__all__ = ["BaseTrainer", "TrainingFailedError", "format_datasets_for_repr"]


class BaseTrainer:
    """A trainer: settings, and `fit`. Derive from it and override `training_loop` for one of your own.

    Parameters
    ----------
    scaling_config, run_config, datasets, metadata, resume_from_checkpoint
        As of `rayjup.train.data_parallel_trainer.DataParallelTrainer`.
    preprocessor
        Fitted on the data set ``"train"`` and applied to all; kept in the checkpoint (older API).

    Examples
    --------
    >>> from rayjup import train
    >>> from rayjup.train.base_trainer import BaseTrainer
    >>> class Mean(BaseTrainer):
    ...     def training_loop(self):
    ...         values = self.datasets["train"]
    ...         train.report({"mean": sum(values) / len(values)})
    >>> import tempfile
    >>> run = train.RunConfig(storage_path=tempfile.mkdtemp())
    >>> Mean(datasets={"train": [1, 2, 3]}, run_config=run).fit().metrics
    {'mean': 2.0}
    """

    def __init__(
        self,
        *,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        preprocessor: Any = None,
    ) -> None:
        _typed(self, "scaling_config", scaling_config, ScalingConfig)
        _typed(self, "run_config", run_config, RunConfig)
        _typed(self, "resume_from_checkpoint", resume_from_checkpoint, Checkpoint)
        if datasets is not None and not isinstance(datasets, Mapping):
            raise TypeError(
                f"{type(self).__name__}: datasets must be a dictionary such as {{'train': dataset}}, "
                f"not {type(datasets).__name__}"
            )
        self.scaling_config = scaling_config or ScalingConfig()
        self.run_config = copy.copy(run_config) if run_config is not None else RunConfig()
        self.datasets: dict[str, Any] = dict(datasets or {})
        self.metadata = metadata
        self.starting_checkpoint = resume_from_checkpoint
        self.preprocessor = preprocessor

    @property
    def resume_from_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to start from."""
        return self.starting_checkpoint

    def setup(self) -> None:
        """Called before training; may be extended."""

    def preprocess_datasets(self) -> None:
        """Make the data sets, and apply the preprocessor; called before training."""
        self.datasets = {
            name: data() if callable(data) and not hasattr(data, "iter_batches") else data
            for name, data in self.datasets.items()
        }
        if self.preprocessor is None or not self.datasets:
            return
        if "train" in self.datasets and not _is_fitted(self.preprocessor):
            self.preprocessor.fit(self.datasets["train"])
        self.datasets = {name: self.preprocessor.transform(data) for name, data in self.datasets.items()}
        self.starting_preprocessor = self.preprocessor

    def training_loop(self) -> None:
        """What is to be done; reports through `rayjup.train.report`."""
        raise NotImplementedError(f"{type(self).__name__} must define training_loop(): what training does")

    def fit(self) -> Result:
        """Train; what it came to. A trainer with a `training_loop` of its own runs it in this process."""
        from rayjup.train.controller.job import TrainJob
        from rayjup.train.controller.local import LocalLeader
        from rayjup.train.data_config import DataConfig
        from rayjup.train.data_parallel_trainer import BackendConfig

        self.setup()
        self.preprocess_datasets()
        job = TrainJob(
            function=lambda: self.training_loop(),
            config=None,
            scaling=self.scaling_config,
            run_config=self.run_config,
            backend=BackendConfig(),
            datasets=self.datasets,
            data_config=DataConfig(datasets_to_split=[]),
            checkpoint=self.starting_checkpoint,
            metadata=dict(self.metadata or {}),
            name=type(self).__name__,
        )
        return LocalLeader(job).run()

    def as_trainable(self) -> Callable[[dict[str, Any]], Any]:
        """The trainer as a function of a trial's config, for a Tuner."""
        trainer = self

        def trainable(config: dict[str, Any]) -> None:
            session.require("a trainer's trainable")
            one = copy.copy(trainer)
            from rayjup.runs.trainers import merge_params

            own = {name: vars(trainer)[name] for name in config if vars(trainer).get(name) is not None}
            for name, value in merge_params(own, config).items():
                setattr(one, name, value)
            one.setup()
            one.preprocess_datasets()
            one.training_loop()

        trainable.__name__ = type(self).__name__
        return trainable

    @classmethod
    def restore(cls, path: str, storage_filesystem: Any = None, **kwargs: Any) -> Any:
        """A trainer that goes on with the run in a directory (older API).

        Today a run is gone on with by giving ``RunConfig`` the same name and storage path again.

        Parameters
        ----------
        path
            The run's directory.
        kwargs
            The trainer's arguments, which the directory does not hold.
        """
        import posixpath

        if not cls.can_restore(path, storage_filesystem):
            raise ValueError(f"there is no run to go on with in {path!r}")
        warnings.warn(
            f"{cls.__name__}.restore(path) is now {cls.__name__}(run_config=RunConfig(name=..., "
            f"storage_path=...)) "
            "with the name and path of the run",
            DeprecationWarning,
            stacklevel=2,
        )
        above, name = posixpath.split(str(path).rstrip("/"))
        config = copy.copy(kwargs.pop("run_config", None)) or RunConfig()
        config.name, config.storage_path, config.storage_filesystem = name, above, storage_filesystem
        return cls(run_config=config, **kwargs)

    @classmethod
    def can_restore(cls, path: str, storage_filesystem: Any = None) -> bool:
        """Whether a directory holds a run that can be gone on with (older API)."""
        import posixpath

        from rayjup.runs import storage
        from rayjup.runs.reading import CHECKPOINTS_FILE

        filesystem, on_it = storage.resolve(path, storage_filesystem)
        return storage.exists(filesystem, posixpath.join(on_it, CHECKPOINTS_FILE))

    def __repr__(self) -> str:
        parts = [f"scaling_config={self.scaling_config!r}", f"run_config={self.run_config!r}"]
        if self.datasets:
            parts.append(f"datasets={format_datasets_for_repr(self.datasets)}")
        return f"<{type(self).__name__} {' '.join(parts)}>"


def format_datasets_for_repr(datasets: Mapping[str, Any] | None) -> str:
    """Data sets by name and kind, without executing them.

    Examples
    --------
    >>> from rayjup.train.base_trainer import format_datasets_for_repr
    >>> format_datasets_for_repr({"train": [1, 2]})
    "{'train': list}"
    """
    shown = {name: type(data).__name__ for name, data in (datasets or {}).items()}
    return "{" + ", ".join(f"{name!r}: {kind}" for name, kind in shown.items()) + "}"


def _is_fitted(preprocessor: Any) -> bool:
    status = getattr(preprocessor, "fit_status", None)
    return status is not None and getattr(status(), "name", "") == "FITTED"


def _typed(trainer: Any, name: str, value: Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(
            f"{type(trainer).__name__}: {name} must be a {kind.__name__}, not {type(value).__name__} "
            f"({value!r})"
        )
