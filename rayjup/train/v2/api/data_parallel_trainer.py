"""The trainer that all others are made of."""

from __future__ import annotations

from rayjup.train.data_parallel_trainer import (
    DataParallelTrainer,
)

__all__ = [
    "DataParallelTrainer",
]
