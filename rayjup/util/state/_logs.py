"""Log files of the nodes: their names and contents, also as they grow."""

from __future__ import annotations

import codecs
import json
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from rayjup.base import keys
from rayjup.util.state import _source, _tables
from rayjup.util.state._options import DEFAULT_RPC_TIMEOUT, GetLogOptions
from rayjup.util.state._source import Source
from rayjup.util.state.common import JobStatus, remove_ansi_escape_codes
from rayjup.util.state.exception import RayStateApiException

_INTERVAL_S = 0.25


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
) -> dict[str, list[str]]:
    """The log files of a node, by kind.

    Parameters
    ----------
    address
        As of :func:`~rayjup.util.state.list_tasks`.
    node_id, node_ip
        The node; the head's where neither is given.
    glob_filter
        Only names that match it, with ``*`` and ``?``.
    timeout
        Seconds for the request.

    Raises
    ------
    RayStateApiException
        There is no such node, or it does not answer.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util.state import list_logs
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> any("cluster.log" in files for files in list_logs().values())
    True
    """
    source = _source.find(address)
    try:
        node = _node(source, node_id, node_ip, timeout)
        answer = _ask(source, node, "log_list", {"glob": glob_filter or "*"}, timeout)
    finally:
        source.close()
    kinds: dict[str, list[str]] = {}
    for name in answer["files"]:
        kinds.setdefault(_kind(name), []).append(name)
    return kinds


def _kind(name: str) -> str:
    if name.startswith("executor-"):
        return {".out": "worker_out", ".err": "worker_err"}.get(os.path.splitext(name)[1], "core_worker")
    if name.startswith("job-driver-"):
        return "driver"
    if name.startswith("runtime_env_setup-"):
        return "runtime_env"
    if name == "cluster.log":
        return "gcs_server"
    return "raylet" if name.startswith("node-") else "internal"


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Generator[str, None, None]:
    """What is in a log, piece by piece.

    Parameters
    ----------
    address
        As of :func:`~rayjup.util.state.list_tasks`.
    node_id, node_ip
        The node of ``filename`` or ``pid``.
    filename, actor_id, task_id, pid, submission_id
        Whose log, exactly one of them: a file as :func:`list_logs` names it, an actor's, a task's (what
        it printed), a process's, a job's.
    follow
        Go on with what is written from now on; ends when the process that writes has ended.
    tail
        Only the last so many lines; -1 for all.
    timeout
        Seconds for each request.
    suffix
        ``"out"`` or ``"err"``.
    encoding, errors
        How bytes become text; ``encoding=None`` gives bytes.
    attempt_number
        Which attempt of the task.
    filter_ansi_code
        Take out what tells terminals of colours.

    Yields
    ------
    str
        Pieces of the log, in order; they need not end with lines.

    Raises
    ------
    RayStateApiException
        There is no such log.
    ValueError
        It is not said, or said twice, whose log is meant.
    """
    options = GetLogOptions(
        timeout=timeout,
        node_id=node_id,
        node_ip=node_ip,
        filename=filename,
        actor_id=actor_id,
        task_id=task_id,
        pid=pid,
        lines=tail,
        interval=_interval,
        media_type="stream" if follow else "file",
        suffix=suffix,
        submission_id=submission_id,
        attempt_number=attempt_number,
    )
    yield from read_log(options, address, encoding, errors, filter_ansi_code)


def read_log(
    options: GetLogOptions,
    address: str | None = None,
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    filter_ansi_code: bool = False,
    until: float | None = None,
) -> Generator[str, None, None]:
    """As :func:`get_log`; a log is followed until ``until`` (``time.monotonic``) at most."""
    decoder = codecs.getincrementaldecoder(encoding)(errors or "strict") if encoding else None
    source = _source.find(address)
    try:
        for data in _pieces(source, options, until):
            if decoder is None:
                yield data  # type: ignore[misc]  # bytes were asked for
                continue
            text = decoder.decode(data)
            yield remove_ansi_escape_codes(text) if filter_ansi_code else text
        if decoder is not None:
            decoder.decode(b"", final=True)
    finally:
        source.close()


