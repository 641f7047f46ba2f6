"""From what processes know each for itself to rows of tasks: one per attempt at a call.

Submitters know of calls that are not answered, of attempts that failed without an answer, and who
made a call; executors know what they run and have run. Calls are known by the caller's prefix (of
its ids) and the call's number.
"""

from __future__ import annotations

import bisect
from typing import Any

from rayjup.util.state._source import Gathered

Row = dict[str, Any]
Key = tuple[bytes, int]
FINAL = ("FINISHED", "FAILED")
_SLACK_S = 0.05  # an error is noted at most so long after the clock was read that ends the call


def ms(seconds: float | None) -> int | None:
    """Seconds since 1970 as milliseconds; None for none or 0."""
    return int(seconds * 1000) if seconds else None


def driver_task_id(job_id: str) -> str:
    """The id under which a driver's own calls name their parent."""
    return "f" * 40 + job_id


def creation_task_id(actor_id: str) -> str:
    """The id of the call of an actor's constructor."""
    return "f" * 16 + actor_id


class _Process:
    """One process that has reported."""

    def __init__(self, report: Row) -> None:
        self.report = report
        self.worker_id: str = report["worker_id"]
        self.prefix: bytes = report["prefix"]
        content = report["report"] or {}
        self.submitted: Row = content.get("submitted") or {}
        self.executed: Row = content.get("executed") or {}
        wall, clock = report["clock"]
        self._offset = wall - clock
        self._parents: list[tuple[int, bytes]] = self.submitted.get("parents") or []
        self._firsts = [first for first, _ in self._parents]
        self._ticks: list[tuple[int, float]] = self.submitted.get("ticks") or []

    def wall(self, clock: float | None) -> float | None:
        """Time of day for a reading of the process's clock."""
        return None if clock is None else clock + self._offset

    def parent_of(self, seq: int) -> str | None:
        """The call that made call ``seq``; None when that is not known."""
        index = bisect.bisect_right(self._firsts, seq) - 1
        if index < 0:
            return None
        return self._parents[index][1].hex() or None

    def created(self, seq: int) -> float | None:
        """When call ``seq`` was made, to within a tick."""
        index = bisect.bisect_right(self._ticks, (seq, float("inf")))
        return self.wall(self._ticks[index][1]) if index < len(self._ticks) else None

    def where(self) -> Row:
        """The columns that say where something ran."""
        return {
            "node_id": self.report["node_id"],
            "worker_id": self.worker_id,
            "worker_pid": self.report["pid"],
            "ip": self.report["ip"],
        }


