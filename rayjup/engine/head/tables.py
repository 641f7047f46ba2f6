"""Rows of the head's tables of nodes, processes and leases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Message = tuple[Any, ...]


@dataclass
class Node:
    """A node that is up."""

    node_id: str
    info: dict[str, Any]
    send: Callable[[Message], None]
    sample: dict[str, Any] = field(default_factory=dict)
    jobs_known: set[bytes] = field(default_factory=set)


@dataclass
class Client:
    """A driver or executor."""

    client: str
    node_id: str
    kind: str
    pid: int
    job_id: bytes
    family: str = ""  # of the task that runs there, see Leasing._place_in_tree
    depth: int = 0


@dataclass
class Lease:
    """A lease that is out."""

    lease_id: str
    client: str
    node_id: str
    pool_id: int
    told: bool = False  # the client's own node, or the client through us, has heard of it
