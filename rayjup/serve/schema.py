"""What configuration files and status reports consist of (mirrors ``ray.serve.schema``)."""

from __future__ import annotations

import enum
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, pstdev
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    field_validator,
    model_validator,
)

from rayjup.serve._private.common import (
    UNSET,
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaState,
    RequestProtocol,
)
from rayjup.serve.config import (
    AutoscalingConfig,
    BackpressureConfig,
    ControllerOptions,
    DeploymentActorConfig,
    GangSchedulingConfig,
    ProxyLocation,
    RequestRouterConfig,
)

_Percent = Annotated[float | None, Field(ge=0, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class EncodingType(str, enum.Enum):
    """How log lines are written."""

    TEXT = "TEXT"
    JSON = "JSON"


class LoggingConfig(_Strict):
    """How replicas log.

    Examples
    --------
    >>> from rayjup.serve.schema import LoggingConfig
    >>> LoggingConfig(encoding="JSON", enable_access_log=False).encoding
    <EncodingType.JSON: 'JSON'>
    """

    encoding: EncodingType = Field(
        default_factory=lambda: EncodingType(os.environ.get("RAY_SERVE_LOG_ENCODING", "TEXT"))
    )
    log_level: int | str = "INFO"
    logs_dir: str | None = None
    enable_access_log: bool = True
    additional_log_standard_attrs: list[str] = Field(default_factory=list)


class TracingConfig(_Strict):
    """Whether requests are traced, and by what."""

    enabled: bool = Field(
        default_factory=lambda: bool(os.environ.get("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"))
    )
    exporter_import_path: str = Field(
        default_factory=lambda: os.environ.get("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", "")
    )
    sampling_ratio: float = Field(
        default_factory=lambda: float(os.environ.get("RAY_SERVE_TRACING_SAMPLING_RATIO", "1.0"))
    )


class RayActorOptionsSchema(_Strict):
    """Options of the replicas' actors."""

    runtime_env: dict[str, Any] = {}
    num_cpus: NonNegativeFloat | None = None
    num_gpus: NonNegativeFloat | None = None
    memory: NonNegativeFloat | None = None
    resources: dict[str, Any] = {}
    accelerator_type: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None


class DeploymentSchema(_Strict):
    """A deployment in a configuration file: options that take the place of the code's."""

    name: str
    num_replicas: Any = UNSET
    max_ongoing_requests: Any = UNSET
    max_queued_requests: Any = UNSET
    backpressure_config: BackpressureConfig | Any = UNSET
    user_config: Any = UNSET
    autoscaling_config: dict[str, Any] | AutoscalingConfig | Any = UNSET
    graceful_shutdown_wait_loop_s: Any = UNSET
    graceful_shutdown_timeout_s: Any = UNSET
    health_check_period_s: Any = UNSET
    health_check_timeout_s: Any = UNSET
    ray_actor_options: RayActorOptionsSchema | Any = UNSET
    placement_group_bundles: Any = UNSET
    placement_group_strategy: Any = UNSET
    placement_group_bundle_label_selector: Any = UNSET
    max_replicas_per_node: Any = UNSET
    logging_config: LoggingConfig | Any = UNSET
    request_router_config: dict[str, Any] | RequestRouterConfig | Any = UNSET
    gang_scheduling_config: dict[str, Any] | GangSchedulingConfig | Any = UNSET
    deployment_actors: list[dict[str, Any] | DeploymentActorConfig] | Any = UNSET
    rolling_update_percentage: Any = UNSET
    max_surge_percent: Any = UNSET

    @model_validator(mode="after")
    def _checked(self) -> DeploymentSchema:
        from rayjup.serve._private.options import checked  # the same rules as for the decorator

        checked(self.given(), f"deployment {self.name!r}")
        return self

    def given(self) -> dict[str, Any]:
        """The options that were given, as the decorator takes them."""
        found = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name == "name" or value is UNSET:
                continue
            if isinstance(value, RayActorOptionsSchema):
                value = value.model_dump(exclude_unset=True)
            found[name] = value
        return found

    def is_autoscaling_configured(self) -> bool:
        """Whether the number of replicas follows the load."""
        return self.num_replicas == "auto" or self.autoscaling_config not in (UNSET, None)


class ServeApplicationSchema(_Strict):
    """An application in a configuration file."""

    name: str = "default"
    route_prefix: str | None = "/"
    import_path: str
    runtime_env: dict[str, Any] = {}
    host: str = "0.0.0.0"
    port: int = 8000
    deployments: list[DeploymentSchema] = []
    autoscaling_policy: dict[str, Any] | None = None
    args: dict[str, Any] = {}
    logging_config: LoggingConfig | None = None
    external_scaler_enabled: bool = False

    @property
    def deployment_names(self) -> list[str]:
        """The deployments whose options it changes."""
        return [one.name for one in self.deployments]

    @field_validator("import_path")
    @classmethod
    def _importable(cls, value: str) -> str:
        if ":" in value:
            module, _, name = value.partition(":")
        else:
            module, _, name = value.rpartition(".")
        if not module or not name or value.count(":") > 1:
            raise ValueError(
                f'Got invalid import path {value!r}: it must be of the form "module.submodule:app" '
                'or "module.submodule.app".'
            )
        return value

    @field_validator("route_prefix")
    @classmethod
    def _prefix(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if not value.startswith("/"):
            raise ValueError(f"Got {value!r} for route_prefix. Route prefix must start with '/'.")
        if len(value) > 1 and value.endswith("/"):
            raise ValueError(
                f"Got {value!r} for route_prefix. Route prefix must not end with '/' unless it is '/'."
            )
        if "{" in value or "}" in value:
            raise ValueError(f"Got {value!r} for route_prefix. Route prefix must not contain wildcards.")
        return value

    @field_validator("deployments")
    @classmethod
    def _named_once(cls, value: list[DeploymentSchema]) -> list[DeploymentSchema]:
        names = [one.name for one in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Deployments {', '.join(twice)} are there more than once: name each only once.")
        return value

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """A file's application with nothing in it."""
        return {"import_path": "", "runtime_env": {}, "deployments": []}


class gRPCOptionsSchema(_Strict):
    """gRPC in a configuration file."""

    port: int = 9000
    grpc_servicer_functions: list[str] = []
    request_timeout_s: float | None = None
    enable_reflection: bool = True


class HTTPOptionsSchema(_Strict):
    """HTTP in a configuration file. Unlike Ray's, the host is this machine unless it says otherwise."""

    host: str = "127.0.0.1"
    port: int = 8000
    root_path: str = ""
    request_timeout_s: float | None = None
    keep_alive_timeout_s: int = 90
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None


class ServeDeploySchema(_Strict):
    """A whole configuration file.

    Examples
    --------
    >>> from rayjup.serve.schema import ServeDeploySchema
    >>> file = {"applications": [{"name": "a", "import_path": "pkg.mod:app"}]}
    >>> ServeDeploySchema.model_validate(file).applications[0].route_prefix
    '/'
    """

    proxy_location: ProxyLocation = ProxyLocation.EveryNode
    http_options: HTTPOptionsSchema = HTTPOptionsSchema()
    grpc_options: gRPCOptionsSchema = gRPCOptionsSchema()
    controller_options: ControllerOptions | None = None
    logging_config: LoggingConfig | None = None
    tracing_config: TracingConfig | None = None
    applications: list[ServeApplicationSchema]
    target_capacity: _Percent = None

    @field_validator("applications")
    @classmethod
    def _apart(cls, value: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        names = [one.name for one in value]
        if len(set(names)) != len(names):
            raise ValueError(
                f"Found applications with the same name: {sorted({n for n in names if names.count(n) > 1})}."
            )
        if len(value) > 1 and any(not name for name in names):
            raise ValueError("Application names must be nonempty.")
        prefixes = [one.route_prefix for one in value if one.route_prefix is not None]
        if len(set(prefixes)) != len(prefixes):
            twice = sorted({p for p in prefixes if prefixes.count(p) > 1})
            raise ValueError(f"Found duplicate route prefixes: {twice}. Each application needs its own.")
        return value

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """A file with nothing in it."""
        return {"applications": []}


class ProxyStatus(str, enum.Enum):
    """What a proxy is doing."""

    STARTING = "STARTING"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"

    def to_numeric(self) -> int:
        """As a number, for metrics; 0 is for none."""
        return list(ProxyStatus).index(self) + 1


class ApplicationStatus(str, enum.Enum):
    """What an application is doing."""

    NOT_STARTED = "NOT_STARTED"
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"

    def to_numeric(self) -> int:
        """As a number, for metrics; 0 is for none."""
        return list(ApplicationStatus).index(self) + 1


@dataclass
class DeploymentStatusOverview:
    """How a deployment is."""

    status: DeploymentStatus
    status_trigger: DeploymentStatusTrigger
    replica_states: dict[ReplicaState, int]
    message: str


@dataclass
class ApplicationStatusOverview:
    """How an application is."""

    status: ApplicationStatus
    message: str
    last_deployed_time_s: float
    deployments: dict[str, DeploymentStatusOverview]


@dataclass(eq=True)
class ServeStatus:
    """What is served, and how it is; see :func:`rayjup.serve.status`."""

    proxies: dict[str, ProxyStatus] = field(default_factory=dict)
    applications: dict[str, ApplicationStatusOverview] = field(default_factory=dict)
    target_capacity: float | None = None

    @classmethod
    def from_plain(cls, data: dict[str, Any]) -> ServeStatus:
        """From what the controller says."""
        apps = {}
        for name, app in data["applications"].items():
            deployments = {
                one: DeploymentStatusOverview(
                    DeploymentStatus(d["status"]),
                    DeploymentStatusTrigger(d["status_trigger"]),
                    {ReplicaState(state): count for state, count in d["replica_states"].items()},
                    d["message"],
                )
                for one, d in app["deployments"].items()
            }
            apps[name] = ApplicationStatusOverview(
                ApplicationStatus(app["status"]), app["message"], app["last_deployed_time_s"], deployments
            )
        return cls({node: ProxyStatus(status) for node, status in data["proxies"].items()}, apps)

    def to_plain(self) -> dict[str, Any]:
        """As plain data, for YAML and JSON."""
        return {
            "proxies": {node: status.value for node, status in self.proxies.items()},
            "applications": {
                name: {
                    "status": app.status.value,
                    "message": app.message,
                    "last_deployed_time_s": app.last_deployed_time_s,
                    "deployments": {
                        one: {
                            "status": d.status.value,
                            "status_trigger": d.status_trigger.value,
                            "replica_states": {s.value: n for s, n in d.replica_states.items()},
                            "message": d.message,
                        }
                        for one, d in app.deployments.items()
                    },
                }
                for name, app in self.applications.items()
            },
            "target_capacity": self.target_capacity,
        }


class ServeActorDetails(BaseModel):
    """An actor that serves."""

    node_id: str | None = None
    node_ip: str | None = None
    node_instance_id: str | None = None
    actor_id: str | None = None
    actor_name: str | None = None
    worker_id: str | None = None
    log_file_path: str | None = None


class ReplicaDetails(ServeActorDetails):
    """A replica."""

    replica_id: str
    state: ReplicaState
    pid: int | None = None
    start_time_s: float


class AutoscalingMetricsHealth(str, enum.Enum):
    """Whether the numbers behind decisions are fresh."""

    HEALTHY = "healthy"
    DELAYED = "delayed"
    UNAVAILABLE = "unavailable"


class AutoscalingStatus(str, enum.Enum):
    """Where the number of replicas goes."""

    UPSCALING = "UPSCALING"
    DOWNSCALING = "DOWNSCALING"
    STABLE = "STABLE"


class ScalingDecision(BaseModel):
    """A change of the number of replicas, and why."""

    timestamp_s: float
    reason: str
    prev_num_replicas: NonNegativeInt
    curr_num_replicas: NonNegativeInt
    policy: str | None = None


class DeploymentAutoscalingDetail(BaseModel):
    """How a deployment came to the number of replicas it has."""

    scaling_status: AutoscalingStatus
    decisions: list[ScalingDecision] = Field(default_factory=list)
    metrics: dict[str, Any] | None = None
    metrics_health: AutoscalingMetricsHealth = AutoscalingMetricsHealth.HEALTHY
    errors: list[str] = Field(default_factory=list)


class DeploymentDetails(BaseModel):
    """All about a deployment."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    status: DeploymentStatus
    status_trigger: DeploymentStatusTrigger
    message: str
    deployment_config: DeploymentSchema
    target_num_replicas: NonNegativeInt
    required_resources: dict[str, Any]
    replicas: list[ReplicaDetails]
    recent_dead_replicas: list[ReplicaDetails] = Field(default_factory=list)
    autoscaling_detail: DeploymentAutoscalingDetail | None = None


class APIType(str, enum.Enum):
    """How an application was deployed: by a program, or by a file."""

    UNKNOWN = "unknown"
    IMPERATIVE = "imperative"
    DECLARATIVE = "declarative"

    @classmethod
    def get_valid_user_values(cls) -> list[str]:
        """The values that a question may name."""
        return [cls.IMPERATIVE.value, cls.DECLARATIVE.value]


class DeploymentNode(BaseModel):
    """A deployment in an application's graph."""

    name: str
    app_name: str
    outbound_deployments: list[dict[str, Any]] = Field(default_factory=list)
    is_ingress: bool = False


class DeploymentTopology(BaseModel):
    """Which deployments of an application call which."""

    app_name: str
    nodes: dict[str, DeploymentNode]
    ingress_deployment: str | None = None


class ApplicationDetails(BaseModel):
    """All about an application."""

    name: str
    route_prefix: str | None
    docs_path: str | None
    status: ApplicationStatus
    message: str
    last_deployed_time_s: float
    deployed_app_config: ServeApplicationSchema | None = None
    source: APIType
    deployments: dict[str, DeploymentDetails]
    external_scaler_enabled: bool
    deployment_topology: DeploymentTopology | None = None


class ProxyDetails(ServeActorDetails):
    """A proxy."""

    status: ProxyStatus


class Target(BaseModel):
    """Something that takes requests."""

    ip: str
    port: int
    instance_id: str
    name: str


class TargetGroup(BaseModel):
    """What takes the requests of one route."""

    targets: list[Target]
    route_prefix: str
    protocol: RequestProtocol
    app_name: str = ""
    ingress_request_router_targets: list[Target] = Field(default_factory=list)
    ingress_deployment_name: str = ""


class DurationStats(BaseModel):
    """Statistics of durations."""

    mean: float = 0.0
    std: float = 0.0
    min: float = 0.0
    max: float = 0.0

    @classmethod
    def from_values(cls, values: list[float]) -> DurationStats:
        """Of these values; zeros for none."""
        if not values:
            return cls()
        return cls(mean=fmean(values), std=pstdev(values), min=min(values), max=max(values))


class ControllerHealthMetrics(BaseModel):
    """How the controller itself is."""

    timestamp: float = 0.0
    controller_start_time: float = 0.0
    uptime_s: float = 0.0
    last_control_loop_time: float = 0.0
    num_control_loops: int = 0
    loop_duration_s: DurationStats | None = None
    loops_per_second: float = 0.0
    last_sleep_duration_s: float = 0.0
    expected_sleep_duration_s: float = 0.0
    event_loop_delay_s: float = 0.0
    num_asyncio_tasks: int = 0
    handle_ingest_duration_ms: DurationStats | None = None
    replica_ingest_duration_ms: DurationStats | None = None
    metrics_decompress_duration_ms: DurationStats | None = None
    columnar_decode_duration_ms: DurationStats | None = None
    handle_reports_received: int = 0
    replica_reports_received: int = 0
    ingest_reports_received: int = 0
    ingest_cpu_fraction: float = 0.0
    deployment_state_update_duration_s: DurationStats | None = None
    application_state_update_duration_s: DurationStats | None = None
    proxy_state_update_duration_s: DurationStats | None = None
    node_update_duration_s: DurationStats | None = None
    handle_metrics_delay_ms: DurationStats | None = None
    replica_metrics_delay_ms: DurationStats | None = None
    process_memory_mb: float = 0.0


class ServeInstanceDetails(BaseModel):
    """All about what is served: the answer of ``GET /api/serve/applications/``."""

    controller_info: ServeActorDetails = Field(default_factory=ServeActorDetails)
    proxy_location: ProxyLocation | None = None
    http_options: HTTPOptionsSchema | None = None
    grpc_options: gRPCOptionsSchema | None = None
    proxies: dict[str, ProxyDetails]
    applications: dict[str, ApplicationDetails]
    target_capacity: _Percent = None
    target_groups: list[TargetGroup] = Field(default_factory=list)
    controller_health_metrics: ControllerHealthMetrics = Field(default_factory=ControllerHealthMetrics)
    restores_unset_config_options: bool = False

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """Where nothing is served."""
        return {"proxies": {}, "applications": {}, "controller_info": {}, "target_groups": []}


class ScaleDeploymentRequest(BaseModel):
    """The body of a request for another number of replicas."""

    target_num_replicas: NonNegativeInt


class ReplicaRank(BaseModel):
    """The place of a replica among those of its deployment."""

    rank: int
    node_rank: int
    local_rank: int


class CeleryAdapterConfig(BaseModel):
    """Where Celery's broker and results are."""

    app_custom_config: dict[str, Any] | None = None
    task_custom_config: dict[str, Any] | None = None
    broker_url: str
    backend_url: str
    broker_transport_options: dict[str, Any] | None = None


class TaskProcessorConfig(BaseModel):
    """Which queue a task consumer takes its work from, and how."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    queue_name: str
    adapter: str | Callable[..., Any] = "ray.serve.task_processor.CeleryTaskProcessorAdapter"
    adapter_config: Any
    max_retries: int | None = 3
    failed_task_queue_name: str | None = None
    unprocessable_task_queue_name: str | None = None


class TaskResult(BaseModel):
    """What became of a task."""

    id: str
    status: str
    created_at: float | None = None
    result: Any


class TaskProcessorAdapter(ABC):
    """What a queue of tasks has to offer to be used by ``@task_consumer``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @abstractmethod
    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Connect; so many tasks run at once."""

    @abstractmethod
    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Run ``func`` for tasks of that name."""

    @abstractmethod
    def enqueue_task_sync(
        self, task_name: str, args: Any | None = None, kwargs: Any | None = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue."""

    @abstractmethod
    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task."""

    @abstractmethod
    def start_consumer(self, **kwargs: Any) -> None:
        """Take tasks from the queue from now on."""

    @abstractmethod
    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Take no more."""

    @abstractmethod
    def cancel_task_sync(self, task_id: str) -> Any:
        """Cancel a task."""

    @abstractmethod
    def get_metrics_sync(self) -> dict[str, Any]:
        """Numbers of the queue."""

    @abstractmethod
    def health_check_sync(self) -> list[dict[str, Any]]:
        """Whether the queue can be reached."""

    async def enqueue_task_async(
        self, task_name: str, args: Any | None = None, kwargs: Any | None = None, **options: Any
    ) -> TaskResult:
        """:meth:`enqueue_task_sync` for coroutines."""
        return await _in_thread(self.enqueue_task_sync, task_name, args, kwargs, **options)  # type: ignore[no-any-return]

    async def get_task_status_async(self, task_id: str) -> TaskResult:
        """:meth:`get_task_status_sync` for coroutines."""
        return await _in_thread(self.get_task_status_sync, task_id)  # type: ignore[no-any-return]

    async def cancel_task_async(self, task_id: str) -> Any:
        """:meth:`cancel_task_sync` for coroutines."""
        return await _in_thread(self.cancel_task_sync, task_id)

    async def get_metrics_async(self) -> dict[str, Any]:
        """:meth:`get_metrics_sync` for coroutines."""
        return await _in_thread(self.get_metrics_sync)  # type: ignore[no-any-return]

    async def health_check_async(self) -> list[dict[str, Any]]:
        """:meth:`health_check_sync` for coroutines."""
        return await _in_thread(self.health_check_sync)  # type: ignore[no-any-return]


async def _in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio

    return await asyncio.to_thread(function, *args, **kwargs)
