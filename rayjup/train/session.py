"""Functions of training workers in the vocabulary of Ray 1.x (``train.world_rank()``,
``train.save_checkpoint(...)``).

Today: ``train.get_context()``, ``train.report(metrics, checkpoint=...)`` and ``train.get_checkpoint()``.
"""

from __future__ import annotations

import warnings
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.session import get_checkpoint
from rayjup.train.context import get_context
from rayjup.train.functions import get_dataset_shard, report

__all__ = [
    "get_checkpoint",
    "get_dataset_shard",
    "load_checkpoint",
    "local_rank",
    "local_world_size",
    "node_rank",
    "report",
    "save_checkpoint",
    "size",
    "world_rank",
    "world_size",
]

_warned: set[str] = set()


def _old(name: str, today: str) -> None:
    if name not in _warned:
        _warned.add(name)
        warnings.warn(f"train.{name}() is now {today}", DeprecationWarning, stacklevel=3)


def world_rank() -> int:
    """This worker's number among all."""
    _old("world_rank", "train.get_context().get_world_rank()")
    return get_context().get_world_rank()


def local_rank() -> int:
    """This worker's number on its node."""
    _old("local_rank", "train.get_context().get_local_rank()")
    return get_context().get_local_rank()


def node_rank() -> int:
    """This node's number."""
    _old("node_rank", "train.get_context().get_node_rank()")
    return get_context().get_node_rank()


def world_size() -> int:
    """Number of workers."""
    _old("world_size", "train.get_context().get_world_size()")
    return get_context().get_world_size()


def local_world_size() -> int:
    """Number of workers on this node."""
    _old("local_world_size", "train.get_context().get_local_world_size()")
    return get_context().get_local_world_size()


def size() -> int:
    """Number of workers."""
    return world_size()


def save_checkpoint(**values: Any) -> None:
    """Keep a dictionary as a checkpoint; all ranks call it, and that of rank 0 is kept."""
    _old("save_checkpoint", "train.report(metrics, checkpoint=...)")
    run = session.require("save_checkpoint()")
    run.report({}, Checkpoint.from_dict(values) if run.world_rank == 0 else None)


def load_checkpoint() -> dict[str, Any] | None:
    """The dictionary of the checkpoint to go on from."""
    _old("load_checkpoint", "train.get_checkpoint()")
    found = get_checkpoint()
    return found.to_dict() if found is not None else None
