"""The vocabulary of Ray 2.0 to 2.6 (mirrors ``ray.air``): translation only.

Everything lives elsewhere: settings, checkpoints and results in `rayjup.runs`. ``session`` and
``Checkpoint`` of those days say once what they are called today. `execution` reserves resources for those
who start actors themselves.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, Union

_WHERE = {
    **dict.fromkeys(
        ("CheckpointConfig", "FailureConfig", "RunConfig", "ScalingConfig"), "rayjup.runs.config"
    ),
    "Result": "rayjup.runs.result",
    "AcquiredResources": "rayjup.air.execution",
    "ResourceRequest": "rayjup.runs.placement",
}
_OLD = {
    "Checkpoint": ("rayjup.runs.checkpoint", "ray.train.Checkpoint"),
}
_MODULES = {"checkpoint", "config", "execution", "integrations", "result", "session"}

DataBatchType = Union["numpy.ndarray", "pandas.DataFrame", "pyarrow.Table", dict[str, "numpy.ndarray"]]  # type: ignore[name-defined]  # noqa: F821

__all__ = [*_WHERE, "Checkpoint", "DataBatchType", "session"]

_said: set[str] = set()


def say_once(old: str, new: str) -> None:
    """Warn, once per process, that a name of the older vocabulary has another one today."""
    if old not in _said:
        _said.add(old)
        warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=4)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    if name in _OLD:
        module, today = _OLD[name]
        say_once(f"ray.air.{name}", today)
        return getattr(importlib.import_module(module), name)
    if name in _MODULES:
        return importlib.import_module(f"rayjup.air.{name}")
    raise AttributeError(f"module 'rayjup.air' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_OLD, *_MODULES})
