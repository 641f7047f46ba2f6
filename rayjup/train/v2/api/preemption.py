"""Nodes that are about to go."""

from __future__ import annotations

from rayjup.train.preemption import (
    PreemptionInfo,
)

__all__ = [
    "PreemptionInfo",
]
