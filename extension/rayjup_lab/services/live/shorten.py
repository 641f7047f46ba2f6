"""Cut a snapshot down to what a side panel can show, most interesting rows first."""

from __future__ import annotations

from typing import Any

MAX_ROWS = 10_000

_ACTOR_ORDER = {"RESTARTING": 0, "PENDING_CREATION": 1, "ALIVE": 2, "DEAD": 3}


def shorten(snapshot: dict[str, Any], max_rows: int = MAX_ROWS) -> dict[str, Any]:
    """The snapshot with at most ``max_rows`` nodes, tasks and actors.

    How many there were goes into ``totals``, so that the reader can be told what is left out.
    A cluster that has run a hundred thousand differently named tasks costs a browser no more than one
    that has run ten times fewer.
    """
    nodes, tasks, actors = snapshot["nodes"], snapshot["tasks"], snapshot["actors"]
    return {
        **snapshot,
        "nodes": sorted(nodes, key=lambda n: (not n["alive"], not n["is_head"]))[:max_rows],
        "tasks": sorted(tasks, key=_task_order)[:max_rows],
        "actors": sorted(actors, key=lambda a: _ACTOR_ORDER.get(a["state"], 2))[:max_rows],
        "totals": {"nodes": len(nodes), "tasks": len(tasks), "actors": len(actors)},
    }


def _task_order(task: dict[str, Any]) -> tuple[bool, bool, str]:
    """Active tasks first, then failed ones; by name within, so that rows do not jump about."""
    return (not (task["running"] or task["pending"]), not task["failed"], task["name"])