class Tasks:
    """All tasks that are known of.

    Parameters
    ----------
    gathered
        What processes said about their tasks.
    actors, jobs
        The head's tables.
    """

    def __init__(self, gathered: Gathered, actors: list[Row], jobs: list[Row]) -> None:
        self.processes = [_Process(report) for report in gathered.reports]
        self._handed = [_Process(report) for report in gathered.handed]
        self._by_prefix = {p.prefix: p for p in self.processes}
        self._by_client = {p.worker_id[:16]: p for p in (*self._handed, *self.processes)}
        self._drivers = {job["client"]: job["job_id"] for job in jobs}
        self._actors = {actor["actor_id"]: actor for actor in actors}
        self._attempts: dict[Key, list[Row]] = {}
        self._under_way: dict[Key, Row] = {}
        self.left_out = sum(
            p.submitted.get("left_out", 0) + p.submitted.get("dropped", 0) for p in self.processes
        )
        self._read_executed()
        self._read_failures()
        self._read_under_way()
        self.rows = self._numbered() + self._creations() + self._driver_rows(jobs)
        self.dropped = self._count_dropped(gathered)
        self.overflowed = any(p.executed.get("full") for p in self.processes)

    # -- reading reports

    def _read_executed(self) -> None:
        seen: set[tuple[bytes, int, float]] = set()
        for process in (*self.processes, *self._handed):
            executed = process.executed
            for prefix, seq, name, own, ended, micros, failed, marks in executed.get("finished", ()):
                identity = (prefix, seq, ended)
                if identity in seen:
                    continue
                seen.add(identity)
                row = self._row(process, prefix, seq, name, own)
                start = ended - micros / 1e6
                error = _error_of(executed["failures"].get((prefix, seq), ()), start, ended)
                row |= {
                    "state": "FAILED" if failed or error else "FINISHED",
                    "start": process.wall(start),
                    "end": process.wall(ended),
                    "marks": _marks(process, start, ended, marks),
                    "required_resources": _resources_at(executed, own, start),
                    **process.where(),
                }
                if error:
                    row |= {"error_type": error[0], "error_message": error[1]}
                row["task_log_info"] = _log_info(executed, row["task_id"])
                self._attempts.setdefault((prefix, seq), []).append(row)

    def _read_failures(self) -> None:
        """Failures that submitters noted, unless an executor tells of the same."""
        for process in self.processes:
            for noted in process.submitted.get("failures", ()):
                key = (process.prefix, noted["seq"])
                kind, text = noted["error"]
                known = self._attempts.get(key, [])
                raised = kind in ("TASK_EXECUTION_EXCEPTION", "TASK_CANCELLED")
                if raised and any(row["state"] == "FAILED" for row in known):
                    continue
                row = self._submitted_row(process, noted)
                row |= {"state": "FAILED", "error_type": kind, "error_message": text}
                row |= {"end": process.wall(noted["ended"])}
                self._attempts.setdefault(key, []).append(row)

    def _read_under_way(self) -> None:
        for process in self.processes:
            for noted in process.submitted.get("pending", ()):
                row = self._submitted_row(process, noted)
                if noted["kind"] == "ACTOR_CREATION_TASK":
                    continue  # the actor's own row tells of it
                self._under_way[(process.prefix, noted["seq"])] = row
        for process in self.processes:
            waiting = process.executed.get("actor") is not None
            for prefix, seq, name, own in process.executed.get("queued", ()):
                row = self._under_way.get((prefix, seq)) or self._row(process, prefix, seq, name, own)
                state = "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY" if waiting else "SUBMITTED_TO_WORKER"
                row |= {"state": state, **process.where()}
                self._under_way[(prefix, seq)] = row
            for prefix, seq, name, own, started in process.executed.get("running", ()):
                row = self._row(process, prefix, seq, name, own)
                row |= {"state": "RUNNING", "start": process.wall(started), "runs": True, **process.where()}
                row["required_resources"] = _resources_at(process.executed, own, started)
                row["task_log_info"] = _log_info(process.executed, row["task_id"])
                self._under_way[(prefix, seq)] = row

    # -- rows

    def _numbered(self) -> list[Row]:
        """Attempts in order, with their numbers."""
        rows = []
        for key in dict.fromkeys((*self._attempts, *self._under_way)):
            attempts = sorted(self._attempts.get(key, []), key=lambda row: row["end"] or 0.0)
            now = self._under_way.get(key)
            if now is not None and not (attempts and self._is_answered(attempts[-1], now)):
                attempts.append(now)
            for number, row in enumerate(attempts):
                rows.append({**row, "attempt_number": number})
        return rows

    @staticmethod
    def _is_answered(last: Row, now: Row) -> bool:
        """Whether a call that its submitter still waits for has ended: the answer is on its way."""
        if now.get("runs") and now["start"] and last["end"] and now["start"] >= last["end"]:
            return False
        if last["state"] == "FINISHED":
            return True
        return now["state"] == "SUBMITTED_TO_WORKER" and now.get("worker_id") == last.get("worker_id")

    def _row(self, process: _Process, prefix: bytes, seq: int, name: str, own: Any) -> Row:
        """What an executor can say of a call, and its submitter if that still lives."""
        is_method, own_name, group, cell = own or (False, None, None, None)
        actor = process.executed.get("actor") if is_method else None
        return {
            **self._identity(prefix, seq),
            "name": own_name or _short(name),
            "func_or_class_name": _short(name),
            "type": "ACTOR_TASK" if actor else "NORMAL_TASK",
            "actor_id": actor[0].hex() if actor else None,
            "placement_group_id": group.hex() if group else None,
            "cell": cell,
        }

    def _submitted_row(self, process: _Process, noted: Row) -> Row:
        seq = noted["seq"]
        actor_id = noted.get("actor_id")
        row = {
            **self._identity(process.prefix, seq),
            "state": noted["state"],
            "name": noted["name"] or _short(noted["function"]),
            "func_or_class_name": _short(noted["function"]),
            "type": noted["kind"],
            "actor_id": actor_id.hex() if actor_id else None,
            "required_resources": dict(noted.get("resources") or {}),
            "placement_group_id": noted["group"].hex() if noted.get("group") else None,
            "cell": noted.get("cell"),
        }
        worker = noted.get("worker")
        if worker:
            executor = self._by_client.get(worker)
            row |= executor.where() if executor else {"worker_id": None}
        return row

    def _identity(self, prefix: bytes, seq: int) -> Row:
        submitter = self._by_prefix.get(prefix)
        job_id = prefix[12:16].hex()
        parent = submitter.parent_of(seq) if submitter is not None else None
        if parent is None and prefix[:8].hex() in self._drivers:
            parent = driver_task_id(job_id)
        return {
            "task_id": (prefix + seq.to_bytes(8, "little")).hex(),
            "job_id": job_id,
            "parent_task_id": parent or "",
            "created": submitter.created(seq) if submitter is not None else None,
            "submitter": self._submitter(submitter),
        }

    def _submitter(self, process: _Process | None) -> Row | None:
        if process is None:
            return None
        return {**process.where(), "is_driver": process.worker_id[:16] in self._drivers}

    def _creations(self) -> list[Row]:
        """The calls of constructors, from what the head knows of actors."""
        made = {}
        for process in (*self._handed, *self.processes):
            actor = process.executed.get("actor")
            if actor is not None and process.executed.get("creation") is not None:
                made[actor[0].hex()] = process
        return [self._creation(a, made.get(a["actor_id"])) for a in self._actors.values() if a["task_events"]]

    def _creation(self, actor: Row, process: _Process | None) -> Row:
        function = f"{actor['class_name']}.__init__"
        row: Row = {
            "task_id": creation_task_id(actor["actor_id"]),
            "attempt_number": actor["num_restarts"],
            "name": f"{actor['name']}:{function}" if actor["name"] else function,
            "func_or_class_name": function,
            "type": "ACTOR_CREATION_TASK",
            "job_id": actor["job_id"],
            "actor_id": actor["actor_id"],
            "parent_task_id": actor["parent"] or driver_task_id(actor["job_id"]),
            "required_resources": actor["required_resources"],
            "placement_group_id": actor["placement_group_id"],
            "node_id": actor["node_id"],
            "worker_pid": actor["pid"],
            "created": actor["created"],
            "start": actor["placed"] or None,
            "end": actor["ready"] or None,
        }
        if process is not None:
            began, ended, _ = process.executed["creation"]
            row |= {**process.where(), "start": process.wall(began), "end": process.wall(ended)}
        if actor["ready"] >= actor["placed"] > 0:
            row["state"] = "FINISHED"
        elif actor["state"] == "DEAD":
            row |= {"state": "FAILED", "end": row["end"] or actor["ended"], **_why_not_made(actor)}
        else:
            row["state"] = "RUNNING" if actor["placed"] else "PENDING_NODE_ASSIGNMENT"
            row["end"] = None
        return row

    @staticmethod
    def _driver_rows(jobs: list[Row]) -> list[Row]:
        return [
            {
                "task_id": driver_task_id(job["job_id"]),
                "attempt_number": 0,
                "name": "",
                "func_or_class_name": "",
                "type": "DRIVER_TASK",
                "state": "FINISHED" if job["end"] else "RUNNING",
                "job_id": job["job_id"],
                "actor_id": None,
                "parent_task_id": "",
                "node_id": job["node_id"],
                "worker_pid": job["pid"],
                "created": job["start"],
                "start": job["start"],
                "end": job["end"] or None,
            }
            for job in jobs
        ]

    def _count_dropped(self, gathered: Gathered) -> dict[str, list[int]]:
        """By function: how many finished and failed calls nobody remembers any more."""
        counted: dict[str, list[int]] = {name: [row[2], row[3]] for name, row in gathered.past.items()}
        for process in self.processes:
            for name, counts in process.submitted.get("counts", {}).items():
                row = counted.setdefault(name, [0, 0])
                row[0] += counts[2]
                row[1] += counts[3]
        known: dict[str, list[int]] = {}
        for task in self.rows:
            if task["type"] in ("NORMAL_TASK", "ACTOR_TASK") and task["state"] in FINAL:
                counts = known.setdefault(task["func_or_class_name"], [0, 0])
                counts[task["state"] == "FAILED"] += 1
        for process in (*self.processes, *self._handed):  # of hidden ones it is not known how they ended
            for name, count in (process.executed.get("hidden") or {}).items():
                known.setdefault(_short(name), [0, 0])[0] += count
        missing: dict[str, list[int]] = {}
        for name, (finished, failed) in counted.items():
            row = missing.setdefault(_short(name), [0, 0])
            row[0] += finished
            row[1] += failed
        for name, row in missing.items():
            there = known.get(name, [0, 0])
            row[0] = max(0, row[0] - there[0])
            row[1] = max(0, row[1] - there[1])
        return {name: row for name, row in missing.items() if any(row)}


