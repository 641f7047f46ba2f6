"""What training functions and trials called in Ray 2.0 to 2.6; today ``train.report``,
``train.get_context()`` …"""

from __future__ import annotations

from typing import Any

from rayjup.runs import session as runs
from rayjup.runs.checkpoint import Checkpoint

__all__ = [
    "get_checkpoint",
    "get_dataset_shard",
    "get_experiment_name",
    "get_local_rank",
    "get_local_world_size",
    "get_metadata",
    "get_node_rank",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "get_world_rank",
    "get_world_size",
    "report",
]


def report(metrics: dict[str, Any], *, checkpoint: Checkpoint | None = None) -> None:
    """Report metrics and, perhaps, a checkpoint.

    Parameters
    ----------
    metrics
        A dictionary.
    checkpoint
        What is needed to go on.
    """
    runs.report(metrics, checkpoint=checkpoint)


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from."""
    return runs.get_checkpoint()


def get_dataset_shard(dataset_name: str | None = None) -> Any:
    """This worker's share of a data set."""
    return runs.require("get_dataset_shard()").get_dataset_shard(dataset_name)


def _here() -> runs.RunSession:
    return runs.current() or runs.RunSession()


def get_experiment_name() -> str | None:
    """Name of the run or experiment."""
    return _here().experiment_name


def get_trial_name() -> str | None:
    """Name of the trial."""
    return _here().trial_name


def get_trial_id() -> str | None:
    """Id of the trial."""
    return _here().trial_id


def get_trial_resources() -> Any:
    """What the trial has asked for."""
    return _here().trial_resources


def get_trial_dir() -> str | None:
    """Directory of the trial."""
    return _here().trial_dir


def get_metadata() -> dict[str, Any]:
    """What the trainer was given as ``metadata``."""
    return dict(_here().metadata)


def get_world_size() -> int:
    """Number of workers.

    Examples
    --------
    >>> from rayjup.air import session
    >>> session.get_world_size()
    1
    """
    return _here().world_size


def get_world_rank() -> int:
    """This worker's number among all."""
    return _here().world_rank


def get_local_rank() -> int:
    """This worker's number on its node."""
    return _here().local_rank


def get_local_world_size() -> int:
    """Number of workers on this node."""
    return _here().local_world_size


def get_node_rank() -> int:
    """This node's number."""
    return _here().node_rank
