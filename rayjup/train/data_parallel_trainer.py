"""The trainer that all others are made of: one function, run by several workers at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.runs.result import Result
from rayjup.runs.trainers import merge_params
from rayjup.train.backend import BackendConfig
from rayjup.train.base_trainer import BaseTrainer
from rayjup.train.controller.job import TrainJob
from rayjup.train.data_config import DataConfig
from rayjup.train.reporting import ValidationConfig
from rayjup.train.worker.calling import check_signature


class DataParallelTrainer(BaseTrainer):
    """Runs a function on several workers, each with its share of the data.

    Parameters
    ----------
    train_loop_per_worker
        Called on every worker, with ``train_loop_config`` if it takes an argument.
    train_loop_config
        The function's argument.
    backend_config
        What is set up on the workers before (`Backend`).
    scaling_config, run_config
        How many workers with what; where the run is kept and how failures are taken.
    datasets
        Data sets by name, for `rayjup.train.get_dataset_shard`.
    dataset_config
        How they are divided.
    resume_from_checkpoint
        What ``get_checkpoint()`` gives at the start.
    metadata
        Kept in the checkpoints' metadata (older API).
    validation_config
        How checkpoints are validated beside training.

    Examples
    --------
    >>> import tempfile
    >>> from rayjup import train
    >>> from rayjup.train.data_parallel_trainer import DataParallelTrainer
    >>> def train_fn(config):
    ...     train.report({"rank": train.get_context().get_world_rank(), "lr": config["lr"]})
    >>> trainer = DataParallelTrainer(
    ...     train_fn,
    ...     train_loop_config={"lr": 0.1},
    ...     scaling_config=train.ScalingConfig(num_workers=2),
    ...     run_config=train.RunConfig(storage_path=tempfile.mkdtemp()),
    ... )
    >>> trainer.fit().metrics
    {'rank': 0, 'lr': 0.1}
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        backend_config: BackendConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: dict[str, Any] | None = None,
        dataset_config: DataConfig | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        metadata: dict[str, Any] | None = None,
        validation_config: ValidationConfig | None = None,
        preprocessor: Any = None,
    ) -> None:
        check_signature(train_loop_per_worker)
        super().__init__(
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
            preprocessor=preprocessor,
        )
        self.train_loop_per_worker = train_loop_per_worker
        self.train_loop_config = dict(train_loop_config) if train_loop_config is not None else None
        self.backend_config = backend_config or BackendConfig()
        self.data_config = dataset_config or DataConfig()
        self.validation_config = validation_config

    def get_dataset_config(self) -> DataConfig:
        """How the data sets are divided."""
        return copy.copy(self.data_config)

    def fit(self) -> Result:
        """Train; what it came to.

        Raises
        ------
        TrainingFailedError
            Workers failed more often than allowed, or the run could not be started.
        """
        return self._lead()

    def training_loop(self) -> None:
        """Train inside of a session that is there already, such as that of a Tune trial."""
        self._lead()

    def _lead(self) -> Result:
        self.setup()
        self.preprocess_datasets()
        if session.current() is not None:
            self._compute_data_early()
        job = self._job()
        if job.scaling.num_workers == 0:
            from rayjup.train.controller.local import LocalLeader

            return self._finished(LocalLeader(job).run())
        import rayjup

        if not rayjup.is_initialized():
            rayjup.init()
        from rayjup.train.controller.leader import Leader

        return self._finished(Leader(job).run())

    def _compute_data_early(self) -> None:
        """In a trial whose tasks run in its own bundles, compute data sets before the workers fill these."""
        import rayjup

        if not self.scaling_config.max_workers or not rayjup.is_initialized():
            return
        if not rayjup.get_runtime_context().should_capture_child_tasks_in_placement_group:
            return
        for name, data in self.datasets.items():
            if hasattr(data, "streaming_split") and hasattr(data, "materialize"):
                self.datasets[name] = data.materialize()

    def _job(self) -> TrainJob:
        function, config = self._training_function()
        return TrainJob(
            function=function,
            config=config,
            scaling=self.scaling_config,
            run_config=self.run_config,
            backend=self.backend_config,
            datasets=dict(self.datasets),
            data_config=self.data_config,
            validation=self.validation_config,
            checkpoint=self.starting_checkpoint,
            metadata=dict(self.metadata or {}),
            name=type(self).__name__,
        )

    def _training_function(self) -> tuple[Callable[..., Any], dict[str, Any] | None]:
        """The function for the workers and its config; subclasses may run another around the user's."""
        return self.train_loop_per_worker, self.train_loop_config

    def _finished(self, result: Result) -> Result:
        if self.preprocessor is not None and result.checkpoint is not None:
            result.checkpoint.set_preprocessor(self.preprocessor)
        return result

    # ------------------------------------------------------------ for Tune

    def as_trainable(self) -> Callable[[dict[str, Any]], Any]:
        """The trainer as a function of a trial's config, for a Tuner."""
        trainer = self

        def trainable(config: dict[str, Any]) -> None:
            one = trainer._with(config)
            if session.current() is None:
                raise RuntimeError("a trainer's trainable runs inside of a trial")
            one.training_loop()

        trainable.__name__ = type(self).__name__
        return trainable

    def trial_resources(self, config: dict[str, Any]) -> PlacementGroupFactory:
        """What one trial asks for: nothing for its own actor, and the workers' bundles."""
        scaling = self._with(config).scaling_config
        if scaling.max_workers == 0:
            return PlacementGroupFactory([{**(scaling._worker_resources or {"CPU": 1.0})}])
        return scaling.as_placement_group_factory()

    def _with(self, config: Mapping[str, Any]) -> DataParallelTrainer:
        """This trainer with a trial's settings on top of its own."""
        changed = copy.copy(self)
        known = {name: vars(self)[name] for name in vars(self) if not name.startswith("_")}
        own = {name: known[name] if known[name] is not None else {} for name in config if name in known}
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise ValueError(
                f"{type(self).__name__}: the search space has {unknown}, which the trainer does not know; "
                "values for the training function go below 'train_loop_config'"
            )
        for name, value in merge_params(own, config).items():
            setattr(changed, name, value)
        return changed
