"""From options to the plain shape of a lease: what is needed, where, and in which placement group.

The classes of groups and strategies belong to a layer above; here they are known by their attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.base.options import ActorOptions, TaskOptions
from rayjup.core import session as sessions
from rayjup.engine.executor import executor as executing
from rayjup.engine.ownership.object_ref import ObjectRef
from rayjup.engine.runtime.runtime import Runtime

Conditions = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where something runs.

    Parameters
    ----------
    key, shape
        Hashable key and plain form of what the scheduler is asked for.
    group
        Id of the placement group and whether it captures children; None outside of groups.
    """

    key: Any
    shape: dict[str, Any]
    group: tuple[bytes, bool] | None


def task_placement(runtime: Runtime, options: TaskOptions, name: str, environment: str = "") -> Placement:
    """Where a task runs, and in which runtime environment (its key).

    Raises
    ------
    ValueError
        It does not fit any bundle of its placement group, or there is no such bundle.
    """
    resources = options.resource_request()
    return _in(environment, _placement(runtime, options, resources, resources, "task", name))


def actor_placement(runtime: Runtime, options: ActorOptions, name: str, environment: str = "") -> Placement:
    """Where an actor lives. Raises as :func:`task_placement`."""
    placing, holding = options.placement_request(), options.resource_request()
    return _in(environment, _placement(runtime, options, placing, holding, "actor", name))


def _in(environment: str, placement: Placement) -> Placement:
    if not environment:
        return placement
    shape = {**placement.shape, "env": environment}
    return Placement((*placement.key, environment), shape, placement.group)


def _placement(
    runtime: Runtime,
    options: TaskOptions | ActorOptions,
    resources: dict[str, float],
    holding: dict[str, float],
    kind: str,
    name: str,
) -> Placement:
    wish = options.scheduling_strategy
    strategy: tuple[Any, ...] = ("DEFAULT",)
    shape: dict[str, Any] = {"resources": resources, "kind": kind}
    group = None
    if wish is None or hasattr(wish, "placement_group"):
        group = _group(runtime, options, wish)
    if group is not None:
        group_id, index, capture = group
        _check_fits(runtime, group_id, index, resources, holding, name)
        shape |= {"strategy": strategy, "group": group_id, "bundle": index}
        key = (tuple(sorted(resources.items())), strategy, kind, group_id, index)
        return Placement(key, shape, (group_id, capture))
    if hasattr(wish, "node_id"):
        strategy = ("NODE", wish.node_id, bool(wish.soft))
    elif hasattr(wish, "hard"):
        strategy = ("LABELS", _conditions(wish.hard), _conditions(wish.soft))
    elif options.label_selector or options.fallback_strategy:
        fallbacks = tuple(_sorted(entry["label_selector"]) for entry in options.fallback_strategy or ())
        strategy = ("LABELS", _sorted(options.label_selector), (), fallbacks)
    elif wish == "SPREAD":
        strategy = ("SPREAD",)
    elif wish not in (None, "DEFAULT") and not hasattr(wish, "placement_group"):
        raise ValueError(
            f"unknown scheduling_strategy {wish!r}: use 'DEFAULT', 'SPREAD' or one of the classes in "
            "rayjup.util.scheduling_strategies"
        )
    shape["strategy"] = strategy
    return Placement((tuple(sorted(resources.items())), strategy, kind), shape, None)


def _group(
    runtime: Runtime, options: TaskOptions | ActorOptions, wish: Any
) -> tuple[bytes, int, bool] | None:
    """Id, bundle and capturing of the group that is asked for, or that captures what is submitted here."""
    source = options if wish is None else wish
    wanted = source.placement_group
    index = source.placement_group_bundle_index
    capture = source.placement_group_capture_child_tasks
    here = runtime.group
    if capture is None:
        capture = here is not None and here[1]
    group_id: bytes | None = None
    if wanted == "default":
        if capture and here is not None:
            group_id = here[0]
    elif wanted is not None and not wanted.is_empty:
        group_id = wanted.id.binary()
        if wanted.bundle_cache:
            runtime.groups.learn(group_id, wanted.bundle_cache)
    if group_id is None:
        if index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
        return None
    return group_id, index, capture


