"""Tensors of whatever library as NumPy arrays over the same memory."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """Whether this is an array or tensor of a library that we know."""
    if isinstance(value, np.ndarray):
        return True
    return any(
        name in sys.modules and isinstance(value, getattr(sys.modules[name], kind))
        for name, kind in (("torch", "Tensor"), ("cupy", "ndarray"))
    )


def as_array(tensor: Any, writes: bool = True) -> np.ndarray:
    """The tensor's own memory as an array.

    Raises
    ------
    ValueError
        It is not in the memory of the CPU, or is read-only and ``writes``.
    """
    array = tensor
    if not isinstance(tensor, np.ndarray):
        device = str(getattr(tensor, "device", "another device"))
        if not hasattr(tensor, "detach") or not device.startswith("cpu"):
            raise ValueError(
                f"this backend works in the memory of the CPU; the {type(tensor).__name__} is on {device}. "
                "Copy it "
                "with .cpu() (PyTorch) or .get() (CuPy) first."
            )
        array = tensor.detach().numpy()
    if writes and not array.flags.writeable:
        raise ValueError(
            "the array is read-only, as arrays from ray.get() are, and this operation writes to it: pass "
            "array.copy()."
        )
    return array
