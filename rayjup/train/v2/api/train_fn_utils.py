"""What training functions call."""

from __future__ import annotations

from rayjup.train.context import (
    get_context,
)
from rayjup.train.functions import (
    get_all_reported_checkpoints,
    get_checkpoint,
    get_dataset_shard,
    get_preemption_info,
    report,
)

__all__ = [
    "get_context",
    "get_all_reported_checkpoints",
    "get_checkpoint",
    "get_dataset_shard",
    "get_preemption_info",
    "report",
]
