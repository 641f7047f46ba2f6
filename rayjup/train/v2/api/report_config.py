"""Arguments of ``report``."""

from __future__ import annotations

from rayjup.train.reporting import (
    CheckpointConsistencyMode,
    CheckpointUploadMode,
)

__all__ = [
    "CheckpointConsistencyMode",
    "CheckpointUploadMode",
]
