"""Choosing replicas by a class of one's own (mirrors ``ray.serve.request_router``)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.serve._private.common import DeploymentID, ReplicaID

__all__ = [
    "FIFOMixin",
    "LocalityMixin",
    "MultiplexMixin",
    "PendingRequest",
    "PowerOfTwoChoicesRequestRouter",
    "ReplicaID",
    "RequestRouter",
    "RunningReplica",
]


@dataclass
class RequestMetadata:
    """What a router may know of a request beside its arguments."""

    request_id: str = ""
    call_method: str = "__call__"
    multiplexed_model_id: str = ""
    session_id: str = ""
    route: str = ""

    @property
    def internal_request_id(self) -> str:
        """The request's id."""
        return self.request_id


@dataclass
class RequestRoutingContext:
    """What a router remembers while it tries to place a request."""

    multiplexed_start_matching_time: float | None = None
    tried_fewest_multiplexed_models: bool = False
    tried_first_multiplexed_models: bool = False
    tried_same_node: bool = False
    tried_same_az: bool = False
    should_backoff: bool = False


@dataclass
class PendingRequest:
    """A request that has no replica yet."""

    args: list[Any]
    kwargs: dict[Any, Any]
    metadata: Any
    created_at: float = field(default_factory=time.time)
    future: Any = None
    routing_context: RequestRoutingContext = field(default_factory=RequestRoutingContext)
    resolved: bool = False

    def reset_future(self) -> None:
        """Make it one that waits again."""
        self.future = asyncio.get_running_loop().create_future()


class RunningReplica:
    """A replica that takes requests, as a router sees it."""

    def __init__(self, replica_info: Any) -> None:
        self._slot = replica_info  # a caller's Slot
        self._id = ReplicaID(replica_info.id, getattr(replica_info, "deployment_id", DeploymentID("")))

    @property
    def replica_id(self) -> ReplicaID:
        """Its id."""
        return self._id

    @property
    def actor_id(self) -> str:
        """Its actor's id."""
        return str(self._slot.entry.get("actor_id", ""))

    @property
    def node_id(self) -> str:
        """The node it runs on."""
        return str(self._slot.entry.get("node", ""))

    @property
    def availability_zone(self) -> str | None:
        """The zone of its node, if that has one."""
        zone: str | None = self._slot.entry.get("zone")
        return zone

    @property
    def multiplexed_model_ids(self) -> set[str]:
        """The models it has."""
        return set(self._slot.models)

    @property
    def max_ongoing_requests(self) -> int:
        """How many requests it takes at once."""
        return int(self._slot.limit)

    @property
    def routing_stats(self) -> dict[str, Any]:
        """What its ``record_routing_stats`` said last."""
        return dict(self._slot.entry.get("stats") or {})

    @property
    def replica_metadata(self) -> dict[str, Any]:
        """What its ``record_replica_metadata`` said."""
        return dict(self._slot.entry.get("metadata") or {})

    @property
    def backend_http_endpoint(self) -> str | None:
        """Where it takes requests over HTTP by itself: nowhere of its own, replicas share one socket."""
        return None

    @property
    def is_cross_language(self) -> bool:
        """Whether it is not written in Python."""
        return False

    @property
    def stub(self) -> Any:
        """Its actor's handle."""
        return self._slot.connect()

    def update_replica_info(self, replica_info: Any) -> None:
        """The controller says something new of it."""
        self._slot = replica_info

    def push_proxy_handle(self, handle: Any) -> None:
        """Introduce a proxy: not needed, replicas need not know who calls."""

    async def get_queue_len(self, *, deadline_s: float) -> int:
        """How many requests it has, of all callers; asked of the replica itself."""
        return int(await asyncio.wait_for(_value(self.stub.load.remote()), deadline_s))

    async def reserve_slot(self, request_metadata: Any) -> tuple[str, int]:
        """Take one of its places for a request to come; a token, and how many it has now."""
        self._slot.ongoing += 1
        return f"{self._slot.id}:{id(request_metadata)}", self._slot.ongoing

    async def release_slot(self, slot_token: str) -> int:
        """Give a place back that was reserved; how many requests it has now."""
        self._slot.ongoing -= 1
        return int(self._slot.ongoing)

    def try_send_request(self, pr: PendingRequest, with_rejection: bool) -> Any:
        """Send a request to it; the ref of its answer."""
        metadata = pr.metadata
        method = getattr(metadata, "call_method", "__call__")
        return self.stub.call.remote(
            method, metadata.request_id, metadata.multiplexed_model_id, metadata.route, *pr.args, **pr.kwargs
        )


