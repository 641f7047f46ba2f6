"""scikit-learn: one estimator, fitted on one worker (older API)."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "SklearnCheckpoint": "rayjup.train.sklearn.sklearn_checkpoint",
    "SklearnPredictor": "rayjup.train.sklearn.sklearn_predictor",
    "SklearnTrainer": "rayjup.train.sklearn.sklearn_trainer",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rayjup.train.sklearn' has no attribute {name!r}")
