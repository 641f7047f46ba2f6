"""Functions that list, get and summarize what there is in a cluster (mirrors ``ray.util.state.api``).

All of them may be called by a driver, by a task, or by a process that only observes the cluster at
``address``. Lists are made when asked for, from what all processes know at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.engine.ownership.object_ref import ObjectRef
from rayjup.util.state._client import StateApiClient
from rayjup.util.state._options import (
    DEFAULT_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    Filter,
    GetApiOptions,
    ListApiOptions,
    SummaryApiOptions,
)
from rayjup.util.state._rows import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    StateResource,
    SummaryResource,
    TaskState,
    WorkerState,
)

_LIST = """{what}

    Parameters
    ----------
    address
        A running cluster's name, id or address; None for the one this process is connected to, or the
        only one that is running.
    filters
        Triples of column, ``"="`` or ``"!="``, and value; rows have to match all.
    limit
        How many rows at most.
    timeout
        Seconds for the whole request.
    detail
        Whether all columns are given; those of details are None otherwise.
    raise_on_missing_output
        Raise when not everything that was asked for is known, instead of warning.

    Raises
    ------
    RayStateApiException
        A column cannot be filtered by, the limit is too high, the cluster did not answer, or (unless
        ``raise_on_missing_output=False``) something is missing.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util.state import {name}
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> rows = {name}(limit=10)
    >>> len(rows) <= 10
    True
    """


def _lister(resource: StateResource, name: str, what: str) -> Callable[..., Any]:
    def function(
        address: str | None = None,
        filters: list[Filter] | None = None,
        limit: int = DEFAULT_LIMIT,
        timeout: int = DEFAULT_RPC_TIMEOUT,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Any]:
        options = ListApiOptions(limit=limit, timeout=timeout, filters=filters, detail=detail)
        return StateApiClient(address).list(resource, options, raise_on_missing_output, _explain)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = _LIST.format(what=what, name=name)
    return function


list_actors = _lister(
    StateResource.ACTORS, "list_actors", "Actors, also dead ones as long as they are remembered."
)
list_nodes = _lister(StateResource.NODES, "list_nodes", "Nodes, also those that have left.")
list_jobs = _lister(StateResource.JOBS, "list_jobs", "Jobs: drivers that are or were connected.")
list_tasks = _lister(StateResource.TASKS, "list_tasks", "Tasks, one row per attempt.")
list_workers = _lister(StateResource.WORKERS, "list_workers", "Processes: drivers and executors.")
list_objects = _lister(
    StateResource.OBJECTS, "list_objects", "References to objects, in the processes that have them."
)
list_placement_groups = _lister(StateResource.PLACEMENT_GROUPS, "list_placement_groups", "Placement groups.")
list_runtime_envs = _lister(
    StateResource.RUNTIME_ENVS, "list_runtime_envs", "Runtime environments, on the nodes that have them."
)
list_cluster_events = _lister(
    StateResource.CLUSTER_EVENTS, "list_cluster_events", "What happened to the cluster, the last 1000 events."
)


def _get(resource: StateResource, id: str, address: str | None, timeout: int, explain: bool) -> Any:
    return StateApiClient(address).get(resource, id, GetApiOptions(timeout=timeout), explain)


def get_actor(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> ActorState | None:
    """The actor with this id, None when there is none (or it is not remembered).

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util.state import get_actor
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> get_actor("00" * 16) is None
    True
    """
    found: ActorState | None = _get(StateResource.ACTORS, id, address, timeout, _explain)
    return found


def get_job(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> JobState | None:
    """The job with this id or submission id, None when there is none."""
    found: JobState | None = _get(StateResource.JOBS, id, address, timeout, _explain)
    return found


def get_placement_group(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> PlacementGroupState | None:
    """The placement group with this id, None when there is none."""
    found: PlacementGroupState | None = _get(StateResource.PLACEMENT_GROUPS, id, address, timeout, _explain)
    return found


def get_node(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> NodeState | None:
    """The node with this id, None when there is none."""
    found: NodeState | None = _get(StateResource.NODES, id, address, timeout, _explain)
    return found


def get_worker(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> WorkerState | None:
    """The process with this id, None when there is none."""
    found: WorkerState | None = _get(StateResource.WORKERS, id, address, timeout, _explain)
    return found


def get_task(
    id: str | ObjectRef,
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    _explain: bool = False,
) -> TaskState | list[TaskState] | None:
    """The task with this id, or that makes this ref; None when there is none (or it is not remembered).

    The list of its attempts when there were several.
    """
    text = id.task_id().hex() if isinstance(id, ObjectRef) else id
    found: TaskState | list[TaskState] | None = _get(StateResource.TASKS, text, address, timeout, _explain)
    return found


def get_objects(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> list[ObjectState]:
    """The references to the object with this id, one row per process that has some."""
    found: list[ObjectState] = _get(StateResource.OBJECTS, id, address, timeout, _explain)
    return found


def _summarize(
    resource: SummaryResource, address: str | None, timeout: int, strict: bool, explain: bool
) -> dict[str, Any]:
    result = StateApiClient(address).summary(
        resource,
        options=SummaryApiOptions(timeout=timeout),
        raise_on_missing_output=strict,
        _explain=explain,
    )
    cluster: dict[str, Any] = result
    return cluster


def summarize_tasks(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many tasks are in which state, by name.

    Finished tasks are counted even when nobody remembers them in detail.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util.state import summarize_tasks
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> sorted(summarize_tasks()["cluster"])[:3]
    ['summary', 'summary_by', 'total_actor_scheduled']
    """
    return _summarize(SummaryResource.TASKS, address, timeout, raise_on_missing_output, _explain)


def summarize_actors(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many actors are in which state, by class."""
    return _summarize(SummaryResource.ACTORS, address, timeout, raise_on_missing_output, _explain)


def summarize_objects(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many references to objects there are and how large these are, by where they were made."""
    return _summarize(SummaryResource.OBJECTS, address, timeout, raise_on_missing_output, _explain)
