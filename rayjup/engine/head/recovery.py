"""How a new head picks up a running cluster: the journal, then what nodes and processes report.

The order of events: the tables are filled from the journal; each node that comes back says which
processes, leases and actors it has; each of its processes says which leases it still uses, and asks
again for what it waits for. When all nodes are back, or given up, what has no owner any more ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine import leases as ls
from rayjup.engine.head import views
from rayjup.engine.head.actors import ALIVE, DEAD, Actor

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head
    from rayjup.engine.head.tables import Lease, Message

logger = logging.getLogger(__name__)

GRACE_S = 10.0  # so long nodes have to come back
_AWAY = "its process ended while the head of the cluster was away"


class Recovery:
    """Belongs to one head.

    Attributes
    ----------
    active
        Whether nodes may still come back.
    expected
        What the journal says of the nodes that are not back yet, by id.
    silent
        Processes that are back and have not said yet what they hold: what they ask for does not count.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.active = False
        self.expected: dict[str, dict[str, Any]] = {}
        self.silent: set[str] = set()
        self._unclaimed: dict[str, Lease] = {}
        self._held: dict[str, set[str]] = {}  # what processes say they hold
        self._watches: list[tuple[str, str, bytes]] = []  # of actors that are not known yet
        self._hopeless: list[ls.Infeasible] = []
        self._timer: asyncio.TimerHandle | None = None

    # -- the journal

    def begin(self) -> None:
        """Fill the tables of a head that is not the first of its cluster."""
        head = self.head
        groups = head.saved.load()
        assert head.saved.journal is not None
        for node_id, info in head.saved.journal.rows("node"):
            self.expected[str(node_id)] = info
        self.active = True
        for group, places in groups:
            head.groups.table.add(group)
            head.schedule(ls.GroupReturned(head.groups.asked_of(group), tuple(places)))
        for actor in head.actors.by_id.values():
            group_id = actor.spec["shape"].get("group")
            if group_id is not None and actor.state != DEAD:
                head.groups.enter_actor(group_id, actor.id)
        try:
            self._timer = asyncio.get_running_loop().call_later(GRACE_S, self.give_up_all)
        except RuntimeError:
            pass  # whoever runs us without a loop says when
        logger.warning(
            "a new head takes over from one that ended: %d nodes are to come back", len(self.expected)
        )

    # -- nodes

    def node_returned(
        self, info: dict[str, Any], report: dict[str, Any], send: Callable[[Message], None]
    ) -> bool:
        """A node is back; False where it was given up before: it has to end."""
        head = self.head
        node_id: str = info["node_id"]
        if any(dead["node_id"] == node_id for dead in head.dead_nodes):
            return False
        known = self.expected.pop(node_id, None)
        if known is not None:
            info["joined_at"] = known["joined_at"]
        head.enter_node(info, send).jobs_known.update(report["jobs"])
        for client, kind, pid, job_id in report["clients"]:
            head.processes.enter(client, node_id, kind, pid, job_id)
            self.silent.add(client)
        held: list[ls.Held] = []
        for lease_id, client, pool_id, shape, gpus, told, blocked in report["leases"]:
            lease = self._unclaimed[lease_id] = head.leasing.enter_lease(lease_id, client, node_id, pool_id)
            lease.told = told
            held.append(ls.Held(lease_id, client, shape, tuple(gpus), blocked))
        doomed = []
        for row in report["actors"]:
            actor = self._actor_returned(node_id, row, held)
            if actor is None:
                doomed.append(row["actor_id"])
        labels = {"ray.io/node-id": node_id, **info.get("labels", {})}
        head.schedule(ls.NodeReturned(node_id, info["resources"], labels, tuple(held)))
        for actor_id in doomed:
            head.to_node(node_id, ("actor_kill", actor_id, "it has ended meanwhile"))
        head.on_message(node_id, ("environments", report["environments"]))
        for message in report["kept"]:
            head.on_message(node_id, message)
        for actor in list(head.actors.by_id.values()):
            gone = actor.node_id == node_id and actor.lease_id is not None and actor.state != DEAD
            if gone and actor.lease_id not in head.leases:
                self._actor_missing(actor, _AWAY)
        for job_id in report["jobs"]:
            if "ended" in head.jobs.get(job_id, {"ended": 0.0}):
                head.to_node(node_id, ("end_job", job_id, head.processes.detached_of(job_id)))
        for lease in list(self._unclaimed.values()):
            self._judge(lease)
        if self.active and not self.expected:
            self._finish()
        return True

    def _actor_returned(self, node_id: str, row: dict[str, Any], held: list[ls.Held]) -> Actor | None:
        """Enter an actor's process and its lease; None when the process has to end."""
        head = self.head
        actor_id, lease_id = row["actor_id"], row["lease_id"]
        actor = head.actors.by_id.get(actor_id)
        client = f"actor:{actor_id.hex()}"
        head.leasing.enter_lease(lease_id, client, node_id, 0)
        idle = row["ready"] and not row["cpus"]  # it needed a free CPU to be placed only
        held.append(
            ls.Held(
                lease_id, client, views.shape_of(row["shape"]), tuple(row["gpus"]), row["blocked"] or idle
            )
        )
        if actor is None:
            return None
        twice = actor.lease_id not in (None, lease_id) and actor.lease_id in head.leases
        if twice:
            return None
        actor.lease_id, actor.node_id = lease_id, node_id
        if actor.state == DEAD:
            return None
        actor.address, actor.pid = row["address"], row["pid"]
        if row["pid"]:
            actor.last_pid = row["pid"]
        if row["ready"]:
            actor.state = ALIVE
        head.saved.actor(actor)
        return actor

    def _actor_missing(self, actor: Actor, why: str) -> None:
        head = self.head
        if actor.address:
            head.life.process_ended(actor, why)
        else:  # nobody has heard of a process of it: it is placed again, and that is no restart
            actor.lease_id = None
            head.saved.actor(actor)
            if not self.active:
                head.life.place(actor)

    # -- processes

    def resumed(self, client: str, pools: list[tuple[int, dict[str, Any], int, list[str]]]) -> None:
        """A process says which leases it holds: id, shape, grants received and leases of its pools."""
        head = self.head
        self.silent.discard(client)
        if client not in head.clients:
            return
        held = self._held[client] = set()
        for pool_id, shape, received, leases in pools:
            head.leasing.enter_pool(client, pool_id, shape, received)
            held.update(leases)
        for lease in list(self._unclaimed.values()):
            if lease.client == client:
                self._judge(lease)

    def _judge(self, lease: Lease) -> None:
        """Whether a lease that a node reported is still of use."""
        held = self._held.get(lease.client)
        if held is None:
            return
        self._unclaimed.pop(lease.lease_id, None)
        if lease.lease_id in held:
            lease.told = True
        elif not lease.told:
            self.head.leasing.on_its_way(lease)
        else:  # given back, or the news of it was lost: then it is asked for again
            self.head.leasing.end_lease(lease.lease_id)

    def put_off(self, it: ls.Infeasible) -> bool:
        """Whether to wait with telling somebody that there is no such node: it may come back."""
        if self.active:
            self._hopeless.append(it)
        return self.active

    def watch_later(self, node_id: str, client: str, actor_id: bytes) -> bool:
        """Whether an actor that is not known may still be made known."""
        if self.active:
            self._watches.append((node_id, client, actor_id))
        return self.active

    # -- the end of it

    def give_up(self, node_id: str) -> None:
        """A node does not come back."""
        info = self.expected.pop(node_id, None)
        if info is None:
            return
        head = self.head
        head.enter_dead_node(info)
        head.schedule(ls.NodeMissing(node_id))
        for actor in list(head.actors.by_id.values()):
            there = actor.node_id == node_id and actor.lease_id is not None and actor.state != DEAD
            if there and actor.lease_id not in head.leases:
                self._actor_missing(actor, "its node is gone")
        head.on_node_left(info)
        if self.active and not self.expected:
            self._finish()

    def give_up_all(self) -> None:
        """The time is over."""
        for node_id in list(self.expected):
            self.give_up(node_id)
        if self.active:
            self._finish()

    def _finish(self) -> None:
        head = self.head
        self.active = False
        if self._timer is not None:
            self._timer.cancel()
        for lease in list(self._unclaimed.values()):
            if lease.client not in head.clients:
                self._unclaimed.pop(lease.lease_id)
                head.leasing.end_lease(lease.lease_id)
        drivers = {c.job_id for c in head.clients.values() if c.kind == "driver"}
        waiting = {c.client for c in head.clients.values()}  # for their welcome, some of them
        for job_id, job in list(head.jobs.items()):
            if "ended" not in job and job_id not in drivers and job["client"] not in waiting:
                head.processes.end_job(job_id)
        for actor in list(head.actors.by_id.values()):
            if actor.state == DEAD:
                continue
            if not actor.detached and actor.creator not in head.clients:
                head.life.end(actor, "the process that created it is gone")
            elif actor.lease_id is None and actor.payload and not head.life.is_asked_for(actor):
                head.life.place(actor)
        head.groups.owner_gone()
        hopeless, self._hopeless = self._hopeless, []
        for it in hopeless:
            if head.scheduler.obstacle(it.request_id):
                head.leasing.infeasible(it)
        watches, self._watches = self._watches, []
        for watch in watches:
            head.life.on_watch(*watch)
        head.on_driver_change(head.processes.driver_count())
        head.reports.event("WARNING", "GCS", "the head of the cluster was made again")
