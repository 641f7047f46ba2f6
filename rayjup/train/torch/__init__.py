"""PyTorch: DistributedDataParallel and its relatives on Ray's workers."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "TorchConfig": "rayjup.train.torch.config",
    "TorchBackend": "rayjup.train.torch.config",
    "TorchTrainer": "rayjup.train.torch.torch_trainer",
    **dict.fromkeys(
        (
            "accelerate",
            "backward",
            "enable_reproducibility",
            "get_device",
            "get_devices",
            "prepare_data_loader",
            "prepare_model",
            "prepare_optimizer",
        ),
        "rayjup.train.torch.train_loop_utils",
    ),
    "TorchCheckpoint": "rayjup.train.torch.torch_checkpoint",
    "TorchPredictor": "rayjup.train.torch.torch_predictor",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    if name in ("config", "xla"):
        return importlib.import_module(f"rayjup.train.torch.{name}")
    raise AttributeError(f"module 'rayjup.train.torch' has no attribute {name!r}")
