"""``StateApiClient``: lists, gets and summarizes what there is in a cluster."""

from __future__ import annotations

import builtins
import dataclasses
import warnings
from typing import Any

from rayjup.util.state import _filters, _source, _tables
from rayjup.util.state._options import MAX_LIMIT, GetApiOptions, ListApiOptions, SummaryApiOptions
from rayjup.util.state._rows import SCHEMAS, StateResource, SummaryResource
from rayjup.util.state._schema import StateSchema
from rayjup.util.state._summaries import (
    ActorSummaries,
    ObjectSummaries,
    StateSummary,
    TaskSummaries,
    TaskSummaryPerFuncOrClassName,
)
from rayjup.util.state.exception import RayStateApiException

_ID_COLUMNS = {
    StateResource.ACTORS: "actor_id",
    StateResource.NODES: "node_id",
    StateResource.PLACEMENT_GROUPS: "placement_group_id",
    StateResource.WORKERS: "worker_id",
    StateResource.TASKS: "task_id",
    StateResource.OBJECTS: "object_id",
    StateResource.JOBS: "job_id",
}
_MANY = (StateResource.TASKS, StateResource.OBJECTS)  # one id may have several rows
_FINAL = ("finished", "failed")


class StateApiClient:
    """Asks a cluster for its state.

    Parameters
    ----------
    address
        A running cluster's name, id or address; None for the one this process is connected to, or
        the only one that is running.
    cookies, headers
        For Ray's HTTP server, which rayjup has not got: not used.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util.state import StateApiClient
    >>> from rayjup.util.state.common import ListApiOptions, StateResource
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> client = StateApiClient()
    >>> len(client.list(StateResource.NODES, ListApiOptions(), raise_on_missing_output=True))
    1
    """

    def __init__(
        self,
        address: str | None = None,
        cookies: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        self._address = address

    def get_version(self) -> str:
        """The version of Ray whose state API this is."""
        return "2.60.0"

    def list(
        self,
        resource: StateResource,
        options: ListApiOptions,
        raise_on_missing_output: bool,
        _explain: bool = False,
    ) -> list[Any]:
        """The rows of a resource that match, at most ``options.limit``.

        Raises
        ------
        RayStateApiException
            A filter or the limit is not possible, or (with ``raise_on_missing_output``) not all of
            the cluster answered or not all is known.
        """
        resource = StateResource(resource)
        schema = SCHEMAS[resource]
        filters = list(options.filters or ())
        _filters.check_columns(schema, filters)
        if options.limit > MAX_LIMIT:
            raise RayStateApiException(
                f"limit={options.limit} is above {MAX_LIMIT}, the largest there is: select rows by filters=…"
            )
        if options.has_conflicting_filters():
            warnings.warn(
                "The filters ask one column to equal two different values: no row can match.", stacklevel=4
            )
            return []
        table = self._read(resource, options.timeout)
        rows = [row for row in table.rows if _filters.matches(row, filters)]
        if resource is StateResource.TASKS and options.exclude_driver:
            rows = [row for row in rows if row["type"] != "DRIVER_TASK"]
        missing = self._missing(resource, table, rows, filters)
        if missing and raise_on_missing_output:
            raise RayStateApiException(missing)
        if _explain or missing:
            self._warn(resource, missing, len(rows), options.limit)
        names = schema.list_columns(detail=options.detail)
        rows.sort(key=lambda row: str(row.get(_ID_COLUMNS.get(resource, ""), "")))
        return [_made(schema, row, names) for row in rows[: options.limit]]

    def get(
        self, resource: StateResource, id: str, options: GetApiOptions | None, _explain: bool = False
    ) -> Any:
        """The thing with this id, with all columns; None when there is none.

        Of objects a list (one row per process that has a reference); of tasks the last attempt, or
        the list of all attempts when there were several.
        """
        resource = StateResource(resource)
        column = _ID_COLUMNS.get(resource)
        if column is None:
            raise ValueError(
                f"{resource.value} have no id by which one of them could be asked for: list them."
            )
        if not isinstance(id, str) or not id:
            raise ValueError(f"the id has to be a string of hexadecimal digits, got {id!r}")
        schema = SCHEMAS[resource]
        table = self._read(resource, (options or GetApiOptions()).timeout)
        names = schema.list_columns()
        rows = [row for row in table.rows if row.get(column) == id]
        if resource is StateResource.JOBS and not rows:
            rows = [row for row in table.rows if row.get("submission_id") == id]
        found = [_made(schema, row, names) for row in rows]
        if resource is StateResource.OBJECTS:
            return found
        if resource is StateResource.TASKS and len(found) > 1:
            return sorted(found, key=lambda task: task.attempt_number)
        if not found and table.warning:
            warnings.warn(f"{id} was not found, but {table.warning}", stacklevel=3)
        return found[0] if found else None

    def summary(
        self,
        resource: SummaryResource,
        *,
        options: SummaryApiOptions,
        raise_on_missing_output: bool,
        _explain: bool = False,
    ) -> dict[str, Any]:
        """Counts, in groups; the key ``"cluster"`` holds those of the whole cluster."""
        listed = StateResource(SummaryResource(resource).value)
        filters = list(options.filters or ())
        _filters.check_columns(SCHEMAS[listed], filters)
        if options.summary_by not in (None, "func_name", "lineage"):
            raise ValueError(f"summary_by={options.summary_by!r} must be 'func_name' or 'lineage'")
        table = self._read(listed, options.timeout)
        rows = [row for row in table.rows if _filters.matches(row, filters)]
        if table.warning and raise_on_missing_output:
            raise RayStateApiException(_advice(table.warning))
        if table.warning:
            warnings.warn(table.warning, stacklevel=4)
        made: TaskSummaries | ActorSummaries | ObjectSummaries
        if listed is StateResource.TASKS:
            rows = [row for row in rows if row["type"] != "DRIVER_TASK"]
            if options.summary_by == "lineage":
                actors = self._read(StateResource.ACTORS, options.timeout).rows
                made = TaskSummaries.to_summary_by_lineage(tasks=rows, actors=actors)
            else:
                made = TaskSummaries.to_summary_by_func_name(tasks=rows)
                if not filters:
                    _add_dropped(made, table.dropped)
        elif listed is StateResource.ACTORS:
            made = ActorSummaries.to_summary(actors=rows)
        else:
            made = ObjectSummaries.to_summary(objects=rows)
        summary = dataclasses.asdict(StateSummary({"cluster": made}))
        result: dict[str, Any] = summary["node_id_to_summary"]
        return result

    # -- common to all

    def _read(self, resource: StateResource, timeout: float) -> _tables.Table:
        source = _source.find(self._address)
        try:
            return _tables.read(source, resource, timeout)
        finally:
            source.close()

    @staticmethod
    def _missing(
        resource: StateResource,
        table: _tables.Table,
        rows: builtins.list[dict[str, Any]],
        filters: builtins.list[Any],
    ) -> str:
        """What is not among the rows though it may be asked for, in words; "" for nothing."""
        parts = [table.warning] if table.warning else []
        lost = table.left_out
        if table.overflowed and _may_be_final(filters):
            lost += sum(map(sum, table.dropped.values()))
        if lost:
            parts.append(
                f"{lost} {resource.value} are not remembered in detail: each process keeps about "
                f"{MAX_LIMIT} of them."
            )
        if len(rows) > MAX_LIMIT:
            parts.append(f"{len(rows)} {resource.value} match, more than the {MAX_LIMIT} that can be given.")
        return _advice(" ".join(parts)) if parts else ""

    @staticmethod
    def _warn(resource: StateResource, missing: str, count: int, limit: int) -> None:
        if missing:
            warnings.warn(missing, stacklevel=5)
        if count > limit:
            warnings.warn(
                f"{count} {resource.value} match, and {limit} of them are given: filters=… select some, a "
                "higher limit=… gives more.",
                stacklevel=5,
            )


def _advice(text: str) -> str:
    return (
        f"Not everything that was asked for is known: {text} Narrow the request by filters=…, or take what "
        "there is with raise_on_missing_output=False."
    )


def _may_be_final(filters: list[Any]) -> bool:
    """Whether finished and failed tasks can match."""
    states = [(op, str(value).lower()) for column, op, value in filters if column == "state"]
    return not any(op == "=" and value not in _FINAL for op, value in states)


def _add_dropped(summary: TaskSummaries, dropped: dict[str, list[int]]) -> None:
    """Count the tasks that nobody remembers in detail: their numbers are known."""
    assert isinstance(summary.summary, dict)
    for name, (finished, failed) in dropped.items():
        is_method = "." in name
        kind = "ACTOR_TASK" if is_method else "NORMAL_TASK"
        group = summary.summary.setdefault(name, TaskSummaryPerFuncOrClassName(name, kind))
        for state, count in (("FINISHED", finished), ("FAILED", failed)):
            if count:
                group.state_counts[state] = group.state_counts.get(state, 0) + count
        if is_method:
            summary.total_actor_tasks += finished + failed
        else:
            summary.total_tasks += finished + failed


def _made(schema: type[StateSchema], row: dict[str, Any], names: list[str]) -> StateSchema:
    wanted = {name: row.get(name) for name in names}
    return schema(**wanted)
