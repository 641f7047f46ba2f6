"""The rows of the state API, one class per kind of thing."""

# `column` makes a dataclasses.field each time, as a default has to be.
# ruff: noqa: RUF009

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

from rayjup.util.state._schema import Humanify, StateSchema
from rayjup.util.state._schema import state_column as column


class StateResource(enum.Enum):
    """What can be listed."""

    ACTORS = "actors"
    JOBS = "jobs"
    PLACEMENT_GROUPS = "placement_groups"
    NODES = "nodes"
    WORKERS = "workers"
    TASKS = "tasks"
    OBJECTS = "objects"
    RUNTIME_ENVS = "runtime_envs"
    CLUSTER_EVENTS = "cluster_events"


class SummaryResource(enum.Enum):
    """What can be summarized."""

    ACTORS = "actors"
    TASKS = "tasks"
    OBJECTS = "objects"


@dataclass(init=True)
class ActorState(StateSchema):
    """One actor; DEAD ones are told of as long as the head keeps them (the last 1000)."""

    actor_id: str = column(filterable=True)
    class_name: str = column(filterable=True)
    state: str = column(filterable=True)
    job_id: str = column(filterable=True)
    name: str | None = column(filterable=True)
    node_id: str | None = column(filterable=True)
    pid: int | None = column(filterable=True)
    ray_namespace: str | None = column(filterable=True)
    serialized_runtime_env: str | None = column(filterable=False, detail=True)
    required_resources: dict[str, float] | None = column(filterable=False, detail=True)
    death_cause: dict[str, Any] | None = column(filterable=False, detail=True)
    is_detached: bool | None = column(filterable=False, detail=True)
    placement_group_id: str | None = column(filterable=True, detail=True)
    repr_name: str | None = column(filterable=True, detail=True)
    num_restarts: int | None = column(filterable=False, detail=True)
    num_restarts_due_to_lineage_reconstruction: int | None = column(filterable=False, detail=True)
    num_restarts_due_to_node_preemption: int | None = column(filterable=False, detail=True)
    call_site: str | None = column(filterable=False, detail=True)
    label_selector: dict[str, str] | None = column(filterable=False, detail=True)
    fallback_strategy: list[dict[str, Any]] | None = column(filterable=False, detail=True)


@dataclass(init=True)
class PlacementGroupState(StateSchema):
    """One placement group."""

    placement_group_id: str = column(filterable=True)
    name: str = column(filterable=True)
    creator_job_id: str = column(filterable=True)
    state: str = column(filterable=True)
    bundles: list[dict[str, Any]] | None = column(filterable=False, detail=True)
    is_detached: bool | None = column(filterable=True, detail=True)
    stats: dict[str, Any] | None = column(filterable=False, detail=True)
    topology_strategy: dict[str, Any] | None = column(filterable=False, detail=True)
    topology_assignments: dict[str, Any] | None = column(filterable=False, detail=True)


@dataclass(init=True)
class NodeState(StateSchema):
    """One node, also when it has left."""

    node_id: str = column(filterable=True)
    node_ip: str = column(filterable=True)
    is_head_node: bool = column(filterable=True)
    state: str = column(filterable=True)
    state_message: str | None = column(filterable=False)
    node_name: str = column(filterable=True)
    resources_total: dict[str, float] = column(filterable=False, format_fn=Humanify.node_resources)
    labels: dict[str, str] = column(filterable=False)
    start_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    end_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)


class JobType(str, enum.Enum):
    """How a job came about: submitted to the cluster, or a driver that connected itself."""

    SUBMISSION = "SUBMISSION"
    DRIVER = "DRIVER"


