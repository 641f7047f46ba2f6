"""The head's tables as users and displays see them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rayjup._version import __version__
from rayjup.engine import leases as ls

if TYPE_CHECKING:
    from rayjup.engine.head.actors import Actor
    from rayjup.engine.head.head import Head


def shape_of(shape: dict[str, Any]) -> ls.Shape:
    """The scheduler's shape for the plain form in which clients name one."""
    kind = shape.get("strategy", ("DEFAULT",))
    strategy: ls.Strategy
    if kind[0] == "SPREAD":
        strategy = ls.Spread()
    elif kind[0] == "NODE":
        strategy = ls.NodeAffinity(kind[1], kind[2])
    elif kind[0] == "LABELS":
        strategy = ls.Labels(*kind[1:])
    else:
        strategy = ls.Default()
    return ls.Shape(
        tuple(sorted(shape["resources"].items())),
        strategy,
        shape.get("env", ""),
        shape.get("kind", "task"),
        shape.get("group"),
        shape.get("bundle", -1),
    )


def offers(head: Head) -> str:
    """What the nodes have, in words."""
    rows = []
    for node in list(head.nodes.values())[:5]:
        has = ", ".join(
            f"{name}: {_amount(name, amount)}" for name, amount in sorted(node.info["resources"].items())
        )
        labels = node.info.get("labels")
        shown = f" labels {labels}" if labels else ""
        rows.append(f"{node.info['name']} has {{{has}}}{shown}")
    more = len(head.nodes) - len(rows)
    return "The nodes: " + "; ".join(rows) + (f"; and {more} more." if more else ".")


def _amount(name: str, amount: float) -> str:
    if name in ("memory", "object_store_memory"):
        return f"{amount / 2**30:.1f} GiB"
    return f"{amount:g}"


def nodes(head: Head) -> list[dict[str, Any]]:
    """What ``rayjup.nodes()`` returns: living nodes first."""
    rows = [_node(node.info, True) for node in head.nodes.values()]
    return rows + [_node(info, False) for info in head.dead_nodes]


def _node(info: dict[str, Any], alive: bool) -> dict[str, Any]:
    return {
        "NodeID": info["node_id"],
        "Alive": alive,
        "NodeManagerAddress": (info.get("endpoint") or ("127.0.0.1",))[0],
        "NodeManagerHostname": info["host"],
        "NodeManagerPort": 0,
        "ObjectManagerPort": 0,
        "ObjectStoreSocketName": "",
        "RayletSocketName": info["agent_path"],
        "MetricsExportPort": 0,
        "NodeName": info["name"],
        "alive": alive,
        "Resources": info["resources"] if alive else {},
        "Labels": {"ray.io/node-id": info["node_id"], **info.get("labels", {})},
    }


def actor_handle(actor: Actor) -> dict[str, Any]:
    """What another process needs to make a handle."""
    return {"actor_id": actor.id, "meta": actor.spec["meta"]}


def actor_row(head: Head, actor: Actor) -> dict[str, Any]:
    """One actor for displays."""
    pending = sum(n.sample.get("actor_calls", {}).get(actor.id, 0) for n in head.nodes.values())
    return {
        "actor_id": actor.id.hex(),
        "class_name": actor.spec["class_name"],
        "name": actor.name,
        "state": actor.state,
        "node_id": actor.node_id,
        "pid": actor.pid,
        "pending": pending,
        "num_restarts": actor.restarts,
        "death_cause": actor.death_cause,
    }


def snapshot(head: Head) -> dict[str, Any]:
    """The cluster as JSON-able values; see :class:`rayjup.observe.ClusterView`."""
    state = head.scheduler.snapshot()
    tasks: dict[str, list[int]] = {}
    rows = []
    for node in head.nodes.values():
        sample = node.sample
        for name, counts in sample.get("tasks", {}).items():
            row = tasks.setdefault(name, [0, 0, 0, 0])
            for index, count in enumerate(counts):
                row[index] += count
        rows.append(
            {
                "node_id": node.node_id,
                "name": node.info["name"],
                "host": node.info["host"],
                "alive": True,
                "is_head": bool(node.info.get("is_head")),
                "rayjup": node.info.get("rayjup", ""),
                "resources_total": node.info["resources"],
                "resources_available": state["nodes"].get(node.node_id, {}).get("resources_available", {}),
                **{
                    key: sample.get(key, 0)
                    for key in (
                        "cpu_percent",
                        "mem_used",
                        "mem_total",
                        "store_used",
                        "store_capacity",
                        "store_objects",
                        "store_spilled",
                        "store_spilled_objects",
                        "store_spilled_total",
                        "executors",
                    )
                },
                "gpus": sample.get("gpus", []),
            }
        )
    return {
        **head.cluster,
        "rayjup": __version__,
        "time": time.time(),
        "uptime_s": time.time() - head.started,
        "nodes": rows,
        "tasks": [
            {"name": name, "pending": c[0], "running": c[1], "finished": c[2], "failed": c[3]}
            for name, c in sorted(tasks.items())
        ],
        "actors": [actor_row(head, a) for a in head.actors.by_id.values()],
        "resources_total": head.scheduler.total(),
        "resources_available": head.scheduler.available(),
        "demand": state.get("demand", []),
        "scaling": head.scaling.status(),
        "runtime_envs": head.environments.rows(),
        "drivers": [
            {"pid": c.pid, "job_id": c.job_id.hex()} for c in head.clients.values() if c.kind == "driver"
        ],
    }