def read_on(node_id: str, name: str, start: int, timeout: float = DEFAULT_RPC_TIMEOUT) -> bytes:
    """The next piece of a file on a node of the cluster to which this process belongs.

    Empty where nothing has been added, or where the file has not been begun.
    """
    source = _source.find()
    try:
        wanted = {"name": name, "start": start}
        data: bytes = _ask(source, node_id, "log_read", wanted, timeout).get("data", b"")
    finally:
        source.close()
    return data


def remove(node_id: str, name: str, timeout: float = DEFAULT_RPC_TIMEOUT) -> None:
    """Remove a log file of a node, if it is there."""
    source = _source.find()
    try:
        _ask(source, node_id, "log_remove", {"name": name}, timeout)
    finally:
        source.close()


@dataclass
class _Log:
    """A log that was found: its file, and the part of it that is meant."""

    node_id: str
    name: str
    start: int | None = None
    end: int | None = None
    worker_id: str | None = None  # who writes it
    job: str | None = None  # the submitted job that does


def _pieces(source: Source, options: GetLogOptions, until: float | None = None) -> Iterator[bytes]:
    log = _find(source, options)
    lines = options.lines if options.lines >= 0 else None
    position = log.start
    # A part of a file is read whole where only its last lines are wanted: it is what one task printed.
    if lines is not None and log.start is not None:
        whole = b"".join(_read(source, log, options, log.start, log.end))
        yield b"".join(whole.splitlines(keepends=True)[-lines:]) if lines else b""
        position = log.end
    elif lines is not None:
        answer = _piece(source, log, options, None, None, lines)
        yield answer["data"]
        position = answer["next"]
        if position < answer["size"]:
            yield from _read(source, log, options, position, answer["size"])
            position = answer["size"]
    else:
        position = position or 0
        for data in _read(source, log, options, position, log.end):
            position += len(data)
            yield data
    if options.media_type != "stream":
        return
    position = position or 0
    while True:
        writes = _still_writes(source, log, options.timeout)
        found = False
        for data in _read(source, log, options, position, None):
            found = True
            position += len(data)
            yield data
        if not writes or (until is not None and time.monotonic() >= until):
            return
        if not found:
            time.sleep(options.interval or _INTERVAL_S)


def _read(source: Source, log: _Log, options: GetLogOptions, start: int, end: int | None) -> Iterator[bytes]:
    while True:
        answer = _piece(source, log, options, start, end, None)
        if not answer["data"]:
            return
        yield answer["data"]
        start = answer["next"]


def _piece(
    source: Source, log: _Log, options: GetLogOptions, start: int | None, end: int | None, lines: int | None
) -> dict[str, Any]:
    wanted = {"name": log.name, "start": start, "end": end, "lines": lines}
    answer = _ask(source, log.node_id, "log_read", wanted, options.timeout)
    if answer.get("missing"):
        raise RayStateApiException(
            f"there is no log file {log.name!r} on the node {log.node_id[:12]}: list_logs() names those "
            "there are."
        )
    return answer


def _ask(source: Source, node_id: str, topic: str, options: dict[str, Any], timeout: float) -> dict[str, Any]:
    answer = source.ask_nodes(topic, options, timeout, only=node_id)
    if not answer["nodes"]:
        raise RayStateApiException(f"the node {node_id[:12]} does not answer: it may just have left.")
    found: dict[str, Any] = answer["nodes"][0]
    if found.get("error"):
        raise RayStateApiException(f"the node {node_id[:12]} cannot read its logs: {found['error']}")
    return found


# -- whose log


