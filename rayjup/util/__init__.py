"""Ray's extras (mirrors ``ray.util``); everything is loaded when first used."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "ActorPool": "actor_pool",
    "as_completed": "helpers",
    "map_unordered": "helpers",
    "log_once": "debug",
    "disable_log_once_globally": "debug",
    "enable_periodic_logging": "debug",
    "get_node_ip_address": "node",
    "get_node_instance_id": "node",
    "list_named_actors": "named_actors",
    "inspect_serializability": "check_serialize",
    "register_serializer": "serialization",
    "deregister_serializer": "serialization",
    "placement_group": "placement_group",
    "placement_group_table": "placement_group",
    "get_placement_group": "placement_group",
    "get_current_placement_group": "placement_group",
    "remove_placement_group": "placement_group",
}
_MODULES = {
    **{
        name: name
        for name in (
            "accelerators",
            "actor_pool",
            "check_serialize",
            "client",
            "collective",
            "dask",
            "debug",
            "debugpy",
            "helpers",
            "joblib",
            "metrics",
            "multiprocessing",
            "queue",
            "rpdb",
            "scheduling_strategies",
            "serialization",
            "state",
            "tpu",
            "tracing",
        )
    },
    # Ray shows its debuggers under these two names as well.
    "pdb": "rpdb",
    "ray_debugpy": "debugpy",
}

__all__ = sorted({*_WHERE, "accelerators", "collective"})


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is not None:
        # Kept here afterwards: importing `util.placement_group` puts the module under the function's name.
        value = getattr(importlib.import_module(f"rayjup.util.{where}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"rayjup.util.{_MODULES[name]}")
    raise AttributeError(f"module 'rayjup.util' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
