"""The rows of every resource, made from what the cluster says."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.base import keys
from rayjup.util.state._join import Row, Tasks, ms
from rayjup.util.state._options import MAX_LIMIT
from rayjup.util.state._rows import DriverInfo, JobStatus, JobType, StateResource
from rayjup.util.state._source import Source

_LANGUAGE = "PYTHON"


@dataclass
class Table:
    """Rows, and what is missing."""

    rows: list[Row]
    warning: str = ""
    # Of tasks: by function, how many finished and failed ones nobody remembers.
    dropped: dict[str, list[int]] = field(default_factory=dict)
    left_out: int = 0  # unfinished ones beyond the number that a process tells of
    overflowed: bool = False  # a living process has forgotten some because there were too many


def read(source: Source, resource: StateResource, timeout: float) -> Table:
    """All rows there are of a resource."""
    return _READERS[resource](source, timeout)


def gather_tasks(source: Source, timeout: float) -> tuple[Tasks, str]:
    """All tasks, and a warning if processes did not answer."""
    gathered = source.gather("tasks", {"limit": MAX_LIMIT}, timeout)
    tasks = Tasks(gathered, actor_rows(source, timeout), source.rows("jobs", timeout))
    return tasks, gathered.warning


def _tasks(source: Source, timeout: float) -> Table:
    tasks, warning = gather_tasks(source, timeout)
    return Table(
        [task_row(row) for row in tasks.rows], warning, tasks.dropped, tasks.left_out, tasks.overflowed
    )


def task_row(row: Row) -> Row:
    """The columns of one attempt."""
    created, start, end = row.get("created"), row.get("start"), row.get("end")
    if created is None or (start is not None and created > start):
        created = start  # noted at the tick after it began
    events = [("PENDING_ARGS_AVAIL", created), ("RUNNING", start)]
    if row["state"] in ("FINISHED", "FAILED"):
        events.append((row["state"], end))
    elif row["state"] != "RUNNING":
        events[1:] = [] if row["state"] == "PENDING_ARGS_AVAIL" else [(row["state"], created)]
    marks = row.get("marks")
    return {
        "task_id": row["task_id"],
        "attempt_number": row["attempt_number"],
        "name": row["name"],
        "state": row["state"],
        "job_id": row["job_id"],
        "actor_id": row["actor_id"],
        "type": row["type"],
        "func_or_class_name": row["func_or_class_name"],
        "parent_task_id": row["parent_task_id"],
        "node_id": row.get("node_id"),
        "worker_id": row.get("worker_id"),
        "worker_pid": row.get("worker_pid"),
        "error_type": row.get("error_type"),
        "language": _LANGUAGE,
        "required_resources": row.get("required_resources") or {},
        "runtime_env_info": {"serialized_runtime_env": "{}"},
        "placement_group_id": row.get("placement_group_id"),
        "events": [{"state": state, "created_ms": when * 1000} for state, when in events if when],
        "profiling_data": _profile(row, marks) if marks else {},
        "creation_time_ms": ms(created),
        "start_time_ms": ms(start),
        "end_time_ms": ms(end),
        "task_log_info": row.get("task_log_info"),
        "error_message": row.get("error_message"),
        "is_debugger_paused": None,
        "call_site": None,
        "label_selector": {},
        "fallback_strategy": None,
    }


def _profile(row: Row, marks: list[tuple[str, float, float]]) -> Row:
    whole = (f"task::{row['name']}", marks[0][1], marks[-1][2])
    about = {"name": row["func_or_class_name"], "task_id": row["task_id"]}
    return {
        "component_type": "worker",
        "component_id": row.get("worker_id"),
        "node_ip_address": row.get("ip"),
        "events": [
            {
                "event_name": name,
                "start_time": start * 1000,
                "end_time": end * 1000,
                "extra_data": about if name == whole[0] else {},
            }
            for name, start, end in (*marks, whole)
        ],
    }


def actor_rows(source: Source, timeout: float) -> list[Row]:
    """The head's table of actors, with readable causes of death."""
    rows = source.rows("actors", timeout)
    for row in rows:
        cause = row["death_cause"] or {}
        context = cause.get("creation_task_failure_context")
        if context is not None:
            context["formatted_exception_string"] = _error_text(context["formatted_exception_string"])
    return rows


def _error_text(packed: Any) -> str:
    try:
        value = pickle.loads(packed)
        error = pickle.loads(value[0]) if isinstance(value, tuple) else value
    except Exception as reason:  # noqa: BLE001 - the error's class and what it needs may be missing here
        return f"the constructor raised an exception that cannot be loaded here ({type(reason).__name__})"
    return str(error)


def _actors(source: Source, timeout: float) -> Table:
    rows = []
    for row in actor_rows(source, timeout):
        columns = {key: row[key] for key in _ACTOR_COLUMNS}
        columns |= {
            "repr_name": "",
            "num_restarts_due_to_lineage_reconstruction": 0,
            "num_restarts_due_to_node_preemption": 0,
            "call_site": None,
            "label_selector": row.get("label_selector") or {},
            "fallback_strategy": None,
        }
        rows.append(columns)
    return Table(rows)


_ACTOR_COLUMNS = (
    "actor_id",
    "class_name",
    "state",
    "job_id",
    "name",
    "node_id",
    "pid",
    "ray_namespace",
    "serialized_runtime_env",
    "required_resources",
    "death_cause",
    "is_detached",
    "placement_group_id",
    "num_restarts",
)


