"""Options of serving, checked (mirrors ``ray.serve.config``)."""

from __future__ import annotations

import enum
import importlib
import warnings
from collections.abc import Callable
from typing import Annotated, Any, Literal

import cloudpickle
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from rayjup.serve._private.scaling import AutoscalingContext

__all__ = [
    "AggregationFunction",
    "AutoscalingConfig",
    "AutoscalingContext",
    "AutoscalingPolicy",
    "BackpressureConfig",
    "ControllerOptions",
    "DeploymentActorConfig",
    "GangPlacementStrategy",
    "GangRuntimeFailurePolicy",
    "GangSchedulingConfig",
    "HTTPOptions",
    "ProxyLocation",
    "RequestRouterConfig",
    "gRPCOptions",
]

DEFAULT_POLICY = "ray.serve.autoscaling_policy:default_autoscaling_policy"
DEFAULT_ROUTER = "ray.serve._private.request_router:PowerOfTwoChoicesRequestRouter"


def imported(path: str | Callable[..., Any]) -> Any:
    """What ``module:name`` or ``module.name`` stands for; names of Ray mean rayjup's."""
    if not isinstance(path, str):
        return path
    module, colon, name = path.partition(":")
    if not colon:
        module, _, name = path.rpartition(".")
    if module == "ray" or module.startswith("ray."):
        module = "rayjup" + module[3:]
    return getattr(importlib.import_module(module), name)


class AggregationFunction(str, enum.Enum):
    """How numbers of a time window become one."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"


class AutoscalingPolicy(BaseModel):
    """The function that says how many replicas are wanted.

    Parameters
    ----------
    policy_function
        The function, or where it is: ``module:name``. It gets an :class:`AutoscalingContext` and
        gives a number, and a dictionary that it finds again in the next context.
    policy_kwargs
        More arguments of it (of its constructor, where it is a class).
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    policy_function: str | Callable[..., Any] = DEFAULT_POLICY
    policy_kwargs: dict[str, Any] = Field(default_factory=dict)
    _packed: bytes | None = PrivateAttr(default=None)

    def serialize_policy(self) -> None:
        """Pickle the function, so that it can travel to where decisions are made."""
        if self._packed is None and not self.is_default_policy_function():
            self._packed = cloudpickle.dumps(imported(self.policy_function))

    @classmethod
    def from_serialized_policy_def(
        cls, policy_config: dict[str, Any], serialized_policy_def: bytes
    ) -> AutoscalingPolicy:
        """The policy whose function was pickled before."""
        policy = cls(**policy_config)
        policy.set_serialized_policy_def(serialized_policy_def)
        return policy

    def get_serialized_policy_def(self) -> bytes | None:
        """The pickled function, if it was pickled."""
        return self._packed

    def set_serialized_policy_def(self, serialized_policy_def: bytes) -> None:
        """Use a function that was pickled before."""
        self._packed = serialized_policy_def

    def is_default_policy_function(self) -> bool:
        """Whether the function is the usual one."""
        return isinstance(self.policy_function, str) and self.policy_function.endswith(
            "serve.autoscaling_policy:default_autoscaling_policy"
        )

    def get_policy(self) -> Callable[..., Any]:
        """The function itself."""
        function = cloudpickle.loads(self._packed) if self._packed else imported(self.policy_function)
        if isinstance(function, type):
            return function(**self.policy_kwargs)  # type: ignore[no-any-return]
        if self.policy_kwargs:
            given = self.policy_kwargs
            return lambda ctx: function(ctx, **given)
        return function  # type: ignore[no-any-return]


