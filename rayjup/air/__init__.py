"""The vocabulary of Ray 2.0 to 2.6 (``ray.air``): the classes are those of Train and Tune, under older paths.

==============  ==================================================================
`config`        settings of runs
`session`       ``session.report`` and its relatives
`checkpoint`    `Checkpoint`
`result`        `Result`
`integrations`  MLflow, Weights & Biases, Comet, Keras
`execution`     reserving resources for actors
==============  ==================================================================
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "AcquiredResources": "rayjup.air.execution",
    "Checkpoint": "rayjup.runs.checkpoint",
    "CheckpointConfig": "rayjup.runs.config",
    "DataBatchType": "rayjup.air.data_batch_type",
    "FailureConfig": "rayjup.runs.config",
    "ResourceRequest": "rayjup.runs.placement",
    "Result": "rayjup.runs.result",
    "RunConfig": "rayjup.runs.config",
    "ScalingConfig": "rayjup.runs.config",
}
_MODULES = {"checkpoint", "config", "execution", "integrations", "result", "session"}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"rayjup.air.{name}")
    raise AttributeError(f"module 'rayjup.air' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
