"""What code knows of the replica and the request it runs in (mirrors ``ray.serve.context``)."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.serve._private.common import DeploymentID, ReplicaID
from rayjup.serve.exceptions import RayServeException
from rayjup.serve.gang import GangContext


@dataclass(frozen=True)
class ReplicaRank:
    """The place of a replica among those of its deployment."""

    rank: int = 0
    node_rank: int = 0
    local_rank: int = 0


@dataclass
class ReplicaContext:
    """The replica in which code runs; see :func:`rayjup.serve.get_replica_context`."""

    replica_id: ReplicaID
    servable_object: Any = None
    _deployment_config: dict[str, Any] = field(default_factory=dict)
    rank: ReplicaRank | None = None
    world_size: int = 1
    _handle_registration_callback: Callable[[DeploymentID], None] | None = None
    gang_context: GangContext | None = None
    code_version: str | None = None

    @property
    def app_name(self) -> str:
        """The application's name."""
        return self.replica_id.deployment_id.app_name

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self.replica_id.deployment_id.name

    @property
    def replica_tag(self) -> str:
        """The replica's id."""
        return self.replica_id.unique_id


@dataclass(frozen=True)
class DeploymentActorContext:
    """The deployment actor in which code runs."""

    deployment_id: DeploymentID
    actor_name: str
    code_version: str | None = None

    @property
    def app_name(self) -> str:
        """The application's name."""
        return self.deployment_id.app_name

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self.deployment_id.name


class RequestContext:
    """The request that code answers."""

    __slots__ = ("app_name", "children", "multiplexed_model_id", "request_id", "route", "session_id", "trace")

    def __init__(
        self,
        request_id: str = "",
        route: str = "",
        app_name: str = "",
        multiplexed_model_id: str = "",
        trace: dict[str, str] | None = None,
        session_id: str = "",
    ) -> None:
        self.request_id = request_id
        self.route = route
        self.app_name = app_name
        self.multiplexed_model_id = multiplexed_model_id
        self.trace = trace
        self.session_id = session_id
        self.children: set[Any] | None = None  # calls made for it that are not answered

    def cancel_children(self) -> None:
        """Nobody waits for the answer any more: nor for what it was to be made of."""
        children, self.children = self.children, None
        for call in children or ():
            call.cancel()

    def __repr__(self) -> str:
        return f"RequestContext(request_id={self.request_id!r}, route={self.route!r}, app={self.app_name!r})"


NO_REQUEST = RequestContext()
_serve_request_context: contextvars.ContextVar[RequestContext] = contextvars.ContextVar(
    "rayjup_serve_request", default=NO_REQUEST
)
_replica: ReplicaContext | None = None
_local_replica: contextvars.ContextVar[ReplicaContext | None] = contextvars.ContextVar(
    "rayjup_serve_local_replica", default=None
)
_deployment_actor: DeploymentActorContext | None = None


def set_replica(context: ReplicaContext | None) -> None:
    """Say in which replica this process is."""
    global _replica
    _replica = context


def set_deployment_actor(context: DeploymentActorContext) -> None:
    """Say in which deployment actor this process is."""
    global _deployment_actor
    _deployment_actor = context


def current_replica() -> ReplicaContext | None:
    """The replica in which the caller runs, if it runs in one."""
    return _local_replica.get() or _replica


def get_replica_context() -> ReplicaContext:
    """The replica in which the caller runs.

    Raises
    ------
    RayServeException
        It runs in none.
    """
    found = current_replica()
    if found is None:
        raise RayServeException(
            "get_replica_context() was called outside of a replica: call it in the code of a deployment."
        )
    return found


def get_deployment_actor_context() -> DeploymentActorContext:
    """The deployment actor in which the caller runs.

    Raises
    ------
    RayServeException
        It runs in none.
    """
    if _deployment_actor is None:
        raise RayServeException(
            "get_deployment_actor_context() was called outside of a deployment actor (deployment_actors=…)."
        )
    return _deployment_actor


def get_multiplexed_model_id() -> str:
    """The model that the request asks for (``""`` where it asks for none)."""
    return _serve_request_context.get().multiplexed_model_id


def get_trace_context() -> dict[str, str] | None:
    """The W3C trace context of the request (``traceparent``, ``tracestate``), if its sender gave one."""
    return _serve_request_context.get().trace
