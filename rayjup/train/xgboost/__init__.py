"""XGBoost: distributed training on its own collective."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "RayTrainReportCallback": "rayjup.train.xgboost.callback",
    "XGBoostCheckpoint": "rayjup.train.xgboost.xgboost_checkpoint",
    "XGBoostConfig": "rayjup.train.xgboost.config",
    "XGBoostPredictor": "rayjup.train.xgboost.xgboost_predictor",
    "XGBoostTrainer": "rayjup.train.xgboost.xgboost_trainer",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rayjup.train.xgboost' has no attribute {name!r}")
