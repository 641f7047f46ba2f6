"""How checkpoints are validated."""

from __future__ import annotations

from rayjup.train.reporting import (
    ValidationConfig,
    ValidationFn,
    ValidationTaskConfig,
)

__all__ = [
    "ValidationConfig",
    "ValidationFn",
    "ValidationTaskConfig",
]