def _node(source: Source, node_id: str | None, node_ip: str | None, timeout: float) -> str:
    rows = [row for row in source.rows("nodes", timeout) if row["state"] == "ALIVE"]
    if node_id is None and node_ip is None:
        found = [row for row in rows if row["is_head_node"]] or rows
    else:
        found = [row for row in rows if node_id == row["node_id"] or node_ip == row["node_ip"]]
    if not found:
        raise RayStateApiException(
            f"there is no living node {node_id or node_ip!r}: list_nodes() shows those there are."
        )
    id: str = found[0]["node_id"]
    return id


def _find(source: Source, options: GetLogOptions) -> _Log:
    if options.actor_id is not None:
        return _of_process(source, options, "actor_id", options.actor_id, "actor")
    if options.task_id is not None:
        return _of_task(source, options)
    if options.submission_id is not None:
        return _of_job(source, options)
    node_id = _node(source, options.node_id, options.node_ip, options.timeout)
    if options.filename is not None:
        return _Log(node_id, options.filename)
    return _of_process(source, options, "pid", options.pid, "process", node_id)


def _of_process(
    source: Source, options: GetLogOptions, column: str, value: Any, what: str, node_id: str | None = None
) -> _Log:
    answer = source.ask_nodes("workers", {}, options.timeout, only=node_id)
    rows = [
        row for node in answer["nodes"] for row in node["rows"] if row.get(column) == value and row.get("log")
    ]
    if not rows:
        raise RayStateApiException(
            f"no executor is known of the {what} {value}: it was never placed, or its process ended long ago "
            "(drivers write no log)."
        )
    row = max(rows, key=lambda row: row["start"])
    return _Log(row["node_id"], f"{row['log']}.{options.suffix}", worker_id=row["worker_id"])


def _of_task(source: Source, options: GetLogOptions) -> _Log:
    tasks, _ = _tables.gather_tasks(source, options.timeout)
    rows = [row for row in tasks.rows if row["task_id"] == options.task_id]
    found = [row for row in rows if row["attempt_number"] == options.attempt_number]
    if not found:
        attempts = f" (only its attempts {sorted(r['attempt_number'] for r in rows)})" if rows else ""
        raise RayStateApiException(
            f"attempt {options.attempt_number} of the task {options.task_id} is not known{attempts}: "
            "list_tasks() shows those that are remembered."
        )
    row = found[0]
    info = row.get("task_log_info")
    if not info:
        raise RayStateApiException(
            f"the task {options.task_id} has no log: it is {row['state']}, and no living process remembers "
            "having run it."
        )
    stream = "stdout" if options.suffix == "out" else "stderr"
    start = info.get(f"{stream}_start", 0)
    running = row["state"] == "RUNNING"
    end = None if running and f"{stream}_start" in info else info.get(f"{stream}_end", start)
    name = os.path.basename(info[f"{stream}_file"])
    return _Log(row["node_id"], name, start, end, row["worker_id"])


def _of_job(source: Source, options: GetLogOptions) -> _Log:
    name = f"job-driver-{options.submission_id}.log"
    answer = source.ask_nodes("log_list", {"glob": name}, options.timeout)
    for node in answer["nodes"]:
        if node.get("files"):
            return _Log(node["node_id"], name, job=options.submission_id)
    raise RayStateApiException(f"no node has a log of the job {options.submission_id!r}.")


def _still_writes(source: Source, log: _Log, timeout: float) -> bool:
    """Whether the process that writes a log lives; of files of unknown origin that is taken for granted."""
    if log.job is not None:
        entry = source.value(keys.JOBS, log.job, timeout)
        return entry is not None and not JobStatus(json.loads(entry)["status"]).is_terminal()
    if log.worker_id is None:
        return True
    answer = source.ask_nodes("workers", {}, timeout, only=log.node_id)
    return any(
        row["worker_id"] == log.worker_id and row["is_alive"]
        for node in answer["nodes"]
        for row in node["rows"]
    )
