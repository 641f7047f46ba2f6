"""From options to the plain shape of a lease."""

from __future__ import annotations

from typing import Any


def shape_of(resources: dict[str, float], options: Any, kind: str) -> tuple[Any, dict[str, Any]]:
    """Hashable key and plain form of what a task or actor asks for."""
    strategy = _strategy(options)
    key = (tuple(sorted(resources.items())), strategy, kind)
    return key, {"resources": resources, "strategy": strategy, "kind": kind}


def _strategy(options: Any) -> tuple[Any, ...]:
    wish = options.scheduling_strategy
    if options.label_selector:
        return ("LABELS", tuple(sorted(options.label_selector.items())), ())
    if wish is None or wish == "DEFAULT":
        return ("DEFAULT",)
    if wish == "SPREAD":
        return ("SPREAD",)
    if hasattr(wish, "node_id"):
        return ("NODE", wish.node_id, bool(wish.soft))
    raise ValueError(
        f"unknown scheduling_strategy {wish!r}: use 'DEFAULT', 'SPREAD' or a NodeAffinitySchedulingStrategy"
    )
