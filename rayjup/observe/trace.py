"""Tasks as a trace in the trace event format, which Perfetto and Chrome read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rayjup.util.state._join import Row

Event = dict[str, Any]

_COLOURS = {
    "task:deserialize_arguments": "rail_load",
    "task:execute": "rail_animation",
    "task:store_outputs": "rail_idle",
}
_SUBMIT_US = 10.0  # how long the making of a call is shown: when it was made is known to within a tick


def events_of(rows: Iterable[Row]) -> list[Event]:
    """Complete events, one row per process, with arrows from who made a call to where it ran.

    Parameters
    ----------
    rows
        Attempts at tasks, as :class:`~rayjup.util.state._join.Tasks` has them.
    """
    events: list[Event] = []
    names: dict[tuple[str, str], None] = {}
    flows = 0
    for row in rows:
        start, end = row.get("start"), row.get("end")
        if row["type"] == "DRIVER_TASK" or not start or row.get("worker_pid") is None:
            continue
        if end is None:
            continue  # still running: a complete event has a duration
        place = _place(row, "worker")
        names[place["pid"], place["tid"]] = None
        for name, begin, until in row.get("marks") or ():
            events.append(_complete(name, name, begin, until, place, _COLOURS.get(name, "generic_work"), {}))
        about = {
            "name": row["func_or_class_name"],
            "task_id": row["task_id"],
            "job_id": row["job_id"],
            "attempt_number": row["attempt_number"],
            "state": row["state"],
        }
        if row.get("error_type"):
            about |= {"type": row["error_type"], "value": row.get("error_message") or ""}
        events.append(
            _complete(
                row["func_or_class_name"], f"task::{row['name']}", start, end, place, "generic_work", about
            )
        )
        submitter, created = row.get("submitter"), row.get("created")
        if submitter is not None and created is not None:
            flows += 1
            origin = _place(submitter, "driver" if submitter.get("is_driver") else "worker")
            names[origin["pid"], origin["tid"]] = None
            made = min(created, start)
            events.append(
                _complete(
                    "submit_task",
                    "submit_task",
                    made,
                    made + _SUBMIT_US / 1e6,
                    origin,
                    "background_memory_dump",
                    {"task_id": row["task_id"]},
                )
            )
            arrow = {"cat": "task_dependency", "name": "submit_task", "id": flows}
            events.append({**arrow, "ph": "s", "ts": _us(made), **origin})
            events.append({**arrow, "ph": "f", "bp": "e", "ts": _us(start), **place})
    # Of those that begin together the longest first: it holds the others.
    events.sort(key=lambda event: (event["ts"], -event.get("dur", 0.0)))
    return [*_metadata(names), *events]


def _place(row: Row, kind: str) -> dict[str, str]:
    return {
        "pid": f"{row.get('ip') or '127.0.0.1'}",
        "tid": f"{kind}:{row.get('worker_id') or row['worker_pid']}",
    }


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 1)


def _complete(
    name: str,
    category: str,
    start: float,
    end: float,
    place: dict[str, str],
    colour: str,
    about: dict[str, Any],
) -> Event:
    duration = round(max(0.0, end - start) * 1e6, 3)
    event = {"cat": category, "name": name, **place, "ts": _us(start), "dur": duration, "ph": "X"}
    return {**event, "cname": colour, "args": about}


def _metadata(places: Iterable[tuple[str, str]]) -> list[Event]:
    """Names of the rows."""
    events: list[Event] = []
    seen: set[str] = set()
    for pid, tid in places:
        if pid not in seen:
            seen.add(pid)
            events.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": f"node {pid}"}})
        events.append({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": tid}})
    return events
