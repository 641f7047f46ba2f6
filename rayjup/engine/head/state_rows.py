"""Rows of the head's tables for the state API: nodes, actors, jobs, placement groups."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.head import actors as ad

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

Row = dict[str, Any]


def nodes(head: Head) -> list[Row]:
    """Nodes that are up, then those that are gone."""
    rows = [_node(node.info, True) for node in head.nodes.values()]
    return rows + [_node(info, False) for info in head.dead_nodes]


def _node(info: dict[str, Any], alive: bool) -> Row:
    return {
        "node_id": info["node_id"],
        "node_ip": info.get("address", "127.0.0.1"),
        "is_head_node": bool(info.get("is_head")),
        "state": "ALIVE" if alive else "DEAD",
        "state_message": None if alive else info.get("why_left", "its connection to the head ended"),
        "node_name": info["name"],
        "resources_total": info["resources"] if alive else {},
        "labels": {"ray.io/node-id": info["node_id"], **info.get("labels", {})},
        "start": info.get("joined_at", 0),
        "end": info.get("left_at", 0),
    }


def actors(head: Head) -> list[Row]:
    """All actors, dead ones as long as the directory keeps them."""
    return [_actor(actor) for actor in head.actors.by_id.values()]


def _actor(actor: ad.Actor) -> Row:
    spec = actor.spec
    shape = spec.get("shape") or {}
    group = shape.get("group")
    return {
        "actor_id": actor.id.hex(),
        "class_name": spec["class_name"],
        "state": actor.state,
        "job_id": actor.job_id.hex(),
        "name": actor.name,
        "node_id": actor.node_id or None,
        "pid": actor.pid or actor.last_pid or None,
        "ray_namespace": spec.get("namespace") or "",
        "serialized_runtime_env": shape.get("env") or "{}",
        "required_resources": dict(spec.get("holding") or {}),
        "placement_resources": dict(shape.get("resources") or {}),
        "death_cause": _death_cause(actor),
        "is_detached": actor.detached,
        "placement_group_id": group.hex() if group else None,
        "num_restarts": actor.restarts,
        "creator": actor.creator,
        "parent": spec.get("parent"),
        "created": actor.created,
        "placed": actor.placed,
        "ready": actor.ready,
        "ended": actor.ended,
        "task_events": spec.get("task_events", True),
    }


def _death_cause(actor: ad.Actor) -> Row | None:
    error = actor.error
    if actor.state != ad.DEAD or error is None:
        return None
    if "unschedulable" in error:
        return {"actor_unschedulable_context": {"detail_message": error["unschedulable"]}}
    if error.get("cause") is not None:  # its constructor failed, or the environment could not be made
        return {"creation_task_failure_context": {"formatted_exception_string": _packed_text(error["cause"])}}
    context = {
        key: error[key]
        for key in ("error_message", "class_name", "actor_id", "name", "ray_namespace", "never_started")
        if key in error
    }
    return {"actor_died_error_context": {**context, "pid": actor.last_pid, "reason": actor.death_cause}}


def _packed_text(packed: Any) -> bytes:
    """The error as it was packed: only who asks loads it, because it may be of a class of theirs."""
    return packed if type(packed) is bytes else pickle.dumps(packed)


def jobs(head: Head) -> list[Row]:
    """All drivers since the head began."""
    return [
        {
            "job_id": job_id.hex(),
            "pid": job["pid"],
            "node_id": job.get("node_id"),
            "entrypoint": job.get("entrypoint", ""),
            "metadata": dict(job.get("metadata") or {}),
            "runtime_env": json.loads(job.get("environment") or "{}"),
            "namespace": job.get("namespace", ""),
            "client": job["client"],
            "start": job["started"],
            "end": job.get("ended", 0),
        }
        for job_id, job in head.jobs.items()
    ]


def placement_groups(head: Head) -> list[Row]:
    """All placement groups, removed ones as long as the table keeps them."""
    rows = []
    for group in head.groups.table.by_id.values():
        row = group.row()
        rows.append(
            {
                "placement_group_id": row["placement_group_id"],
                "name": row["name"],
                "creator_job_id": group.job_id.hex(),
                "state": row["state"],
                "bundles": [
                    {
                        "bundle_id": {"placement_group_id": row["placement_group_id"], "bundle_index": index},
                        "unit_resources": dict(bundle),
                        "node_id": row["bundles_to_node_id"][index] or None,
                    }
                    for index, bundle in row["bundles"].items()
                ],
                "is_detached": bool(group.spec.get("detached")),
                "stats": row["stats"],
                "strategy": row["strategy"],
            }
        )
    return rows


TABLES: dict[str, Callable[[Head], list[Row]]] = {
    "nodes": nodes,
    "actors": actors,
    "jobs": jobs,
    "placement_groups": placement_groups,
    "runtime_envs": lambda head: head.environments.rows(),
}
