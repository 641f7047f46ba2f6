"""Hugging Face's trainers in training functions."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["transformers"]


def __getattr__(name: str) -> Any:
    if name == "transformers":
        return importlib.import_module("rayjup.train.huggingface.transformers")
    raise AttributeError(f"module 'rayjup.train.huggingface' has no attribute {name!r}")
