"""Leases: who has asked for them, who has them, and what the scheduler's instructions mean to whom."""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine import leases as ls
from rayjup.engine.head import views
from rayjup.engine.head.tables import Lease

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

logger = logging.getLogger(__name__)


class Leasing:
    """Belongs to one head; whose tables it shares."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._nodes, self._clients, self._leases = head.nodes, head.clients, head.leases
        self._scheduler = head.scheduler
        self._outstanding: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self._granted_to: dict[tuple[str, int], int] = defaultdict(int)
        self._requests: dict[str, tuple[str, int, ls.Shape]] = {}  # request -> (client, pool, shape)
        self._shapes: dict[tuple[str, ls.Shape], int] = {}
        self._numbers = itertools.count(1)
        self.handlers: dict[str, Callable[..., None]] = {
            "lease": self.on_lease,
            "release": self.on_release,
            "lease_failed": self.on_lease_failed,
            "executor_ended": self.on_executor_ended,
            "blocked": self.on_blocked,
            "unblocked": self.on_unblocked,
        }

    def on_lease(
        self,
        node_id: str,
        client: str,
        pool_id: int,
        shape: dict[str, Any],
        wanted: int,
        locality: dict[str, int] | None = None,
        received: int | None = None,
        own_lease: str = "",
    ) -> None:
        """A client wants so many leases more than the ``received`` ones, and those on their way count.

        ``own_lease`` is the one under which an executor runs the task that asks.
        """
        if client in self._head.recovery.silent:
            return  # it asks again
        outstanding = self._outstanding[(client, pool_id)]
        if wanted == 0:
            requests = list(outstanding)
            outstanding.clear()
            for request in requests:
                self._forget_request(request)
            return
        more = wanted - sum(outstanding.values())
        if received is not None:  # an executor's environment may take long to build
            more -= self._granted_to[(client, pool_id)] - received
        if more <= 0 or client not in self._clients:
            return
        typed = views.shape_of(shape)
        if typed.group is not None and not self._head.groups.enter_pool(typed, client, pool_id):
            self.fail_pool(client, pool_id, "group", f"placement group {typed.group.hex()} was removed")
            return
        request = f"{client}/{pool_id}/{next(self._numbers)}"
        outstanding[request] = more
        self._requests[request] = (client, pool_id, typed)
        if locality is not None:  # by what store directories are named after
            locality = {n: locality[n[:12]] for n in self._nodes if n[:12] in locality} or None
        self._shapes[(client, typed)] = pool_id
        family, depth = self._place_in_tree(client, own_lease)
        self.schedule(ls.Requested(request, client, node_id, typed, more, locality, family, depth))

    def _place_in_tree(self, client: str, own_lease: str) -> tuple[str, int]:
        """The tree of calls to which the tasks of a client belong, and how deep they are in it."""
        lease = self._leases.get(own_lease)
        if lease is None:  # a driver or an actor: each of its tasks begins a tree
            return "", 0
        me, parent = self._clients[client], self._clients.get(lease.client)
        if parent is None or not parent.family:
            me.family, me.depth = own_lease, 1
        else:
            me.family, me.depth = parent.family, parent.depth + 1
        return me.family, me.depth

    def enter_pool(self, client: str, pool_id: int, shape: dict[str, Any], received: int) -> None:
        """A client has used leases of this shape, of a head before this one."""
        typed = views.shape_of(shape)
        self._shapes[(client, typed)] = pool_id
        self._granted_to[(client, pool_id)] = received
        if typed.group is not None and not self._head.groups.enter_pool(typed, client, pool_id):
            self.fail_pool(client, pool_id, "group", f"placement group {typed.group.hex()} was removed")

    def enter_lease(self, lease_id: str, client: str, node_id: str, pool_id: int) -> Lease:
        """Write down a lease that is out."""
        lease = self._leases[lease_id] = Lease(lease_id, client, node_id, pool_id)
        return lease

    def on_its_way(self, lease: Lease) -> None:
        """A client will hear of a lease that a head before this one has granted."""
        self._granted_to[(lease.client, lease.pool_id)] += 1

    def end_lease(self, lease_id: str) -> None:
        """Nobody uses a lease any more."""
        if lease_id in self._leases:
            self.ended(lease_id)
            self.schedule(ls.Released(lease_id))

    def _forget_request(self, request: str) -> None:
        self._requests.pop(request, None)
        self._head.late.drop(request)
        self.schedule(ls.Cancelled(request))

    def fail_pool(self, client: str, pool_id: int, kind: str, why: str) -> None:
        """What waits in a client's pool can never run (``kind``: "group" or "node"); it is told so."""
        for request in self._outstanding.pop((client, pool_id), {}):
            known = self._requests.get(request)
            if known is not None and kind == "group":
                self._shapes.pop((client, known[2]), None)
            self._forget_request(request)
        self._head.to_client(client, ("unschedulable", pool_id, kind, why))

    def on_release(self, node_id: str, client: str, lease_id: str, broken: bool = False) -> None:
        """A client gives a lease back; ``broken``: its executor does not answer any more."""
        if lease_id in self._leases:
            self.ended(lease_id, broken)
            self.schedule(ls.Released(lease_id))

    def on_lease_failed(self, node_id: str, lease_id: str, kind: str, why: str) -> None:
        """An executor was not there in the end; with a ``kind``, there is no use in asking again."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return
        client, pool_id = lease.client, lease.pool_id
        self.ended(lease_id)
        if kind:  # before its room is free for what else waits in the pool
            self._granted_to[(client, pool_id)] -= 1  # it is told that instead
            self.fail_pool(client, pool_id, kind, why)
        self.schedule(ls.Released(lease_id))
        if not kind:
            self._head.to_client(client, ("grant", pool_id, lease_id, ""))

    def on_executor_ended(self, node_id: str, lease_id: str, code: int | None, why: str) -> None:
        """The process of a lease is gone."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            if why:
                self._head.to_client(lease.client, ("revoke", lease_id, why))
            self.ended(lease_id)
            self.schedule(ls.Released(lease_id))

    def on_blocked(self, node_id: str, client: str, lease_id: str) -> None:
        """An executor waits, and lends its CPUs out."""
        if lease_id in self._leases:
            self.schedule(ls.Blocked(lease_id))

    def on_unblocked(self, node_id: str, client: str, lease_id: str) -> None:
        """It goes on."""
        if lease_id in self._leases:
            self.schedule(ls.Unblocked(lease_id))

    def ended(self, lease_id: str, broken: bool = False) -> None:
        """A lease is out no more; its node is told."""
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._head.to_node(lease.node_id, ("released", lease_id, broken))

    def schedule(self, event: ls.Event) -> None:
        """Tell the scheduler, and do what it says."""
        for instruction in self._scheduler.handle(event):
            self._carry_out(instruction)

    def _carry_out(self, it: ls.Instruction) -> None:
        if isinstance(it, ls.Grant):
            self._granted(it)
        elif isinstance(it, ls.Revoke):
            lease = self._leases.pop(it.lease_id, None)
            if lease is not None:
                self._tell_revoked(lease, it.reason)
                self._head.to_node(it.node_id, ("revoke", it.lease_id, it.reason))
        elif isinstance(it, ls.Reclaim):
            pool_id = self._shapes.get((it.client, it.shape))
            if pool_id is not None:
                self._head.to_client(it.client, ("reclaim", pool_id, it.wanted))
        elif isinstance(it, ls.Infeasible):
            self.infeasible(it)
        elif isinstance(it, ls.GroupPlaced):
            self._head.groups.placed(it)
        elif isinstance(it, ls.GroupPending):
            self._head.groups.waits(it)
        elif isinstance(it, ls.GroupLost):
            self._head.groups.lost(it)

    def infeasible(self, it: ls.Infeasible) -> None:
        """A request cannot be served as the cluster is."""
        if it.hopeless and self._head.recovery.put_off(it):
            return
        actor_id = self._head.life.requests.get(it.request_id)
        if it.hopeless and actor_id is not None:
            actor = self._head.actors.by_id[actor_id]
            self._head.life.fail(actor, it.text)
        elif it.hopeless and it.request_id in self._requests:
            client, pool_id, _ = self._requests[it.request_id]
            self.fail_pool(client, pool_id, "node", it.text)
        else:
            self._head.late.note(it.request_id, it.client)

    def warn_of_late(self) -> None:
        """Tell drivers of what waits for long, and why."""
        for key, client in self._head.late.due():
            text = self._scheduler.obstacle(key)
            if text:  # else it has become possible, or been served
                text = f"{text} It waits until a node is added that has it. {views.offers(self._head)}"
                self._warn(client, text)

    def _tell_revoked(self, lease: Lease, reason: str) -> None:
        if lease.told:
            self._head.to_client(lease.client, ("revoke", lease.lease_id, reason))
        else:  # its node is gone before the client knew: it asks again
            self._head.to_client(lease.client, ("grant", lease.pool_id, lease.lease_id, ""))

    def _warn(self, client: str, text: str) -> None:
        known = self._clients.get(client)
        if client.startswith("actor:"):
            actor = self._head.actors.by_id.get(bytes.fromhex(client[6:]))
            known = self._clients.get(actor.creator) if actor is not None else None
        job = self._head.jobs.get(known.job_id) if known is not None else None
        if job is not None and self._head.late.is_news(job["client"], text):
            logger.warning("%s", text)
            self._head.to_client(job["client"], ("warning", text))

    def _granted(self, grant: ls.Grant) -> None:
        actor_id = self._head.life.requests.pop(grant.request_id, None)
        if actor_id is not None:
            actor = self._head.actors.by_id[actor_id]
            self._leases[grant.lease_id] = Lease(grant.lease_id, grant.client, grant.node_id, 0)
            actor.node_id = grant.node_id
            actor.lease_id = grant.lease_id
            self._head.saved.actor(actor)
            self._head.processes.tell_job(grant.node_id, actor.job_id)
            self._head.to_node(
                grant.node_id,
                (
                    "actor_start",
                    actor_id,
                    actor.spec,
                    actor.payload,
                    grant.lease_id,
                    actor.job_id,
                    grant.gpu_ids,
                    actor.spec["holding"],
                ),
            )
            return
        client, pool_id, _ = self._requests[grant.request_id]
        outstanding = self._outstanding[(client, pool_id)]
        left = outstanding.get(grant.request_id, 1) - 1
        if left:
            outstanding[grant.request_id] = left
        else:
            outstanding.pop(grant.request_id, None)
            self._requests.pop(grant.request_id, None)
        self._granted_to[(client, pool_id)] += 1
        asker = self._clients[client]
        self._leases[grant.lease_id] = Lease(
            grant.lease_id, client, grant.node_id, pool_id, told=asker.node_id == grant.node_id
        )
        job_id = asker.job_id
        self._head.processes.tell_job(grant.node_id, job_id)
        self._head.to_node(
            grant.node_id,
            (
                "grant",
                grant.lease_id,
                client,
                pool_id,
                job_id,
                grant.gpu_ids,
                grant.resources,
                grant.shape,
            ),
        )

    def client_gone(self, client: str) -> None:
        """A process is gone, with what it has asked for."""
        for lease in [held for held in self._leases.values() if held.client == client]:
            self.ended(lease.lease_id)
        for key in [k for k in self._outstanding if k[0] == client]:
            del self._outstanding[key]
        for key in [k for k in self._granted_to if k[0] == client]:
            del self._granted_to[key]
        for shape_key in [k for k in self._shapes if k[0] == client]:
            del self._shapes[shape_key]
