"""Routers that send prompts where their beginnings are known (mirrors ``ray.serve.llm.request_router``)."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

from rayjup.serve.request_router import (
    LocalityMixin,
    MultiplexMixin,
    PendingRequest,
    ReplicaID,
    RequestRouter,
    RunningReplica,
)

__all__ = ["KVAwareRouter", "PrefixCacheAffinityRouter"]

_BLOCK = 16  # characters that are compared at once


def prompt_of(request: PendingRequest | None) -> str:
    """The text of a request: its prompt, or its messages one after the other."""
    for value in [*(request.args if request else ()), *((request.kwargs if request else {}).values())]:
        prompt = value.get("prompt") if isinstance(value, dict) else getattr(value, "prompt", None)
        if isinstance(prompt, str):
            return prompt
        messages = value.get("messages") if isinstance(value, dict) else getattr(value, "messages", None)
        if messages:
            return "\n".join(f"{m.get('role')}: {m.get('content')}" for m in messages)
        if isinstance(value, str):
            return value
    return ""


class PrefixIndex:
    """Which replica has seen which beginnings of prompts, the oldest forgotten first."""

    def __init__(self, most_chars: int) -> None:
        self.most_chars = most_chars
        self.blocks: OrderedDict[tuple[int, int], dict[ReplicaID, float]] = OrderedDict()

    def _keys(self, text: str) -> list[tuple[int, int]]:
        keys, rolling = [], 0
        for start in range(0, len(text) - len(text) % _BLOCK, _BLOCK):
            rolling = hash((rolling, text[start : start + _BLOCK]))
            keys.append((start, rolling))
        return keys

    def add(self, text: str, replica: ReplicaID) -> None:
        """A replica gets a prompt."""
        now = time.monotonic()
        for key in self._keys(text):
            self.blocks.setdefault(key, {})[replica] = now
            self.blocks.move_to_end(key)
        while len(self.blocks) * _BLOCK > self.most_chars:
            self.blocks.popitem(last=False)

    def matches(self, text: str) -> dict[ReplicaID, float]:
        """Which share of a prompt's beginning each replica knows."""
        keys = self._keys(text)
        found: dict[ReplicaID, int] = {}
        for number, key in enumerate(keys):
            known = self.blocks.get(key)
            if not known:
                break
            for replica in known:
                if found.get(replica, 0) == number:
                    found[replica] = number + 1
        return {replica: count / len(keys) for replica, count in found.items()}

    def forget(self, replica: ReplicaID) -> None:
        """A replica is gone."""
        for known in self.blocks.values():
            known.pop(replica, None)


class PrefixCacheAffinityRouter(LocalityMixin, MultiplexMixin, RequestRouter):
    """Sends a prompt to the replica that knows most of its beginning, unless that is too busy."""

    def initialize_state(  # type: ignore[override]  # its own settings, by name
        self,
        imbalanced_threshold: float | None = float("inf"),
        match_rate_threshold: float | None = 0.1,
        do_eviction: bool | None = False,
        eviction_threshold_chars: int | None = 400_000,
        eviction_target_chars: int | None = 360_000,
        eviction_interval_secs: int | None = 10,
        tree_actor: Any = None,
    ) -> None:
        """Its settings; see :class:`~rayjup.serve.config.RequestRouterConfig`."""
        self._imbalance = float("inf") if imbalanced_threshold is None else imbalanced_threshold
        self._least_match = match_rate_threshold or 0.0
        self._index = PrefixIndex(eviction_threshold_chars or 400_000)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Those that know most of the prompt; then the least busy."""
        lengths = self.replica_queue_len_cache
        by_load = sorted(candidate_replicas, key=lambda r: lengths.get(r.replica_id, 0))
        if not by_load:
            return []
        busiest = max(lengths.get(r.replica_id, 0) for r in by_load)
        if busiest - lengths.get(by_load[0].replica_id, 0) > self._imbalance:
            return [[replica] for replica in by_load]
        matches = self._index.matches(prompt_of(pending_request))
        best = max((matches.get(r.replica_id, 0.0) for r in by_load), default=0.0)
        if best < max(self._least_match, 1e-9):
            return [[replica] for replica in by_load]
        having = [r for r in by_load if matches.get(r.replica_id, 0.0) == best]
        return [having, *([r] for r in by_load if r not in having)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Remember who knows the prompt now."""
        self._index.add(prompt_of(pending_request), replica_id)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """A replica is gone, and what it knew with it."""
        super().on_replica_actor_died(replica_id)
        self._index.forget(replica_id)

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas from now on."""
        before = set(self.curr_replicas)
        super().update_replicas(replicas)
        for gone in before - set(self.curr_replicas):
            if hasattr(self, "_index"):
                self._index.forget(gone)


class KVAwareRouter(RequestRouter):
    """Weighs what a replica knows of a prompt against how busy it is."""

    def initialize_state(
        self, overlap_weight: float = 1.0, capacity_chars: int = 4_000_000, **kwargs: Any
    ) -> None:
        """Its settings: how much a known beginning counts, against one request more."""
        self._weight = overlap_weight
        self._index = PrefixIndex(capacity_chars)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """In the order of what is left to be read there, and of what waits there."""
        matches = self._index.matches(prompt_of(pending_request))
        lengths = self.replica_queue_len_cache

        def cost(replica: RunningReplica) -> float:
            id = replica.replica_id
            return self._weight * (1.0 - matches.get(id, 0.0)) + lengths.get(id, 0)

        return [[replica] for replica in sorted(candidate_replicas, key=cost)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """Remember who knows the prompt now."""
        self._index.add(prompt_of(pending_request), replica_id)

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """A replica is gone, and what it knew with it."""
        super().on_replica_actor_died(replica_id)
        self._index.forget(replica_id)
