"""Placement groups as the head knows them: who made which, their states, and who waits for them.

Where bundles go is decided by the lease scheduler; here are names, owners and those to be told.
States are Ray's: PENDING, CREATED, RESCHEDULING, REMOVED.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import RaySystemError
from rayjup.engine import leases as ls
from rayjup.engine.head.actors import DEAD

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

PENDING = "PENDING"
CREATED = "CREATED"
RESCHEDULING = "RESCHEDULING"
REMOVED = "REMOVED"
_KEPT_REMOVED = 1000  # of which the table still tells
_OWNER = "groups"  # for the scheduler: when a group ends is decided here


@dataclass
class Group:
    """One placement group, also when it is removed."""

    id: bytes
    spec: dict[str, Any]  # bundles, strategy, name, namespace, detached, creator_actor, …
    job_id: bytes
    state: str = PENDING
    nodes: list[str | None] = field(default_factory=list)
    watchers: set[str] = field(default_factory=set)
    actors: set[bytes] = field(default_factory=set)
    pools: dict[tuple[str, int], ls.Shape] = field(default_factory=dict)  # of clients that run tasks in it
    requested: float = field(default_factory=time.monotonic)
    placed: float = 0.0
    possible: bool = True  # if nothing else ran
    rounds: int = 1

    def row(self) -> dict[str, Any]:
        """The group in the form of Ray's ``placement_group_table``."""
        latency = round((self.placed - self.requested) * 1e3, 3) if self.placed else 0.0
        waiting = "QUEUED" if self.possible else "INFEASIBLE"
        progress = {CREATED: "FINISHED", REMOVED: "REMOVED"}
        return {
            "placement_group_id": self.id.hex(),
            "name": self.spec["name"],
            "bundles": dict(enumerate(self.spec["bundles"])),
            "bundles_to_node_id": {
                index: (self.nodes[index] or "") if index < len(self.nodes) else ""
                for index in range(len(self.spec["bundles"]))
            },
            "strategy": self.spec["strategy"],
            "state": self.state,
            "stats": {
                "end_to_end_creation_latency_ms": latency,
                "scheduling_latency_ms": latency,
                "scheduling_attempt": self.rounds,
                "highest_retry_delay_ms": 0.0,
                "scheduling_state": progress.get(self.state, waiting),
            },
        }


class GroupTable:
    """All placement groups of the cluster by id and by (namespace, name). Pure: no I/O."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, Group] = {}
        self.names: dict[tuple[str, str], bytes] = {}
        self.living: dict[bytes, None] = {}
        self.awaited: dict[bytes, set[str]] = {}  # who asked for groups of which nothing came yet
        self.creators: set[bytes] = set()  # actors that made groups
        self._removed: dict[bytes, None] = {}

    def add(self, group: Group) -> str | None:
        """Enter a new group; the reason why it can't be, if so."""
        name = group.spec["name"]
        if name:
            key = (group.spec["namespace"], name)
            if key in self.names:
                return (
                    f"Failed to create placement group '{group.id.hex()}' because name '{name}' already "
                    "exists. get_placement_group() gives that one; remove_placement_group() frees its name."
                )
            self.names[key] = group.id
        self.by_id[group.id] = group
        self.living[group.id] = None
        if group.spec["creator_actor"]:
            self.creators.add(group.spec["creator_actor"])
        group.watchers |= self.awaited.pop(group.id, set())
        return None

    def named(self, namespace: str, name: str) -> Group | None:
        """The group of this name that is not removed."""
        group_id = self.names.get((namespace, name))
        return self.by_id[group_id] if group_id is not None else None

    def remove(self, group: Group) -> None:
        """The group is gone; the table tells of it for a while."""
        group.state = REMOVED
        del self.living[group.id]
        if group.spec["name"]:
            self.names.pop((group.spec["namespace"], group.spec["name"]), None)
        self._removed[group.id] = None
        if len(self._removed) > _KEPT_REMOVED:
            oldest = next(iter(self._removed))
            del self._removed[oldest]
            del self.by_id[oldest]

    def ownerless(self, ended: Callable[[bytes], bool], lives: Callable[[bytes], bool]) -> list[Group]:
        """Groups that are not detached and whose job has ended, as has the actor that made them."""
        return [
            group
            for group in map(self.by_id.__getitem__, self.living)
            if not group.spec["detached"] and ended(group.job_id) and not lives(group.spec["creator_actor"])
        ]


