"""Options of requests to the state API, checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DEFAULT_RPC_TIMEOUT = 30
DEFAULT_LIMIT = 100
DEFAULT_LOG_LIMIT = 1000
DEFAULT_DOWNLOAD_FILENAME = "file.txt"
MAX_LIMIT = 10_000
"""How many rows are given at most, and how many each process tells of."""

Filter = tuple[str, str, Any]
_PREDICATES = ("=", "!=")


def _check_number(what: str, value: Any, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} must be a number, not {type(value).__name__}: {value!r}")
    if value < least:
        raise ValueError(f"{what}={value} must be at least {least:g}")


def _check_filters(filters: Any) -> list[Filter]:
    checked = []
    for entry in filters or ():
        if not isinstance(entry, (tuple, list)) or len(entry) != 3:
            raise ValueError(
                f"filters={filters!r} holds {entry!r}, which is not (column, '=' or '!=', value): write for "
                "example filters=[('state', '=', 'RUNNING')]."
            )
        if entry[1] not in _PREDICATES:
            raise ValueError(
                f"the filter {tuple(entry)!r} compares by {entry[1]!r}, but only '=' and '!=' are known: "
                "select more rows and compare them in Python."
            )
        checked.append((entry[0], entry[1], entry[2]))
    return checked


@dataclass(init=True)
class ListApiOptions:
    """What is to be listed of all there is.

    Parameters
    ----------
    limit
        How many rows at most.
    timeout
        Seconds for the whole request.
    detail
        Whether all columns are given.
    filters
        Triples of column, ``"="`` or ``"!="``, and value; a row has to match all.
    exclude_driver
        Whether the drivers themselves are left out of tasks.
    server_timeout_multiplier
        The share of ``timeout`` in which the nodes have to answer.
    """

    limit: int = DEFAULT_LIMIT
    timeout: int = DEFAULT_RPC_TIMEOUT
    detail: bool = False
    filters: list[Filter] | None = field(default_factory=list)
    exclude_driver: bool = True
    server_timeout_multiplier: float = 0.8

    def __post_init__(self) -> None:
        _check_number("limit", self.limit, 0)
        _check_number("timeout", self.timeout, 0)
        self.filters = _check_filters(self.filters)

    def has_conflicting_filters(self) -> bool:
        """Whether no row can match: one column has to equal two different values."""
        wanted: dict[str, str] = {}
        for column, predicate, value in self.filters or ():
            if predicate == "=" and wanted.setdefault(column, str(value).lower()) != str(value).lower():
                return True
        return False


@dataclass(init=True)
class GetApiOptions:
    """How one thing is asked for."""

    timeout: int = DEFAULT_RPC_TIMEOUT
    server_timeout_multiplier: float = 0.8

    def __post_init__(self) -> None:
        _check_number("timeout", self.timeout, 0)


@dataclass(init=True)
class SummaryApiOptions:
    """What is to be summarized; ``summary_by`` of tasks is ``"func_name"`` or ``"lineage"``."""

    timeout: int = DEFAULT_RPC_TIMEOUT
    filters: list[Filter] | None = field(default_factory=list)
    summary_by: str | None = None

    def __post_init__(self) -> None:
        _check_number("timeout", self.timeout, 0)
        self.filters = _check_filters(self.filters)


@dataclass(init=True)
class GetLogOptions:
    """Which log is wanted, and what of it; exactly one thing has to say whose log it is.

    Parameters
    ----------
    timeout
        Seconds for each request.
    node_id, node_ip
        The node on which the file lies; needed with ``filename`` and ``pid``.
    media_type
        ``"file"`` for what there is, ``"stream"`` to go on with what comes.
    filename, actor_id, task_id, pid, submission_id
        Whose log: a file in the node's log directory, an actor's, a task's, a process's, a job's.
    download_filename
        The name under which a browser would save it.
    attempt_number
        Which attempt of the task.
    lines
        How many of the last lines; -1 for all.
    interval
        Seconds between two looks, of a stream.
    suffix
        ``"out"`` or ``"err"``.
    """

    timeout: int
    node_id: str | None = None
    node_ip: str | None = None
    media_type: str = "file"
    filename: str | None = None
    download_filename: str = DEFAULT_DOWNLOAD_FILENAME
    actor_id: str | None = None
    task_id: str | None = None
    attempt_number: int = 0
    pid: int | None = None
    lines: int = 1000
    interval: float | None = None
    suffix: str = "out"
    submission_id: str | None = None

    def __post_init__(self) -> None:
        _check_number("timeout", self.timeout, 0)
        if self.pid is not None:
            self.pid = int(self.pid)
        if self.interval is not None:
            self.interval = float(self.interval)
        self.lines = int(self.lines)
        if self.media_type not in ("file", "stream"):
            raise ValueError(f"media_type={self.media_type!r} must be 'file' or 'stream'")
        if self.suffix not in ("out", "err"):
            raise ValueError(f"suffix={self.suffix!r} must be 'out' or 'err'")
        by_itself = (self.actor_id, self.task_id, self.submission_id)
        on_node = (self.filename, self.pid)
        given = [value for value in (*by_itself, *on_node) if value is not None]
        if len(given) != 1:
            raise ValueError(
                "a log is asked for by exactly one of filename, actor_id, task_id, pid and submission_id; "
                f"{len(given)} of them are given."
            )
        if not any(by_itself) and not (self.node_id or self.node_ip):
            raise ValueError(
                "a log asked for by filename or pid needs node_id or node_ip: the same name may be there on "
                "several nodes. list_nodes() shows the nodes."
            )
        if self.node_id and self.node_ip:
            raise ValueError("node_id and node_ip exclude each other: give one of them.")


@dataclass(init=True)
class ListApiResponse:
    """A list, with what is known of its completeness."""

    total: int
    num_after_truncation: int
    num_filtered: int
    result: list[dict[str, Any]]
    partial_failure_warning: str | None = ""
    warnings: list[str] | None = None

    def __post_init__(self) -> None:
        if self.num_filtered < len(self.result):
            raise ValueError(
                f"num_filtered={self.num_filtered} counts what matches, and so cannot be below the number of "
                f"rows that are given ({len(self.result)})."
            )


@dataclass(init=True)
class SummaryApiResponse:
    """A summary, with what is known of its completeness."""

    total: int
    num_after_truncation: int
    num_filtered: int
    result: Any = None
    partial_failure_warning: str | None = ""
    warnings: list[str] | None = None
