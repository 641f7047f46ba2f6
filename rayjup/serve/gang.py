"""Replicas that start and end in groups (mirrors ``ray.serve.gang``)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class GangContext:
    """What a replica knows of the gang it is part of."""

    gang_id: str
    rank: int
    world_size: int
    member_replica_ids: list[str] = field(default_factory=list)
    pg_name: str = ""
