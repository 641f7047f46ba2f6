"""Checkpoints that were reported."""

from __future__ import annotations

from rayjup.train.reporting import (
    ReportedCheckpoint,
    ReportedCheckpointStatus,
)

__all__ = [
    "ReportedCheckpoint",
    "ReportedCheckpointStatus",
]
