"""TensorFlow: ``MultiWorkerMirroredStrategy`` on Ray's workers."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "TensorflowCheckpoint": "rayjup.train.tensorflow.tensorflow_checkpoint",
    "TensorflowConfig": "rayjup.train.tensorflow.config",
    "TensorflowPredictor": "rayjup.train.tensorflow.tensorflow_predictor",
    "TensorflowTrainer": "rayjup.train.tensorflow.tensorflow_trainer",
    "prepare_dataset_shard": "rayjup.train.tensorflow.train_loop_utils",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    if name == "keras":
        return importlib.import_module("rayjup.train.tensorflow.keras")
    raise AttributeError(f"module 'rayjup.train.tensorflow' has no attribute {name!r}")
