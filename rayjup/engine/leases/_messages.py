"""What goes into the ``LeaseScheduler`` (events) and what comes out of it (instructions).

Amounts of resources are floats here, as people write them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rayjup.engine.leases._shapes import Conditions, Shape

GroupStrategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node offers its resources. A node of the same id that is still known is taken as gone before."""

    node_id: str
    total: dict[str, float]
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeLeft:
    """A node is gone, with everything that ran on it."""

    node_id: str


@dataclass(frozen=True, slots=True)
class NodeSupply:
    """A node offers something else from now on. What is in use stays in use, even if it is more."""

    node_id: str
    total: dict[str, float]


@dataclass(frozen=True, slots=True)
class NodeDraining:
    """A node will leave: nothing new is placed on it, except into bundles that lie there already.

    With ``draining`` False it stays after all.
    """

    node_id: str
    draining: bool = True


@dataclass(frozen=True, slots=True)
class Requested:
    """A client asks for ``count`` leases of a shape; they are granted one by one as things free up.

    ``locality``: how many bytes of what the calls need lie on which node. ``family`` names the tree of
    calls that the client belongs to and ``depth`` how far down it is; by itself it is one of its own.
    """

    request_id: str
    client: str
    client_node: str | None
    shape: Shape
    count: int = 1
    locality: dict[str, int] | None = None
    family: str = ""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A client no longer wants what has not been granted yet, except ``keep`` leases."""

    request_id: str
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """A lease is given back. An unknown one is passed over: it may just have been revoked."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """What runs under a lease waits for others and lends out its CPUs (nothing else) meanwhile."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class Unblocked:
    """It goes on and takes its CPUs back at once, even if they are lent out: a debt, paid first."""

    lease_id: str


@dataclass(frozen=True, slots=True)
class ClientGone:
    """A client is gone: its requests, leases and (not detached) placement groups go with it."""

    client: str


@dataclass(frozen=True, slots=True)
class GroupRequested:
    """A client asks for a placement group.

    ``labels``: for each bundle the conditions on its node (none: no conditions).
    ``preferred_node``: where a STRICT_PACK group goes if it fits there.
    """

    group_id: bytes
    client: str
    bundles: list[dict[str, float]]
    strategy: GroupStrategy = "PACK"
    detached: bool = False
    labels: tuple[Conditions, ...] = ()
    preferred_node: str | None = None


@dataclass(frozen=True, slots=True)
class GroupRemoved:
    """A placement group is given back, with all leases in it."""

    group_id: bytes


Place = tuple[str, tuple[tuple[int, float], ...]]
"""Where a bundle lies: its node, index and share of each GPU."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that is out, as its node reports it. ``gpu_ids``: index and share of each GPU."""

    lease_id: str
    client: str
    shape: Shape
    gpu_ids: tuple[tuple[int, float], ...] = ()
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class NodeReturned:
    """A node of the scheduler before this one is here again, with the leases that are out there."""

    node_id: str
    total: dict[str, float]
    labels: dict[str, str] = field(default_factory=dict)
    held: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeMissing:
    """A node of the scheduler before this one does not come back: bundles that lay there are lost."""

    node_id: str


@dataclass(frozen=True, slots=True)
class GroupReturned:
    """A placement group of the scheduler before this one, and where its bundles lie (None: nowhere)."""

    asked: GroupRequested
    places: tuple[Place | None, ...] = ()


Event = (
    NodeJoined
    | NodeLeft
    | NodeSupply
    | NodeDraining
    | Requested
    | Cancelled
    | Released
    | Blocked
    | Unblocked
    | ClientGone
    | GroupRequested
    | GroupRemoved
    | NodeReturned
    | NodeMissing
    | GroupReturned
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A client has a lease. ``gpu_ids``: index and share of each GPU."""

    request_id: str
    client: str
    lease_id: str
    node_id: str
    resources: dict[str, float]
    gpu_ids: tuple[tuple[int, float], ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Revoke:
    """A lease has ended without its client asking for it: whatever runs under it has to end."""

    lease_id: str
    client: str
    node_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Somebody waits for what idle leases of this client could serve: give up to ``wanted`` back."""

    client: str
    shape: Shape
    wanted: int


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No node can ever serve this request as the cluster is now; it stays queued in case one joins.

    ``missing``: by how much the best node falls short, by resource; empty if the reason is another.
    ``hopeless``: it is bound to a node that is not there or does not have it; no other can help.
    """

    request_id: str
    client: str
    missing: dict[str, float]
    text: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class GroupPlaced:
    """All bundles of a group are reserved; ``nodes`` in the order of the bundles."""

    group_id: bytes
    client: str
    nodes: list[str]


@dataclass(frozen=True, slots=True)
class GroupPending:
    """A group has to wait, and why. ``possible``: for resources that are only in use."""

    group_id: bytes
    text: str
    possible: bool = True


@dataclass(frozen=True, slots=True)
class GroupLost:
    """Some bundles of a group went with their node; they will be placed again when possible."""

    group_id: bytes
    bundles: list[int]


Instruction = Grant | Revoke | Reclaim | Infeasible | GroupPlaced | GroupPending | GroupLost
