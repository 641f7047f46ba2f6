"""rayjup: Ray for notebooks, on Dask ``distributed``.

``import rayjup as ray`` is enough for Ray programs; everything is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from rayjup._version import __version__

_WHERE = {
    **dict.fromkeys(
        (
            "init",
            "shutdown",
            "is_initialized",
            "remote",
            "get",
            "put",
            "wait",
            "cancel",
            "kill",
            "get_actor",
            "nodes",
            "cluster_resources",
            "available_resources",
        ),
        "rayjup.core.api",
    ),
    "method": "rayjup.core.actor",
    "timeline": "rayjup.observe.timeline",
    "get_runtime_context": "rayjup.core.runtime_context",
    "get_gpu_ids": "rayjup.core.runtime_context",
    "ObjectRef": "rayjup.engine.ownership.object_ref",
    "LoggingConfig": "rayjup.base.logging_config",
    "Language": "rayjup.core.language",
    "java_function": "rayjup.cross_language",
    "java_actor_class": "rayjup.cross_language",
    "cpp_function": "rayjup.cross_language",
    "client": "rayjup.client_builder",
    "DynamicObjectRefGenerator": "rayjup.engine.runtime.streams",
    "ObjectRefGenerator": "rayjup.engine.runtime.streams",
    **dict.fromkeys(
        (
            "TaskID",
            "ActorID",
            "ActorClassID",
            "NodeID",
            "JobID",
            "WorkerID",
            "FunctionID",
            "UniqueID",
            "PlacementGroupID",
        ),
        "rayjup.base.ids",
    ),
}
_MODULES = {
    "data",
    "exceptions",
    "actor",
    "runtime_context",
    "runtime_env",
    "observe",
    "notebook",
    "cluster",
    "cluster_utils",
    "train",
    "util",
    "dag",
    "experimental",
    "internal",
    "job_config",
    "remote_function",
    "types",
    "widgets",
    "workflow",
    "tune",
    "runs",
    "serve",
}

SCRIPT_MODE = 0
WORKER_MODE = 1

__all__ = [*_WHERE, "ObjectID", "SCRIPT_MODE", "WORKER_MODE", "__version__"]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is not None:
        module = importlib.import_module(where)
        value = getattr(module, name)
        globals()[name] = value
        return value
    if name == "ObjectID":  # what refs were called before Ray 2
        return __getattr__("ObjectRef")
    if name in _MODULES:
        return importlib.import_module(f"rayjup.{name}")
    raise AttributeError(f"module 'rayjup' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})


def load_ipython_extension(ipython: Any) -> None:
    """``%load_ext rayjup``: the magics and displays."""
    from rayjup import notebook

    notebook.load_ipython_extension(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """``%unload_ext rayjup``."""
    from rayjup import notebook

    notebook.unload_ipython_extension(ipython)