class AutoscalingConfig(BaseModel):
    """How the number of replicas follows the load.

    Examples
    --------
    >>> from rayjup.serve.config import AutoscalingConfig
    >>> AutoscalingConfig(min_replicas=0, max_replicas=4, target_ongoing_requests=3).max_replicas
    4
    """

    min_replicas: NonNegativeInt = 1
    initial_replicas: NonNegativeInt | None = None
    max_replicas: PositiveInt = 1
    target_ongoing_requests: PositiveFloat | None = 2
    metrics_interval_s: PositiveFloat = 10.0
    look_back_period_s: PositiveFloat = 30.0
    smoothing_factor: PositiveFloat = 1.0
    upscale_smoothing_factor: PositiveFloat | None = None
    downscale_smoothing_factor: PositiveFloat | None = None
    upscaling_factor: PositiveFloat | None = None
    downscaling_factor: PositiveFloat | None = None
    downscale_delay_s: NonNegativeFloat = 600.0
    downscale_to_zero_delay_s: NonNegativeFloat | None = None
    upscale_delay_s: NonNegativeFloat = 30.0
    aggregation_function: str | AggregationFunction = AggregationFunction.MEAN
    policy: AutoscalingPolicy = Field(default_factory=AutoscalingPolicy)

    @model_validator(mode="before")
    @classmethod
    def _older(cls, values: Any) -> Any:
        if isinstance(values, dict) and "target_num_ongoing_requests_per_replica" in values:
            warnings.warn(
                "target_num_ongoing_requests_per_replica is called target_ongoing_requests now.",
                DeprecationWarning,
                stacklevel=4,
            )
            values = dict(values)
            given = values.pop("target_num_ongoing_requests_per_replica")
            values.setdefault("target_ongoing_requests", given)
        return values

    @model_validator(mode="after")
    def _in_order(self) -> AutoscalingConfig:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"max_replicas ({self.max_replicas}) must be at least min_replicas ({self.min_replicas})."
            )
        first = self.initial_replicas
        if first is not None and not self.min_replicas <= first <= self.max_replicas:
            raise ValueError(
                f"initial_replicas ({first}) must lie between min_replicas ({self.min_replicas}) and "
                f"max_replicas ({self.max_replicas})."
            )
        return self

    @field_validator("aggregation_function")
    @classmethod
    def _known(cls, value: Any) -> AggregationFunction:
        return AggregationFunction(value.lower() if isinstance(value, str) else value)

    @classmethod
    def default(cls) -> AutoscalingConfig:
        """What ``num_replicas="auto"`` means."""
        return cls(min_replicas=1, max_replicas=100, target_ongoing_requests=2)

    def get_upscaling_factor(self) -> float:
        """By how much of the difference to grow at once."""
        return self.upscaling_factor or self.upscale_smoothing_factor or self.smoothing_factor

    def get_downscaling_factor(self) -> float:
        """By how much of the difference to shrink at once."""
        return self.downscaling_factor or self.downscale_smoothing_factor or self.smoothing_factor

    def get_target_ongoing_requests(self) -> float:
        """Requests per replica to aim at."""
        return self.target_ongoing_requests or 2


class BackpressureConfig(BaseModel):
    """What clients of HTTP get when a queue is full."""

    status_code: Literal[503, 429] = 503
    retry_after_s: Annotated[NonNegativeFloat | None, Field(allow_inf_nan=False)] = None