class Groups:
    """What the head does about placement groups."""

    def __init__(self, head: Head, schedule: Callable[[ls.Event], None]) -> None:
        self.head = head
        self._schedule = schedule
        self.table = GroupTable()
        self.ops: dict[str, Callable[..., Any]] = {
            "group_create_named": self.create,
            "group_named": self.named,
            "group_table": self.rows,
        }

    # -- messages and requests of clients

    def on_create(self, node_id: str, client: str, group_id: bytes, spec: dict[str, Any]) -> None:
        """A client makes a group that has no name; nothing is answered."""
        self.create(client, group_id, spec)

    def on_remove(self, node_id: str, client: str, group_id: bytes) -> None:
        """A client removes a group; one that is gone already, or was never there, is passed over."""
        group = self.table.by_id.get(group_id)
        if group is not None and group.state != REMOVED:
            self.remove(group)

    def on_watch(self, node_id: str, client: str, group_id: bytes) -> None:
        """A client wants to know the state of a group, now and when it changes."""
        group = self.table.by_id.get(group_id)
        if group is None:
            # Who passed it on may have been faster than the message of who made it.
            self.table.awaited.setdefault(group_id, set()).add(client)
            return
        if group.state != REMOVED:
            group.watchers.add(client)
        self.head.to_client(client, ("group", group.id, group.state))

    def create(self, client: str, group_id: bytes, spec: dict[str, Any]) -> None:
        """Enter a group and have it placed.

        Raises
        ------
        RaySystemError
            Its name is taken.
        """
        creator = self.head.clients.get(client)
        if creator is None:
            return  # it is gone, and its job with it
        known = self.table.by_id.get(group_id)
        if known is not None:  # said again, because a head has ended in between
            self.on_watch("", client, group_id)
            return
        group = Group(group_id, spec, creator.job_id)
        problem = self.table.add(group)
        if problem is not None:
            raise RaySystemError(problem)
        group.watchers.add(client)
        self._schedule(self.asked_of(group))
        self.head.saved.group(group)

    def asked_of(self, group: Group) -> ls.GroupRequested:
        """What the scheduler is asked for a group."""
        spec = group.spec
        return ls.GroupRequested(
            group.id,
            _OWNER,
            spec["bundles"],
            spec["strategy"],
            True,
            tuple(tuple(sorted(labels.items())) for labels in spec.get("labels") or ()),
            spec.get("preferred_node") or None,
        )

    def named(self, client: str, namespace: str, name: str) -> dict[str, Any]:
        """The row of the group of this name."""
        group = self.table.named(namespace, name)
        if group is None:
            raise ValueError(f"Failed to look up placement group with name: {name}")
        return group.row()

    def rows(self, client: str, group_id: bytes | None) -> dict[Any, Any]:
        """The row of one group ({} for an unknown one), or of all of them by hexadecimal id."""
        if group_id is None:
            return {group.id.hex(): group.row() for group in self.table.by_id.values()}
        group = self.table.by_id.get(group_id)
        return group.row() if group is not None else {}

    # -- what the scheduler says

    def placed(self, it: ls.GroupPlaced) -> None:
        """All bundles of a group are reserved."""
        group = self.table.by_id[it.group_id]
        group.state = CREATED
        group.nodes = list(it.nodes)
        group.possible = True
        if not group.placed:
            group.placed = time.monotonic()
        self.head.late.drop(group.id)
        self._publish(group)

    def waits(self, it: ls.GroupPending) -> None:
        """A group has to wait; its creator is told after a while if that will not help."""
        group = self.table.by_id[it.group_id]
        group.possible = it.possible
        if not it.possible and group.watchers:
            self.head.late.note(group.id, next(iter(group.watchers)))

    def lost(self, it: ls.GroupLost) -> None:
        """Bundles of a group went with their node."""
        group = self.table.by_id[it.group_id]
        if group.state == CREATED:
            group.state = RESCHEDULING
            group.rounds += 1
        for index in it.bundles:
            group.nodes[index] = None
        self._publish(group)

    # -- what runs inside

    def enter_pool(self, shape: ls.Shape, client: str, pool_id: int) -> bool:
        """A client wants leases in a group: False when that is removed."""
        group = self.table.by_id.get(shape.group or b"")
        if group is None:
            return True
        if group.state != REMOVED:
            group.pools[(client, pool_id)] = shape
        return group.state != REMOVED

    def enter_actor(self, group_id: bytes, actor_id: bytes) -> bool:
        """An actor is to live in a group: False when that is removed."""
        group = self.table.by_id.get(group_id)
        if group is None:
            return True
        if group.state != REMOVED:
            group.actors.add(actor_id)
        return group.state != REMOVED

    def client_gone(self, client: str) -> None:
        """Forget what a client ran in groups and waited for."""
        for group_id in self.table.living:
            group = self.table.by_id[group_id]
            group.watchers.discard(client)
            for key in [key for key in group.pools if key[0] == client]:
                del group.pools[key]
        for group_id, clients in list(self.table.awaited.items()):
            clients.discard(client)
            if not clients:
                del self.table.awaited[group_id]

    # -- their end

    def owner_gone(self, actor_id: bytes | None = None) -> None:
        """A job (or this actor) has ended: so do the groups that nobody owns any more."""
        if actor_id is not None and actor_id not in self.table.creators:
            return
        head = self.head

        def ended(job_id: bytes) -> bool:
            return "ended" in head.jobs.get(job_id, {"ended": 0})

        def lives(actor_id: bytes) -> bool:
            actor = head.actors.by_id.get(actor_id)
            return actor is not None and actor.state != DEAD

        for group in self.table.ownerless(ended, lives):
            if group.state != REMOVED:  # with the one before, if that held the actor that made it
                self.remove(group)

    def remove(self, group: Group) -> None:
        """Give back a group's resources; what runs in it ends, and what waits for it fails."""
        head = self.head
        self.table.remove(group)
        head.late.drop(group.id)
        for actor_id in group.actors:
            head.life.end_of_group(actor_id, group.id.hex())
        self._schedule(ls.GroupRemoved(group.id))  # first: why a lease ended is heard before its pool ends
        for client, pool_id in group.pools:
            head.leasing.fail_pool(client, pool_id, "group", f"placement group {group.id.hex()} was removed")
        self._publish(group)
        group.actors.clear()
        group.pools.clear()
        group.watchers.clear()

    def _publish(self, group: Group) -> None:
        self.head.saved.group(group)
        for watcher in group.watchers:
            self.head.to_client(watcher, ("group", group.id, group.state))
