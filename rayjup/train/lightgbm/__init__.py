"""LightGBM: distributed training on its own sockets."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "LightGBMCheckpoint": "rayjup.train.lightgbm.lightgbm_checkpoint",
    "LightGBMConfig": "rayjup.train.lightgbm.config",
    "LightGBMPredictor": "rayjup.train.lightgbm.lightgbm_predictor",
    "LightGBMTrainer": "rayjup.train.lightgbm.lightgbm_trainer",
    "RayTrainReportCallback": "rayjup.train.lightgbm.callback",
    "get_network_params": "rayjup.train.lightgbm.config",
    "normalize_pandas_for_lightgbm": "rayjup.train.lightgbm.tables",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rayjup.train.lightgbm' has no attribute {name!r}")
