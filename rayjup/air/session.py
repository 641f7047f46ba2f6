"""What training functions and trials of Ray 2.0 to 2.6 called: ``session.report`` and so on.

They do the same as ``train.report`` and ``tune.report`` of today, in whatever run they are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayjup.air import say_once
from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint


def report(metrics: dict[str, Any], *, checkpoint: Checkpoint | None = None) -> None:
    """Report metrics and a checkpoint; today ``train.report`` or ``tune.report``."""
    say_once("ray.air.session.report", "ray.train.report or ray.tune.report")
    session.report(metrics, checkpoint=checkpoint)


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from; today ``train.get_checkpoint`` or ``tune.get_checkpoint``."""
    say_once("ray.air.session.get_checkpoint", "ray.train.get_checkpoint or ray.tune.get_checkpoint")
    return session.get_checkpoint()


def get_dataset_shard(dataset_name: str | None = None) -> Any:
    """This worker's share of a data set; today ``train.get_dataset_shard``."""
    return _run("get_dataset_shard").get_dataset_shard(dataset_name)


def get_experiment_name() -> str | None:
    """Name of the experiment."""
    return _run("get_experiment_name").experiment_name


def get_trial_name() -> str | None:
    """Name of the trial."""
    return _run("get_trial_name").trial_name


def get_trial_id() -> str | None:
    """Id of the trial."""
    return _run("get_trial_id").trial_id


def get_trial_resources() -> Any:
    """What the trial asked for."""
    return _run("get_trial_resources").trial_resources


def get_trial_dir() -> str | None:
    """The trial's directory."""
    return _run("get_trial_dir").trial_dir


def get_metadata() -> Mapping[str, Any]:
    """What was given to the trainer as ``metadata``."""
    return _run("get_metadata").metadata


def get_world_size() -> int:
    """Number of workers."""
    return _run("get_world_size").world_size


def get_world_rank() -> int:
    """Rank among the workers."""
    return _run("get_world_rank").world_rank


def get_local_rank() -> int:
    """Rank on this node."""
    return _run("get_local_rank").local_rank


def get_local_world_size() -> int:
    """Number of workers on this node."""
    return _run("get_local_world_size").local_world_size


def get_node_rank() -> int:
    """Rank of the node."""
    return _run("get_node_rank").node_rank


def _run(name: str) -> session.RunSession:
    say_once(f"ray.air.session.{name}", f"ray.train.get_context().{name}")
    return session.require(f"session.{name}()")