def _short(name: str) -> str:
    """A qualified name without what it is defined in; of methods the class stays."""
    return name.rsplit("<locals>.", 1)[-1]


def _error_of(rows: Any, start: float, ended: float) -> tuple[str, str] | None:
    for at, kind, text in rows:
        if start <= at <= ended + _SLACK_S:
            return kind, text
    return None


def _marks(process: _Process, start: float, ended: float, marks: Any) -> list[tuple[str, float, float]]:
    """The phases of a call, as far as they were measured: name, begin, end (time of day)."""
    decoded, executed = start, ended
    if isinstance(marks, tuple):
        decoded, executed = marks
    elif marks is not None:
        decoded = marks
    decoded = min(max(decoded, start), ended)
    parts = (
        ("task:deserialize_arguments", start, decoded),
        ("task:execute", decoded, executed),
        ("task:store_outputs", executed, ended),
    )
    shown = [part for part in parts if part[2] > part[1] or part[0] == "task:execute"]
    return [(name, process.wall(a) or 0.0, process.wall(b) or 0.0) for name, a, b in shown]


def _resources_at(executed: Row, own: Any, when: float) -> dict[str, float]:
    """What a task held: the lease of that time. Methods need nothing but what their actor has."""
    if own is not None and own[0]:
        return {}
    held: dict[str, float] = {}
    for since, resources in executed.get("leases", ()):
        if since > when and held:
            break
        held = resources
    return dict(held)


def _log_info(executed: Row, task_id: str) -> Row | None:
    """Where the call's output lies in the log of its process."""
    path = executed.get("log")
    if not path:
        return None
    spans: dict[str, list[int]] = {}
    for printed_by, stream, start, end in executed.get("prints", ()):
        if printed_by.hex() == task_id:
            span = spans.setdefault(stream, [start, end])
            span[1] = end
    info: Row = {"stdout_file": path, "stderr_file": path.removesuffix(".out") + ".err"}
    for stream, (start, end) in spans.items():
        info |= {f"{stream}_start": start, f"{stream}_end": end}
    return info


def _why_not_made(actor: Row) -> Row:
    cause = actor["death_cause"] or {}
    if "creation_task_failure_context" in cause:
        text = cause["creation_task_failure_context"]["formatted_exception_string"]
        return {"error_type": "TASK_EXECUTION_EXCEPTION", "error_message": text}
    if "actor_unschedulable_context" in cause:
        text = cause["actor_unschedulable_context"]["detail_message"]
        return {"error_type": "ACTOR_UNSCHEDULABLE_ERROR", "error_message": text}
    text = cause.get("actor_died_error_context", {}).get("error_message", "")
    return {"error_type": "ACTOR_DIED", "error_message": text}