class RequestRouterConfig(BaseModel):
    """Which replica gets a request: the class that chooses, and its settings."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    request_router_class: str | Callable[..., Any] = DEFAULT_ROUTER
    request_router_kwargs: dict[str, Any] = Field(default_factory=dict)
    request_routing_stats_period_s: PositiveFloat = 10
    request_routing_stats_timeout_s: PositiveFloat = 30
    initial_backoff_s: PositiveFloat = 0.025
    backoff_multiplier: PositiveFloat = 2
    max_backoff_s: PositiveFloat = 0.5
    _packed: bytes | None = PrivateAttr(default=None)

    @classmethod
    def from_serialized_request_router_cls(
        cls, request_router_config: dict[str, Any], serialized_request_router_cls: bytes
    ) -> RequestRouterConfig:
        """The settings with a class that was pickled before."""
        config = cls(**request_router_config)
        config.set_serialized_request_router_cls(serialized_request_router_cls)
        return config

    def set_serialized_request_router_cls(self, serialized_request_router_cls: bytes) -> None:
        """Use a class that was pickled before."""
        self._packed = serialized_request_router_cls

    def get_serialized_request_router_cls(self) -> bytes | None:
        """The pickled class; None for the usual one."""
        if self._packed is None and not self.is_default_request_router():
            self._packed = cloudpickle.dumps(imported(self.request_router_class))
        return self._packed

    def is_default_request_router(self) -> bool:
        """Whether the class is the usual one, which takes the less busy of two."""
        return self.request_router_class == DEFAULT_ROUTER

    def get_request_router_class(self) -> Callable[..., Any]:
        """The class itself."""
        if self._packed:
            return cloudpickle.loads(self._packed)  # type: ignore[no-any-return]
        return imported(self.request_router_class)  # type: ignore[no-any-return]


class ProxyLocation(str, enum.Enum):
    """Where requests over HTTP are taken."""

    Disabled = "Disabled"
    HeadOnly = "HeadOnly"
    EveryNode = "EveryNode"


class HTTPOptions(BaseModel):
    """Where and how to listen for HTTP.

    Examples
    --------
    >>> from rayjup.serve.config import HTTPOptions
    >>> HTTPOptions(port=8123).host
    '127.0.0.1'
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    host: str | None = "127.0.0.1"
    port: int = 8000
    middlewares: list[Any] = []
    location: ProxyLocation | None = None
    num_cpus: int = 0
    root_url: str = ""
    root_path: str = ""
    request_timeout_s: float | None = None
    keep_alive_timeout_s: int = 90
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None

    @model_validator(mode="after")
    def _both(self) -> HTTPOptions:
        if bool(self.ssl_keyfile) != bool(self.ssl_certfile):
            raise ValueError("ssl_keyfile and ssl_certfile belong together: give both, or neither.")
        return self


class gRPCOptions(BaseModel):
    """Where and what to serve over gRPC."""

    port: int = 9000
    grpc_servicer_functions: list[str] = []
    request_timeout_s: float | None = None
    enable_reflection: bool = True

    @property
    def grpc_servicer_func_callable(self) -> list[Callable[..., Any]]:
        """The functions that ``grpc_servicer_functions`` names."""
        return [imported(path) for path in self.grpc_servicer_functions]


class ControllerOptions(BaseModel):
    """How the controller is started."""

    runtime_env: dict[str, Any] | None = None


class GangPlacementStrategy(str, enum.Enum):
    """How the replicas of a gang are placed."""

    PACK = "PACK"
    SPREAD = "SPREAD"


class GangRuntimeFailurePolicy(str, enum.Enum):
    """What to do when a replica of a gang fails."""

    RESTART_GANG = "RESTART_GANG"
    RESTART_REPLICA = "RESTART_REPLICA"


class GangSchedulingConfig(BaseModel):
    """Replicas that start, and end, in groups."""

    gang_size: Annotated[int, Field(ge=1)]
    gang_placement_strategy: GangPlacementStrategy = GangPlacementStrategy.PACK
    runtime_failure_policy: GangRuntimeFailurePolicy = GangRuntimeFailurePolicy.RESTART_GANG


class DeploymentActorConfig(BaseModel):
    """An actor that all replicas of a deployment share."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: Annotated[str, Field(min_length=1)]
    actor_class: Any
    init_args: tuple[Any, ...] = Field(default_factory=tuple)
    init_kwargs: dict[str, Any] = Field(default_factory=dict)
    actor_options: dict[str, Any] = Field(default_factory=dict)

    def get_actor_class(self) -> Any:
        """The plain class."""
        found = imported(self.actor_class)
        return getattr(found, "_class", found)
