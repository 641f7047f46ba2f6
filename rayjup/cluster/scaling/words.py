"""What the cluster waits for, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayjup.cluster.scaling.plan import Decision, Situation
from rayjup.cluster.scaling.settings import ScalingSettings


def status(
    settings: ScalingSettings,
    now: Situation,
    starting: Mapping[str, int],
    decision: Decision,
    failures: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The state of scaling as JSON-able data; ``lines`` say it to people."""
    up = {kind.name: 0 for kind in settings.types}
    idle = dict(up)
    leaving = 0
    for node in now.nodes:
        if node.draining:
            leaving += 1
        elif node.type in up:
            up[node.type] += 1
            idle[node.type] += node.idle_s is not None
    rows = [
        {
            "type": kind.name,
            "up": up[kind.name],
            "idle": idle[kind.name],
            "starting": starting.get(kind.name, 0),
            "later": decision.missing.get(kind.name, 0),
            "min_workers": kind.min_workers,
            "max_workers": kind.max_workers,
        }
        for kind in settings.types
    ]
    lines = [_waits(row, settings) for row in rows if row["starting"] or row["later"]]
    lines += [
        f"{unmet.count} × {amounts(unmet.resources)} cannot be had: {unmet.why}" for unmet in decision.unmet
    ]
    if leaving or decision.stop:
        lines.append(f"{leaving + len(decision.stop)} {_nodes(leaving + len(decision.stop))} leaving")
    lines += [f"{each['name']} could not be had: {_last(each['why'])}" for each in failures]
    return {
        "max_workers": settings.max_workers,
        "types": rows,
        "lines": lines,
        "failures": [dict(each) for each in failures],
    }


def _waits(row: Mapping[str, Any], settings: ScalingSettings) -> str:
    kind = settings.type(row["type"])
    assert kind is not None
    count = row["starting"] + row["later"]
    offered = {name: amount * count for name, amount in kind.resources.items() if "memory" not in name}
    told = "GPU" if offered.get("GPU") else next(iter(offered), "")
    what = f"{offered[told]:g} {told}" if told else f"{count} {_nodes(count)}"
    text = f"waiting for {what} of type {row['type']}; {row['starting']} {_nodes(row['starting'])} starting"
    return text + (f", {row['later']} more later" if row["later"] else "")


def _nodes(count: int) -> str:
    return "node" if count == 1 else "nodes"


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason is known"


def amounts(resources: Mapping[str, float]) -> str:
    """Resources in words.

    Examples
    --------
    >>> amounts({"CPU": 2.0, "GPU": 0.5})
    '2 CPU, 0.5 GPU'
    """
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing but a process"
