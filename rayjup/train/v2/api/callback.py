"""Callbacks."""

from __future__ import annotations

from rayjup.train.callbacks import (
    RayTrainCallback,
    UserCallback,
)

__all__ = [
    "RayTrainCallback",
    "UserCallback",
]
