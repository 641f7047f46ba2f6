"""The three steps in which an actor runs its part of a compiled graph."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DAGNodeOperationType(enum.Enum):
    """A step of one method in one execution."""

    READ = "READ"
    COMPUTE = "COMPUTE"
    WRITE = "WRITE"


@dataclass(frozen=True)
class DAGNodeOperation:
    """A step of the task with this index in its actor's list."""

    exec_task_idx: int
    type: DAGNodeOperationType
