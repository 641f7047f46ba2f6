"""``transformers.Trainer`` in training functions."""

from __future__ import annotations

import importlib
from typing import Any

from rayjup.train.huggingface.transformers.prepare import prepare_trainer

__all__ = ["RayTrainReportCallback", "prepare_trainer"]


def __getattr__(name: str) -> Any:
    if name == "RayTrainReportCallback":
        return importlib.import_module(
            "rayjup.train.huggingface.transformers.callback"
        ).RayTrainReportCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
