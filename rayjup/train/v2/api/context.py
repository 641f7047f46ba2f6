"""The context of training functions."""

from __future__ import annotations

from rayjup.train.context import (
    TrainContext,
)

__all__ = [
    "TrainContext",
]