def _nodes(source: Source, timeout: float) -> Table:
    rows = source.rows("nodes", timeout)
    return Table(
        [{**row, "start_time_ms": ms(row["start"]) or 0, "end_time_ms": ms(row["end"]) or 0} for row in rows]
    )


def _jobs(source: Source, timeout: float) -> Table:
    """Submitted jobs, with what is known of their drivers, and drivers that connected themselves."""
    return Table(_job_rows(source, source.values(keys.JOBS, timeout), timeout))


def submitted_job(source: Source, submission_id: str, timeout: float) -> Row | None:
    """The row of one submitted job, however many others there are; None where there is none."""
    entry = source.value(keys.JOBS, submission_id, timeout)
    if entry is None:
        return None
    rows = _job_rows(source, {submission_id: entry}, timeout)
    return next(row for row in rows if row["submission_id"] == submission_id)


def _job_rows(source: Source, entries: dict[str, bytes], timeout: float) -> list[Row]:
    addresses = {row["node_id"]: row["node_ip"] for row in source.rows("nodes", timeout)}
    submitted = {key: json.loads(value) for key, value in entries.items()}
    drivers: dict[str, Row] = {}
    rows = []
    for job in source.rows("jobs", timeout):
        metadata = dict(job["metadata"] or {})
        if metadata.get("rayjup_part"):
            continue  # a part of the cluster that was started by a driver of its own
        submission_id = metadata.get("job_submission_id")
        address = addresses.get(job["node_id"], "127.0.0.1")
        row: Row = {
            "type": JobType.DRIVER,
            "job_id": job["job_id"],
            "submission_id": None,
            "driver_info": DriverInfo(job["job_id"], address, str(job["pid"])),
            "status": JobStatus.SUCCEEDED if job["end"] else JobStatus.RUNNING,
            "entrypoint": job["entrypoint"],
            "message": None,
            "error_type": None,
            "start_time": ms(job["start"]) or 0,
            "end_time": ms(job["end"]) or 0,
            "metadata": metadata,
            "runtime_env": job["runtime_env"],
            "driver_agent_http_address": None,
            "driver_node_id": job["node_id"],
            "driver_exit_code": None,
        }
        if submission_id in submitted:
            drivers.setdefault(submission_id, row)  # the first, if its program has several
        else:
            rows.append(row)
    for submission_id, info in submitted.items():
        driver = drivers.get(submission_id, {})
        rows.append(
            {
                **{name: info.get(name) for name in _OF_SUBMISSION},
                "type": JobType.SUBMISSION,
                "status": JobStatus(info["status"]),
                "job_id": driver.get("job_id"),
                "submission_id": submission_id,
                "driver_info": driver.get("driver_info"),
                "start_time": info["start_time"] or 0,
                "end_time": info["end_time"] or 0,
            }
        )
    return sorted(rows, key=lambda row: row["start_time"])


_OF_SUBMISSION = (
    "entrypoint",
    "message",
    "error_type",
    "metadata",
    "runtime_env",
    "driver_agent_http_address",
    "driver_node_id",
    "driver_exit_code",
)


def _placement_groups(source: Source, timeout: float) -> Table:
    extra = {"topology_strategy": None, "topology_assignments": None}
    return Table([{**row, **extra} for row in source.rows("placement_groups", timeout)])


def _workers(source: Source, timeout: float) -> Table:
    answer = source.ask_nodes("workers", {}, timeout)
    rows = []
    for node in answer["nodes"]:
        for row in node["rows"]:
            row |= {
                "exit_detail": row.get("exit_detail"),
                "worker_launch_time_ms": ms(row.get("launch")),
                "worker_launched_time_ms": ms(row["start"]),
                "start_time_ms": ms(row["start"]) or 0,
                "end_time_ms": ms(row["end"]) or 0,
                "debugger_port": None,
                "num_paused_threads": None,
            }
            rows.append(row)
    silent = ", ".join(node_id[:12] for node_id in answer["silent"])
    return Table(rows, f"no answer in time from the nodes {silent}." if silent else "")


def _objects(source: Source, timeout: float) -> Table:
    gathered = source.gather("objects", {"limit": MAX_LIMIT}, timeout)
    rows, left_out = [], 0
    for report in gathered.reports:
        content = report["report"] or {"rows": [], "left_out": 0, "kind": "WORKER"}
        left_out += content["left_out"]
        for row in content["rows"]:
            row |= {"type": content["kind"], "pid": report["pid"], "ip": report["ip"]}
            row |= {"node_id": report["node_id"], "attempt_number": 1}
            row["call_site"] = "disabled" if row["call_site"] is None else row["call_site"]
            rows.append(row)
    return Table(rows, gathered.warning, left_out=left_out)


def _runtime_envs(source: Source, timeout: float) -> Table:
    return Table(source.rows("runtime_envs", timeout))


def _cluster_events(source: Source, timeout: float) -> Table:
    from rayjup.util.state._schema import Humanify

    rows = source.rows("cluster_events", timeout)
    return Table([{**row, "time": Humanify.timestamp(row["time"] * 1000)} for row in rows])


_READERS: dict[StateResource, Callable[[Source, float], Table]] = {
    StateResource.TASKS: _tasks,
    StateResource.ACTORS: _actors,
    StateResource.NODES: _nodes,
    StateResource.JOBS: _jobs,
    StateResource.PLACEMENT_GROUPS: _placement_groups,
    StateResource.WORKERS: _workers,
    StateResource.OBJECTS: _objects,
    StateResource.RUNTIME_ENVS: _runtime_envs,
    StateResource.CLUSTER_EVENTS: _cluster_events,
}
