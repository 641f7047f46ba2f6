"""What training functions call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.exceptions import SessionMisuseError
from rayjup.train.preemption import PreemptionInfo
from rayjup.train.reporting import (
    CheckpointConsistencyMode,
    CheckpointUploadMode,
    ReportedCheckpoint,
    ValidationTaskConfig,
)
from rayjup.train.worker.session import TrainSession


def report(
    metrics: dict[str, Any] | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_dir_name: str | None = None,
    checkpoint_upload_mode: CheckpointUploadMode = CheckpointUploadMode.SYNC,
    delete_local_checkpoint_after_upload: bool | None = None,
    checkpoint_upload_fn: Callable[[Checkpoint, str], Checkpoint] | None = None,
    validation: bool | ValidationTaskConfig = False,
    **named: Any,
) -> None:
    """Report metrics and, perhaps, a checkpoint. All ranks call it equally often, and wait for each other.

    Parameters
    ----------
    metrics
        A dictionary; those of rank 0 count. (Keyword arguments are the oldest spelling.)
    checkpoint
        What is needed to go on. Checkpoints of several ranks go into one directory.
    checkpoint_dir_name
        Name of that directory; made up otherwise.
    checkpoint_upload_mode
        Whether it is brought to storage before this returns.
    delete_local_checkpoint_after_upload
        Whether the local directory is removed then.
    checkpoint_upload_fn
        Brings the checkpoint to storage instead: takes it and the name, returns the one that lies there.
    validation
        Whether the checkpoint is validated; see `ValidationConfig`.

    Examples
    --------
    >>> from rayjup import train
    >>> def train_fn():
    ...     for epoch in range(2):
    ...         train.report({"loss": 1.0 / (epoch + 1)})
    >>> from rayjup.train.data_parallel_trainer import DataParallelTrainer
    >>> import tempfile
    >>> run = train.RunConfig(storage_path=tempfile.mkdtemp())
    >>> here = train.ScalingConfig(num_workers=0)
    >>> trainer = DataParallelTrainer(train_fn, scaling_config=here, run_config=run)
    >>> trainer.fit().metrics
    {'loss': 0.5}
    """
    session.report(
        metrics,
        checkpoint=checkpoint,
        options={
            key: value
            for key, value in {
                "checkpoint_dir_name": checkpoint_dir_name,
                "checkpoint_upload_mode": checkpoint_upload_mode,
                "delete_local_checkpoint_after_upload": delete_local_checkpoint_after_upload,
                "checkpoint_upload_fn": checkpoint_upload_fn,
                "validation": validation,
            }.items()
            if value not in (None, False, CheckpointUploadMode.SYNC)
        },
        **named,
    )


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from; None at the first start."""
    return session.get_checkpoint()


def get_dataset_shard(dataset_name: str | None = None) -> Any:
    """This worker's share of a data set that the trainer was given.

    Parameters
    ----------
    dataset_name
        Key in ``datasets``; not needed when there is one only.
    """
    return session.require("get_dataset_shard()").get_dataset_shard(dataset_name)


def get_all_reported_checkpoints(
    consistency_mode: CheckpointConsistencyMode = CheckpointConsistencyMode.VALIDATED,
    timeout_s: float | None = None,
) -> list[ReportedCheckpoint]:
    """The run's checkpoints that are kept, oldest first, when all reports so far are taken in.

    Parameters
    ----------
    consistency_mode
        Whether validations are waited for, too.
    timeout_s
        Seconds to wait at the most.
    """
    return train_session("get_all_reported_checkpoints()").get_all_reported_checkpoints(
        consistency_mode, timeout_s
    )


def get_preemption_info() -> PreemptionInfo | None:
    """What is known of nodes about to be taken away, the same on all ranks; all must ask equally often."""
    return train_session("get_preemption_info()").get_preemption_info()


def train_session(what: str) -> TrainSession:
    """The session of the training worker that asks."""
    found = session.current()
    if not isinstance(found, TrainSession):
        raise SessionMisuseError(
            f"{what} works only inside of a training function, on a worker that a Trainer has started"
        )
    return found