def _check_fits(
    runtime: Runtime,
    group_id: bytes,
    index: int,
    resources: dict[str, float],
    holding: dict[str, float],
    name: str,
) -> None:
    bundles = runtime.groups.bundles(group_id)
    if not -1 <= index < len(bundles):
        raise ValueError(
            f"placement group bundle index {index} is invalid. Valid placement group indexes: "
            f"0-{len(bundles) - 1}, or -1 for any."
        )
    if not _fits(holding, bundles):
        raise ValueError(
            f"Cannot schedule {name} with the placement group because the resource request {holding} "
            f"cannot fit into any bundles for the placement group, {bundles}."
        )
    if not _fits(resources, bundles):
        raise ValueError(
            f"Cannot schedule {name} with the placement group because the actor requires "
            f"{resources.get('CPU', 0):g} CPU for creation, but it cannot fit into any bundles for the "
            f"placement group, {bundles}. Give the group a bundle with CPU, or the actor num_cpus=0."
        )
    if index >= 0 and not _fits(resources, bundles[index : index + 1]):
        raise ValueError(
            f"Cannot schedule {name} with the placement group because the resource request {resources} "
            f"cannot fit into its bundle {index}, {bundles[index]}."
        )


def _fits(resources: dict[str, float], bundles: list[dict[str, float]]) -> bool:
    return any(all(bundle.get(name, 0) >= need for name, need in resources.items()) for bundle in bundles)


def _sorted(conditions: dict[str, str] | None) -> Conditions:
    return tuple(sorted((conditions or {}).items()))


def _conditions(operators: dict[str, Any]) -> Conditions:
    """The conditions of a NodeLabelSchedulingStrategy in the scheduler's form."""
    found = []
    for label, operator in operators.items():
        values = ",".join(getattr(operator, "values", ()))
        kind = type(operator).__name__
        forms = {"In": f"in({values})", "NotIn": f"!in({values})", "Exists": "*", "DoesNotExist": "!*"}
        if kind not in forms:
            raise ValueError(
                f"unknown operator {kind} for the label {label!r}: use In, NotIn, Exists or DoesNotExist"
            )
        found.append((label, forms[kind]))
    return tuple(sorted(found))


# -- placement groups, for rayjup.util.placement_group


def create(
    group_id: bytes,
    bundles: list[dict[str, float]],
    strategy: str,
    *,
    name: str,
    detached: bool,
    labels: list[dict[str, str]],
    preferred_node: str | None,
) -> None:
    """Have a placement group made."""
    session = sessions.require()
    running = executing.executor
    spec = {
        "bundles": bundles,
        "strategy": strategy,
        "name": name,
        "namespace": session.namespace,
        "detached": detached,
        "creator_actor": running.actor_id if running is not None else b"",
        "labels": labels,
        "preferred_node": preferred_node,
    }
    session.runtime.groups.create(group_id, spec)


def remove(group_id: bytes) -> None:
    """Have a placement group removed."""
    sessions.require().runtime.groups.remove(group_id)


def ready(group_id: bytes, handle: Any) -> ObjectRef:
    """A ref to ``handle`` that resolves once the group is placed."""
    return sessions.require().runtime.groups.ready(group_id, handle)


def wait(group_id: bytes, timeout: float | None) -> bool:
    """Whether the group is placed within ``timeout`` seconds."""
    return sessions.require().runtime.groups.wait(group_id, timeout)


def bundles(group_id: bytes) -> list[dict[str, float]]:
    """What the bundles of a group hold."""
    return [dict(bundle) for bundle in sessions.require().runtime.groups.bundles(group_id)]


def named(name: str) -> dict[str, Any]:
    """The row of the group of this name; ValueError when there is none."""
    session = sessions.require()
    row: dict[str, Any] = session.runtime.link.request("group_named", session.namespace, name)
    return row


def table(group_id: bytes | None) -> dict[str, Any]:
    """The row of a group, or those of all."""
    rows: dict[str, Any] = sessions.require().runtime.link.request("group_table", group_id)
    return rows
