"""Read-only views of a cluster, for displays, the side panel, traces and metrics."""

from __future__ import annotations

import importlib
from typing import Any

from rayjup.observe.view import ClusterView, current

_WHERE = {"metrics_text": "metrics"}

__all__ = ["ClusterView", "current", "metrics_text"]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'rayjup.observe' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rayjup.observe.{where}"), name)
    globals()[name] = value
    return value
