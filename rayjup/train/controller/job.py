"""All that makes up one run: what a trainer gives to who leads it."""

from __future__ import annotations

import datetime
import os
import posixpath
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.runs import session, storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from rayjup.train.backend import BackendConfig
from rayjup.train.callbacks import TrainRunContext, UserCallback
from rayjup.train.controller.ledger import Ledger
from rayjup.train.controller.machine import Policy
from rayjup.train.reporting import ValidationConfig

HANG_WARNING = "RAYJUP_TRAIN_HANG_WARNING_S"


@dataclass
class TrainJob:
    """One run."""

    function: Callable[..., Any]
    config: dict[str, Any] | None
    scaling: ScalingConfig
    run_config: RunConfig
    backend: BackendConfig
    datasets: dict[str, Any]
    data_config: Any
    validation: ValidationConfig | None = None
    checkpoint: Checkpoint | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = "train"
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @property
    def checkpoint_config(self) -> CheckpointConfig:
        """Which checkpoints are kept."""
        assert self.run_config.checkpoint_config is not None
        return self.run_config.checkpoint_config

    @property
    def failure_config(self) -> FailureConfig:
        """How failures are taken."""
        assert self.run_config.failure_config is not None
        return self.run_config.failure_config

    @property
    def log_level(self) -> str | None:
        """How much is logged, if the user says so."""
        return getattr(self.run_config.logging_config, "log_level", None)

    def policy(self) -> Policy:
        """The rules for the state machine."""
        failure = self.failure_config
        return Policy(
            least=self.scaling.min_workers,
            most=self.scaling.max_workers,
            max_failures=failure.max_failures,
            max_start_failures=failure.controller_failure_limit,
            max_preemptions=failure.max_preemption_failures,
            behind_s=float(os.environ.get(HANG_WARNING, "60")),
            resize_interval_s=self.scaling.elastic_resize_monitor_interval_s,
        )

    def open_ledger(self) -> Ledger:
        """The run's directory; a run that is there under this name is gone on with."""
        given = self.run_config.name
        if not given:
            # The time alone would be the same for two runs of one second.
            stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
            given = f"{self.name}_{stamp}_{self.run_id[:4]}"
        self.name = given
        place = storage.StorageContext(
            self.run_config.storage_path, given, self.run_config.storage_filesystem
        )
        place.check()
        marker = posixpath.join(place.experiment_fs_path, ".validate_storage_marker")
        place.storage_filesystem.delete_file(marker)
        ledger = Ledger(place.storage_filesystem, place.experiment_fs_path, self.checkpoint_config)
        if self.run_config.name:
            ledger.resume()
        return ledger

    def trial_ledger(self, trial: session.RunSession) -> Ledger:
        """A directory in that of the Tune trial that the run is; the trial keeps the checkpoints."""
        base = trial.trial_dir or os.path.join(storage.default_storage_path(), f"trial_{self.run_id}")
        filesystem, path = storage.resolve(os.path.join(base, ".train"))
        self.name = trial.experiment_name or self.name
        return Ledger(filesystem, path, CheckpointConfig(num_to_keep=1))

    def callbacks(self) -> list[UserCallback]:
        """The user's callbacks of this generation; those of Tune's belong to trials."""
        return [one for one in self.run_config.callbacks or [] if isinstance(one, UserCallback)]

    def context(self) -> TrainRunContext:
        """What callbacks are told of the run."""
        return TrainRunContext(
            run_config=self.run_config,
            train_loop_config=self.config,
            scaling_config=self.scaling,
            backend_config=self.backend,
            dataset_config=self.data_config,
            run_id=self.run_id,
            datasets=sorted(self.datasets),
        )
