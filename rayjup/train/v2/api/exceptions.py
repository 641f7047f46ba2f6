"""Errors."""

from __future__ import annotations

from rayjup.train.exceptions import (
    ControllerError,
    NCCLHangError,
    PreemptionError,
    TrainingFailedError,
    WorkerGroupError,
)

__all__ = [
    "ControllerError",
    "NCCLHangError",
    "PreemptionError",
    "TrainingFailedError",
    "WorkerGroupError",
]
