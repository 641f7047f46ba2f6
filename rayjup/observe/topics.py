"""What can be watched of a cluster beside its snapshot: one function per topic, each a JSON-able document.

The panel of JupyterLab and the pages of the dashboard show the same documents. Lists in them hold
rows with an identifying column, so that what has changed can be told row by row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rayjup.base import keys
from rayjup.observe.view import ClusterView
from rayjup.util.state import _logs, _tables
from rayjup.util.state._join import Row
from rayjup.util.state._options import GetLogOptions
from rayjup.util.state._rows import StateResource
from rayjup.util.state._source import Source
from rayjup.util.state.common import remove_ansi_escape_codes

_TIMEOUT_S = 10.0
_MOST_SPANS = 4000
_MOST_OBJECTS = 10_000
_OF_OBJECT = ("object_id", "object_size", "reference_type", "pid", "type", "ip")
Document = dict[str, Any]


@dataclass(frozen=True)
class Topic:
    """Something to watch.

    Parameters
    ----------
    name
        How it is asked for.
    about
        What it is, in one line.
    read
        Reads it; blocks.
    interval_s
        Seconds between two readings, at least.
    asks_processes
        Whether all processes are asked, which takes longer and may have to wait for one that is busy.
    """

    name: str
    about: str
    read: Callable[[ClusterView], Document]
    interval_s: float = 1.0
    asks_processes: bool = False


def trials(view: ClusterView) -> Document:
    """Experiments with their trials: state, best so far, newest metrics, curves."""
    return {"experiments": _newest_first(view.runs("tune"))}


def training(view: ClusterView) -> Document:
    """Training runs, and algorithms that learn: workers, metrics, checkpoints."""
    return {"runs": _newest_first([*view.runs("train"), *view.runs("rllib")])}


def deployments(view: ClusterView) -> Document:
    """What Serve serves: applications, their deployments, replicas, requests, latencies."""
    data = view.request("kv_get", keys.of("serve"), b"view")
    found = json.loads(data) if data else {"applications": {}}
    applications = []
    for name, app in sorted(found.pop("applications", {}).items()):
        rows = [{"name": one, **row} for one, row in sorted(app.pop("deployments", {}).items())]
        applications.append({"name": name, **app, "deployments": rows})
    return {**found, "applications": applications}


def jobs(view: ClusterView) -> Document:
    """Submitted jobs and drivers, the newest first."""
    found = []
    for row in _tables.read(Source(view.request), StateResource.JOBS, _TIMEOUT_S).rows:
        found.append(
            {
                "id": row["submission_id"] or row["job_id"],
                "submission_id": row["submission_id"],
                "job_id": row["job_id"],
                "type": row["type"].value,
                "status": row["status"].value,
                "entrypoint": row["entrypoint"],
                "message": row["message"],
                "start_time": row["start_time"],
                "end_time": row["end_time"] or None,
                "metadata": row["metadata"] or {},
                "exit_code": row["driver_exit_code"],
            }
        )
    return {"jobs": found[::-1]}


def objects(view: ClusterView) -> Document:
    """Objects that processes hold, the largest first, with counts per function that made them."""
    table = _tables.read(Source(view.request), StateResource.OBJECTS, _TIMEOUT_S)
    rows = sorted(table.rows, key=lambda row: -(row["object_size"] or 0))
    kinds: dict[str, dict[str, Any]] = {}
    for row in rows:
        kind = kinds.setdefault(
            row["reference_type"], {"reference_type": row["reference_type"], "count": 0, "bytes": 0}
        )
        kind["count"] += 1
        kind["bytes"] += max(0, row["object_size"] or 0)
    shown = [
        {
            "key": f"{row['object_id']}:{row['pid']}",
            **{
                name: row[name]
                for name in ("object_id", "object_size", "reference_type", "pid", "type", "ip")
            },
            "task_status": row.get("task_status"),
            "call_site": row["call_site"],
        }
        for row in rows[:_MOST_OBJECTS]
    ]
    return {
        "total": len(rows) + table.left_out,
        "warning": table.warning,
        "kinds": sorted(kinds.values(), key=lambda kind: -kind["bytes"]),
        "objects": shown,
    }


def timeline(view: ClusterView) -> Document:
    """What ran where and when: the newest calls, by process, with those that run now."""
    gathered, warning = _tables.gather_tasks(Source(view.request), _TIMEOUT_S)
    spans = [span for span in map(_span, gathered.rows) if span is not None]
    spans.sort(key=lambda span: span["start"])
    return {"warning": warning, "total": len(spans), "spans": spans[-_MOST_SPANS:]}


def _span(row: Row) -> Document | None:
    start = row.get("start")
    if row["type"] == "DRIVER_TASK" or not start or row.get("worker_pid") is None:
        return None
    return {
        "key": f"{row['task_id']}:{row['attempt_number']}",
        "name": row["func_or_class_name"],
        "place": f"{row.get('ip') or '127.0.0.1'} · {row['worker_pid']}",
        "start": start,
        "end": row.get("end"),
        "state": row["state"],
    }


def logs(view: ClusterView) -> Document:
    """The log files of each node."""
    source = Source(view.request)
    found = []
    for node in view.snapshot()["nodes"]:
        answer = _logs._ask(source, node["node_id"], "log_list", {"glob": "*"}, int(_TIMEOUT_S))
        found.append({"node_id": node["node_id"], "name": node["name"], "files": sorted(answer["files"])})
    return {"nodes": found}


def read_log(
    view: ClusterView, node_id: str, name: str, *, start: int | None = None, lines: int = 500
) -> Document:
    """A part of a log file: its last lines, or what follows the position ``start``.

    Returns
    -------
    dict
        ``text``; ``next``, the position after it; ``size`` of the file.

    Raises
    ------
    RayStateApiException
        There is no such node or file.
    """
    wanted = GetLogOptions(timeout=int(_TIMEOUT_S), node_id=node_id, filename=name)
    log = _logs._Log(node_id, name)
    answer = _logs._piece(Source(view.request), log, wanted, start, None, lines if start is None else None)
    text = remove_ansi_escape_codes(answer["data"].decode("utf-8", "replace"))
    return {"text": text, "next": answer["next"], "size": answer["size"]}


def _newest_first(rows: list[Document]) -> list[Document]:
    return sorted(rows, key=lambda row: (row["ended"] is None, row["started"]), reverse=True)


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("trials", "Experiments and their trials", trials),
        Topic("training", "Training runs and learning algorithms", training),
        Topic("deployments", "Applications that Serve serves", deployments),
        Topic("jobs", "Submitted jobs and connected drivers", jobs, 2.0),
        Topic("objects", "Objects that processes hold", objects, 5.0, asks_processes=True),
        Topic("timeline", "What ran where and when", timeline, 3.0, asks_processes=True),
        Topic("logs", "Log files of each node", logs, 5.0, asks_processes=True),
    )
}
"""All topics, by name."""
