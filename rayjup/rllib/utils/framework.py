"""PyTorch, and packages of other frameworks that programs look for."""

from __future__ import annotations

import importlib
from typing import Any


def _import(name: str, extra: str, error: bool) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        if error:
            raise ImportError(f"{name} is not installed: pip install {extra}") from None
        return None


def try_import_torch(error: bool = False) -> tuple[Any, Any]:
    """(torch, torch.nn), or (None, None) where PyTorch is missing."""
    torch = _import("torch", "'rayjup[rllib]'", error)
    return (None, None) if torch is None else (torch, torch.nn)


def try_import_tf(error: bool = False) -> tuple[Any, Any, int | None]:
    """(tensorflow.compat.v1, tensorflow, its major version), or Nones."""
    tf = _import("tensorflow", "tensorflow", error)
    return (None, None, None) if tf is None else (tf.compat.v1, tf, int(tf.__version__.split(".")[0]))


def try_import_tfp(error: bool = False) -> Any:
    """tensorflow_probability, or None."""
    return _import("tensorflow_probability", "tensorflow_probability", error)


def try_import_jax(error: bool = False) -> tuple[Any, Any]:
    """(jax, flax), or (None, None)."""
    jax = _import("jax", "jax", error)
    return (None, None) if jax is None else (jax, _import("flax", "flax", error))


def convert_to_tensor(data: Any, framework: str = "torch", device: str | None = None) -> Any:
    """Arrays in a structure as tensors."""
    if framework != "torch":
        raise ValueError(f"framework {framework!r}: tensors are PyTorch's, say 'torch'.")
    from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor

    return convert_to_torch_tensor(data, device)


def get_device(config: Any, num_gpus_requested: float = 1) -> Any:
    """The device a module of a config goes to."""
    import torch

    if num_gpus_requested and torch.cuda.is_available():
        return torch.device(f"cuda:{config.local_gpu_idx}")
    return torch.device("cpu")