class JobStatus(str, enum.Enum):
    """What a job is at."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    def __str__(self) -> str:
        return f"{self.value}"

    def is_terminal(self) -> bool:
        """Whether this is how a job ends."""
        return self in (JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED)


@dataclass
class DriverInfo:
    """The driver of a job."""

    id: str
    node_ip_address: str
    pid: str


@dataclass(init=True, kw_only=True)
class JobState(StateSchema):
    """One job: a driver and everything it started."""

    type: JobType = column(filterable=True)
    job_id: str | None = column(filterable=True, default=None)
    submission_id: str | None = column(filterable=True, default=None)
    driver_info: DriverInfo | None = column(filterable=False, default=None)
    status: JobStatus = column(filterable=True)
    entrypoint: str = column(filterable=False)
    message: str | None = column(filterable=False, default=None)
    error_type: str | None = column(filterable=False, default=None)
    start_time: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    end_time: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    metadata: dict[str, str] | None = column(filterable=False, detail=True)
    runtime_env: dict[str, Any] | None = column(filterable=False, detail=True)
    driver_agent_http_address: str | None = column(filterable=False, detail=True)
    driver_node_id: str | None = column(filterable=False, detail=True)
    driver_exit_code: int | None = column(filterable=False, detail=True)

    @classmethod
    def schema_dict(cls) -> dict[str, Any]:
        """Names of the columns and of their types."""
        return {f.name: str(f.type) for f in dataclasses.fields(cls)}


@dataclass(init=True)
class WorkerState(StateSchema):
    """One process: a driver or an executor; of those that are gone a node remembers the last 1000."""

    worker_id: str = column(filterable=True)
    is_alive: bool = column(filterable=True)
    worker_type: str = column(filterable=True)
    exit_type: str | None = column(filterable=True)
    node_id: str = column(filterable=True)
    ip: str = column(filterable=True)
    pid: int = column(filterable=True)
    exit_detail: str | None = column(filterable=False, detail=True)
    worker_launch_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    worker_launched_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    start_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    end_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    debugger_port: int | None = column(filterable=True, detail=True)
    num_paused_threads: int | None = column(filterable=True, detail=True)


@dataclass(init=True)
class ClusterEventState(StateSchema):
    """Something that happened to the cluster."""

    severity: str = column(filterable=True)
    time: str = column(filterable=False)
    source_type: str = column(filterable=True)
    message: str = column(filterable=False)
    event_id: str = column(filterable=True)
    custom_fields: dict[str, Any] | None = column(filterable=False, detail=True)


@dataclass(init=True)
class TaskState(StateSchema):
    """One attempt at a call of a function or of an actor's method."""

    task_id: str = column(filterable=True)
    attempt_number: int = column(filterable=True)
    name: str = column(filterable=True)
    state: str = column(filterable=True)
    job_id: str = column(filterable=True)
    actor_id: str | None = column(filterable=True)
    type: str = column(filterable=True)
    func_or_class_name: str = column(filterable=True)
    parent_task_id: str = column(filterable=True)
    node_id: str | None = column(filterable=True)
    worker_id: str | None = column(filterable=True)
    worker_pid: int | None = column(filterable=True)
    error_type: str | None = column(filterable=True)
    language: str | None = column(filterable=True, detail=True)
    required_resources: dict[str, float] | None = column(filterable=False, detail=True)
    runtime_env_info: dict[str, Any] | None = column(filterable=False, detail=True)
    placement_group_id: str | None = column(filterable=True, detail=True)
    events: list[dict[str, Any]] | None = column(filterable=False, detail=True, format_fn=Humanify.events)
    profiling_data: dict[str, Any] | None = column(filterable=False, detail=True)
    creation_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    start_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    end_time_ms: int | None = column(filterable=False, detail=True, format_fn=Humanify.timestamp)
    task_log_info: dict[str, Any] | None = column(filterable=False, detail=True)
    error_message: str | None = column(filterable=False, detail=True)
    is_debugger_paused: bool | None = column(filterable=True, detail=True)
    call_site: str | None = column(filterable=False, detail=True)
    label_selector: dict[str, str] | None = column(filterable=False, detail=True)
    fallback_strategy: list[dict[str, Any]] | None = column(filterable=False, detail=True)


@dataclass(init=True)
class ObjectState(StateSchema):
    """One reference to an object in one process."""

    object_id: str = column(filterable=True)
    object_size: int = column(filterable=True, format_fn=Humanify.memory)
    task_status: str = column(filterable=True)
    attempt_number: int = column(filterable=True)
    reference_type: str = column(filterable=True)
    call_site: str = column(filterable=True)
    type: str = column(filterable=True)
    pid: int = column(filterable=True)
    ip: str = column(filterable=True)


@dataclass(init=True)
class RuntimeEnvState(StateSchema):
    """One runtime environment on one node."""

    runtime_env: dict[str, Any] = column(filterable=True)
    success: bool = column(filterable=True)
    creation_time_ms: float | None = column(filterable=False, format_fn=Humanify.duration)
    node_id: str = column(filterable=True)
    ref_cnt: int | None = column(filterable=False, detail=True)
    error: str | None = column(filterable=True, detail=True)


SCHEMAS: dict[StateResource, type[StateSchema]] = {
    StateResource.ACTORS: ActorState,
    StateResource.JOBS: JobState,
    StateResource.PLACEMENT_GROUPS: PlacementGroupState,
    StateResource.NODES: NodeState,
    StateResource.WORKERS: WorkerState,
    StateResource.TASKS: TaskState,
    StateResource.OBJECTS: ObjectState,
    StateResource.RUNTIME_ENVS: RuntimeEnvState,
    StateResource.CLUSTER_EVENTS: ClusterEventState,
}
