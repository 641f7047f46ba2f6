"""Model serving (mirrors ``ray.serve``).

``api``, ``deployment``, ``handle``
    What programs use: ``@deployment``, ``bind``, ``run``, handles.
``batching``, ``multiplex``, ``context``, ``metrics``
    For the code of deployments: ``@batch``, ``@multiplexed``, what a replica knows of itself.
``config``, ``schema``, ``autoscaling_policy``, ``request_router``, ``gang``
    Settings and what they refer to.
``build``, ``rest``, ``scripts``
    From configuration files; as REST; on the command line (``python -m rayjup.serve``).
``llm``, ``task_consumer``, ``grpc_util``, ``gradio_integrations``
    Further ways in.
``_private``
    How it works; its docstring is the map.

Everything is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_WHERE = {
    **dict.fromkeys(
        (
            "RunTarget",
            "delete",
            "deployment",
            "get_app_handle",
            "get_deployment_actor",
            "get_deployment_handle",
            "get_handle",
            "ingress",
            "run",
            "run_many",
            "shutdown",
            "shutdown_async",
            "start",
            "status",
        ),
        "api",
    ),
    "batch": "batching",
    "multiplexed": "multiplex",
    **dict.fromkeys(
        (
            "get_deployment_actor_context",
            "get_multiplexed_model_id",
            "get_replica_context",
            "get_trace_context",
        ),
        "context",
    ),
    "Application": "deployment",
    "Deployment": "deployment",
    "ControllerOptions": "config",
    "HTTPOptions": "config",
    "TracingConfig": "schema",
}
_MODULES = {
    "api",
    "autoscaling_policy",
    "batching",
    "config",
    "context",
    "dag",
    "exceptions",
    "gang",
    "handle",
    "llm",
    "metrics",
    "request_router",
    "schema",
    "utils",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is not None:
        value = getattr(importlib.import_module(f"{__name__}.{where}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})


class _Package(ModuleType):
    """``deployment`` is the decorator, and stays it when the module of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "deployment" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return importlib.import_module, (self.__name__,)  # as other modules: by name


sys.modules[__name__].__class__ = _Package
