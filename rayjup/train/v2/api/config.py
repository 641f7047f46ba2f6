"""Settings."""

from __future__ import annotations

from rayjup.runs.config import (
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
)
from rayjup.train.logging_config import (
    LoggingConfig,
)

__all__ = [
    "CheckpointConfig",
    "FailureConfig",
    "RunConfig",
    "ScalingConfig",
    "LoggingConfig",
]
