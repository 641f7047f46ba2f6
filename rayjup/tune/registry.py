"""Names of trainables, environments and inputs (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.registry import (
    get_trainable_cls,
    is_function_trainable,
    register_env,
    register_input,
    register_trainable,
    registry_contains_input,
    registry_get_input,
    validate_trainable,
)

__all__ = [
    "get_trainable_cls",
    "is_function_trainable",
    "register_env",
    "register_input",
    "register_trainable",
    "registry_contains_input",
    "registry_get_input",
    "validate_trainable",
]
