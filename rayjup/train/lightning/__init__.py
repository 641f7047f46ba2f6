"""Lightning's trainer in training functions."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "RayDDPStrategy": "rayjup.train.lightning.strategies",
    "RayDeepSpeedStrategy": "rayjup.train.lightning.strategies",
    "RayFSDPStrategy": "rayjup.train.lightning.strategies",
    "RayLightningEnvironment": "rayjup.train.lightning.strategies",
    "RayTrainReportCallback": "rayjup.train.lightning.callback",
    "prepare_trainer": "rayjup.train.lightning.strategies",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rayjup.train.lightning' has no attribute {name!r}")