async def _value(ref: Any) -> Any:
    return await ref


class RequestRouter:
    """Base of classes that choose replicas: write ``choose_replicas``.

    Give the class with ``request_router_config=RequestRouterConfig(request_router_class=…)``. It is
    made in every process that calls the deployment, and asked for every request; of the first rank
    that has a replica with a free place, one with the fewest requests of this caller gets it.
    """

    def __init__(
        self,
        deployment_id: DeploymentID,
        handle_source: Any = None,
        self_actor_id: str | None = None,
        self_actor_handle: Any = None,
        use_replica_queue_len_cache: bool = False,
        get_curr_time_s: Callable[[], float] | None = None,
        create_replica_wrapper_func: Callable[[Any], RunningReplica] | None = None,
        *args: Any,
        self_node_id: str | None = None,
        prefer_local_node_routing: bool = False,
        prefer_local_az_routing: bool = False,
        self_availability_zone: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._deployment_id = deployment_id
        self._handle_source = handle_source
        self._self_actor_id = self_actor_id
        self._make_replica = create_replica_wrapper_func or RunningReplica
        self._now = get_curr_time_s or time.time
        self._replicas: dict[ReplicaID, RunningReplica] = {}
        self._queue_lengths: dict[ReplicaID, int] = {}
        self._pending = 0
        self.initial_backoff_s = 0.025
        self.backoff_multiplier = 2.0
        self.max_backoff_s = 0.5
        self._self_node_id = self_node_id
        self._self_availability_zone = self_availability_zone

    def initialize_state(self, **kwargs: Any) -> None:
        """Called once, with ``request_router_kwargs``."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The replicas to try, in ranks, the best rank first."""
        raise NotImplementedError(
            f"{type(self).__name__} has to say which replicas to try: write `async def choose_replicas(self, "
            "candidate_replicas, pending_request)`, which returns lists of replicas, the best first."
        )

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """A request was sent to a replica."""

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """A request was answered."""

    @property
    def app_name(self) -> str:
        """The application's name."""
        return self._deployment_id.app_name

    @property
    def curr_replicas(self) -> dict[ReplicaID, RunningReplica]:
        """The replicas there are."""
        return self._replicas

    @property
    def num_pending_requests(self) -> int:
        """Requests that wait for a replica."""
        return self._pending

    @property
    def curr_num_routing_tasks(self) -> int:
        """Requests for which a replica is being chosen."""
        return min(self._pending, self.max_num_routing_tasks)

    @property
    def max_num_routing_tasks(self) -> int:
        """How many may be at once."""
        return max(2 * len(self._replicas), 1)

    @property
    def target_num_routing_tasks(self) -> int:
        """How many there would be best."""
        return min(self._pending, self.max_num_routing_tasks)

    @property
    def replica_queue_len_cache(self) -> dict[ReplicaID, int]:
        """Requests of this caller at each replica."""
        return self._queue_lengths

    @property
    def supports_rejection_protocol(self) -> bool:
        """Whether replicas send requests back: they queue them instead."""
        return False

    def create_replica_wrapper(self, replica_info: Any) -> RunningReplica:
        """What stands for a replica here."""
        return self._make_replica(replica_info)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas from now on."""
        self._replicas = {replica.replica_id: replica for replica in replicas}
        self._queue_lengths = {id: self._queue_lengths.get(id, 0) for id in self._replicas}

    def update_backoff_params(
        self, initial_backoff_s: float | None, backoff_multiplier: float | None, max_backoff_s: float | None
    ) -> None:
        """How long to wait where no replica has a place."""
        self.initial_backoff_s = initial_backoff_s or self.initial_backoff_s
        self.backoff_multiplier = backoff_multiplier or self.backoff_multiplier
        self.max_backoff_s = max_backoff_s or self.max_backoff_s

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """A request goes to a replica."""
        self._queue_lengths[replica_id] = self._queue_lengths.get(replica_id, 0) + 1

    def decrement_queue_len_cache(self, replica_id: ReplicaID) -> None:
        """A replica has one request less."""
        if self._queue_lengths.get(replica_id, 0) > 0:
            self._queue_lengths[replica_id] -= 1

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        """How many requests a replica has."""
        self._queue_lengths[replica_id] = num_ongoing_requests

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """A replica is gone."""
        self._replicas.pop(replica_id, None)
        self._queue_lengths.pop(replica_id, None)

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        """A replica cannot be reached now."""
        self._queue_lengths.pop(replica_id, None)

    def select_available_replicas(
        self, candidates: list[RunningReplica] | None = None
    ) -> list[RunningReplica]:
        """Those that have a place free, as far as is known here."""
        chosen = list(self._replicas.values()) if candidates is None else candidates
        return [
            replica
            for replica in chosen
            if self._queue_lengths.get(replica.replica_id, 0) < replica.max_ongoing_requests
        ]


class FIFOMixin:
    """For routers that keep to the order in which requests came."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class LocalityMixin:
    """For routers that prefer replicas nearby."""

    curr_replicas: dict[ReplicaID, RunningReplica]

    def __init__(
        self,
        self_node_id: str | None = None,
        prefer_local_node_routing: bool = False,
        prefer_local_az_routing: bool = False,
        self_availability_zone: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if isinstance(self_node_id, DeploymentID):  # as the base's first argument
            args = (self_node_id, *args)
            self_node_id = kwargs.pop("self_node_id", None)
        super().__init__(*args, **kwargs)
        self._self_node_id = self_node_id
        self._self_availability_zone = self_availability_zone
        self._prefer_local_node_routing = prefer_local_node_routing
        self._prefer_local_az_routing = prefer_local_az_routing

    def apply_locality_routing(self, pending_request: PendingRequest | None = None) -> set[ReplicaID]:
        """The replicas to try for this request: nearby first, all when these were tried."""
        context = pending_request.routing_context if pending_request else RequestRoutingContext()
        near = {i for i, r in self.curr_replicas.items() if r.node_id == self._self_node_id}
        if near and self._prefer_local_node_routing and not context.tried_same_node:
            context.tried_same_node = True
            return near
        zone = {
            i for i, r in self.curr_replicas.items() if r.availability_zone == self._self_availability_zone
        }
        if zone and self._prefer_local_az_routing and not context.tried_same_az:
            context.tried_same_az = True
            return zone
        context.should_backoff = True
        return set(self.curr_replicas)

    def rank_replicas_via_locality(self, replicas: list[RunningReplica]) -> list[list[RunningReplica]]:
        """On this node, in this zone, elsewhere."""
        ranks: list[list[RunningReplica]] = [[], [], []]
        for replica in replicas:
            if replica.node_id == self._self_node_id:
                ranks[0].append(replica)
            elif self._self_availability_zone and replica.availability_zone == self._self_availability_zone:
                ranks[1].append(replica)
            else:
                ranks[2].append(replica)
        return ranks


class MultiplexMixin:
    """For routers that prefer replicas which have the model that a request asks for."""

    curr_replicas: dict[ReplicaID, RunningReplica]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def apply_multiplex_routing(self, pending_request: PendingRequest | None = None) -> set[ReplicaID]:
        """The replicas to try for this request: those with its model, else those with the fewest models."""
        if pending_request is None or not pending_request.metadata.multiplexed_model_id:
            return set(self.curr_replicas)
        context = pending_request.routing_context
        model = pending_request.metadata.multiplexed_model_id
        having = {i for i, r in self.curr_replicas.items() if model in r.multiplexed_model_ids}
        if having and not context.tried_first_multiplexed_models:
            context.tried_first_multiplexed_models = True
            return having
        if not context.tried_fewest_multiplexed_models:
            context.tried_fewest_multiplexed_models = True
            fewest = min((len(r.multiplexed_model_ids) for r in self.curr_replicas.values()), default=0)
            return {i for i, r in self.curr_replicas.items() if len(r.multiplexed_model_ids) == fewest}
        context.should_backoff = True
        return set(self.curr_replicas)

    def rank_replicas_via_multiplex(
        self, replicas: list[RunningReplica], multiplexed_model_id: str
    ) -> list[list[RunningReplica]]:
        """With the model; then by how many models they have."""
        having = [r for r in replicas if multiplexed_model_id in r.multiplexed_model_ids]
        by_count: dict[int, list[RunningReplica]] = {}
        for replica in replicas:
            if replica not in having:
                by_count.setdefault(len(replica.multiplexed_model_ids), []).append(replica)
        return [having, *(by_count[count] for count in sorted(by_count))]


class PowerOfTwoChoicesRequestRouter(FIFOMixin, LocalityMixin, MultiplexMixin, RequestRouter):
    """Two replicas at random, the less busy one of them."""

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Two at random."""
        ids = self.apply_multiplex_routing(pending_request)
        found = [r for r in candidate_replicas if r.replica_id in ids] or candidate_replicas
        return [random.sample(found, min(2, len(found)))]
