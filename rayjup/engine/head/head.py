"""The head's tables and the routing of messages between nodes and the lease scheduler.

Runs in the event loop of the Dask scheduler; everything here is synchronous and short. Nodes are
reached through their ``send`` functions, given by :mod:`.plugin`.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.engine import leases as ls
from rayjup.engine.head import actors as ad
from rayjup.engine.head import views
from rayjup.engine.head.environments import Environments
from rayjup.engine.head.groups import Groups
from rayjup.engine.head.hosts import Hosts
from rayjup.engine.head.journal import Journal
from rayjup.engine.head.late import Late
from rayjup.engine.head.recovery import Recovery
from rayjup.engine.head.reports import HeadReports
from rayjup.engine.head.rotation import Rotation
from rayjup.engine.head.saved import Saved
from rayjup.engine.head.scaling import Scaling

logger = logging.getLogger(__name__)

Message = tuple[Any, ...]
_SAMPLES_PER_S = 250


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
    family: str = ""  # of the task that runs there, see Head._place_in_tree
    depth: int = 0


@dataclass
class Lease:
    """A lease that is out."""

    lease_id: str
    client: str
    node_id: str
    pool_id: int
    told: bool = False  # the client's own node, or the client through us, has heard of it


class Head:
    """The one place that knows the whole cluster.

    Parameters
    ----------
    cluster
        ``cluster_id``, ``name``, ``address``, ``started_by`` and more, for displays.
    journal
        Where the tables are written down; one that another head has used is taken over from.
    """

    def __init__(self, cluster: dict[str, Any], journal: Journal | None = None) -> None:
        self.cluster = cluster  # cluster_id, name, address, started_by, …
        self.started = time.time()
        self.nodes: dict[str, Node] = {}
        self.dead_nodes: list[dict[str, Any]] = []
        self.clients: dict[str, Client] = {}
        self.jobs: dict[bytes, dict[str, Any]] = {}
        self.leases: dict[str, Lease] = {}
        self.actors = ad.ActorDirectory()
        self.kv: dict[tuple[str, bytes], bytes] = {}
        self.saved = Saved(self, journal)
        self.actors.forgotten = self.saved.actor_forgotten
        # Ids of leases are never used again: some of the head before this one may be out.
        self.scheduler = ls.LeaseScheduler(first=journal.life << 40 if journal is not None else 0)
        self.on_driver_change: Callable[[int], None] = lambda drivers: None
        self.on_node_left: Callable[[dict[str, Any]], None] = lambda info: None
        self._outstanding: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self._granted_to: dict[tuple[str, int], int] = defaultdict(int)
        self._requests: dict[str, tuple[str, int, ls.Shape]] = {}  # request -> (client, pool, shape)
        self._shapes: dict[tuple[str, ls.Shape], int] = {}
        self._actor_requests: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._job_numbers = itertools.count(1)
        self.late = Late()
        self.groups = Groups(self, self.schedule)
        self.environments: Environments = Environments(self)
        self._on_actor_watch = self.on_actor_watch
        self._on_environments = self.environments.on_rows
        self._on_group_create = self.groups.on_create
        self._on_group_remove = self.groups.on_remove
        self._on_group_watch = self.groups.on_watch
        self.hosts = Hosts(self)
        self.reports = HeadReports(self)
        self.scaling = Scaling(self)
        self._on_collected = self.reports.on_collected
        self.rotation = Rotation(self)
        self._on_credentials_kept = self.rotation.on_kept
        self._ops: dict[str, Callable[..., Any]] = {
            "nodes": lambda client: views.nodes(self),
            "cluster_resources": lambda client: self.scheduler.total(),
            "available_resources": lambda client: self.scheduler.available(),
            "get_actor": self._get_actor,
            "list_named_actors": self._list_named_actors,
            "actor_create_named": self._actor_create_named,
            "actor_kill": self._actor_kill,
            "actor_info": lambda client, actor_id: views.actor_row(self, self.actors.by_id[actor_id]),
            "snapshot": lambda client: views.snapshot(self),
            "kv_put": self._kv_put,
            "kv_get": lambda client, space, key: self.kv.get((space, key)),
            "kv_del": self._kv_del,
            "kv_keys": lambda client, space, prefix: [
                k for s, k in self.kv if s == space and k.startswith(prefix)
            ],
            "kv_items": lambda client, space: [(k, v) for (s, k), v in self.kv.items() if s == space],
            **self.groups.ops,
            **self.reports.ops,
            **self.environments.ops,
            **self.scaling.ops,
            **self.rotation.ops,
        }
        self.ending = False
        self.pace = 1.0  # seconds between two samples of a node
        self.recovery = Recovery(self)
        if journal is not None and journal.life:
            self.recovery.begin()
            last = max((int.from_bytes(job_id, "big") for job_id in self.jobs), default=0)
            self._job_numbers = itertools.count(last + 1)

    # -- nodes

    def node_joined(self, info: dict[str, Any], send: Callable[[Message], None]) -> None:
        """A node's agent has attached and is ready."""
        node_id = info["node_id"]
        info["joined_at"] = time.time()
        self.enter_node(info, send)
        labels = {"ray.io/node-id": node_id, **info.get("labels", {})}
        self.schedule(ls.NodeJoined(node_id, info["resources"], labels))
        self.reports.event("INFO", "GCS", f"node {info['name']} has joined", node_id=node_id)

    def enter_node(self, info: dict[str, Any], send: Callable[[Message], None]) -> Node:
        """Write down a node."""
        node = self.nodes[info["node_id"]] = Node(info["node_id"], info, send)
        self.saved.node(node.node_id, info)
        if not self._set_pace() and self.pace > 1.0:
            node.send(("pace", self.pace))
        return node

    def _set_pace(self) -> bool:
        """Have nodes send samples so often that these stay a small part of our work; if that has changed."""
        pace = 1.0
        while len(self.nodes) > _SAMPLES_PER_S * pace:
            pace *= 2
        if pace == self.pace:
            return False
        self.pace = pace
        for node in self.nodes.values():
            node.send(("pace", pace))
        return True

    def enter_dead_node(self, info: dict[str, Any]) -> None:
        """Write down that a node is gone."""
        node_id = info["node_id"]
        info["left_at"] = time.time()
        self.dead_nodes.append(info)
        self.saved.node(node_id, None)
        self.reports.node_left(node_id)
        self.rotation.node_left(node_id)
        self.environments.node_left(node_id)
        self.reports.event("WARNING", "GCS", f"node {info['name']} has left", node_id=node_id)

    def node_left(self, node_id: str) -> None:
        """A node is gone, with its processes."""
        node = self.nodes.pop(node_id, None)
        if node is None:
            return
        self.enter_dead_node(node.info)
        self.schedule(ls.NodeLeft(node_id))
        for actor in list(self.actors.by_id.values()):
            if actor.node_id == node_id and actor.lease_id is not None and actor.state != ad.DEAD:
                self.actor_process_ended(actor, "its node is gone")
        for client in [c for c in self.clients.values() if c.node_id == node_id]:
            self._client_gone(client.client)
        self._set_pace()
        self.on_node_left(node.info)

    def on_message(self, node_id: str, message: Message) -> None:
        """A message from a node's agent."""
        handler = getattr(self, f"_on_{message[0]}", None)
        if handler is None:
            logger.error("unknown message %r from node %s", message[0], node_id)
            return
        handler(node_id, *message[1:])

    def to_node(self, node_id: str, message: Message) -> None:
        """Send to a node's agent, if it is still there."""
        node = self.nodes.get(node_id)
        if node is not None:
            node.send(message)

    def to_client(self, client: str, message: Message) -> None:
        """Send to a process, wherever it is."""
        known = self.clients.get(client)
        if known is not None:
            self.to_node(known.node_id, ("to_client", client, message))

    # -- processes and jobs

    def _on_driver(self, node_id: str, client: str, pid: int, config: dict[str, Any] | None) -> None:
        theirs = [
            job_id for job_id, job in self.jobs.items() if job["client"] == client and "ended" not in job
        ]
        if theirs:  # the head before this one has begun it, and its welcome was lost
            job_id = theirs[0]
        else:
            job_id = next(self._job_numbers).to_bytes(4, "big")
            times = {"started": time.time(), "pid": pid, "node_id": node_id}
            self.jobs[job_id] = {**(config or {}), "client": client, **times}
            self.saved.job(job_id)
            self.reports.event("INFO", "JOBS", f"job {job_id.hex()} has begun", job_id=job_id.hex(), pid=pid)
        self.enter_client(client, node_id, "driver", pid, job_id)
        self._tell_job(node_id, job_id)
        self.to_node(node_id, ("driver_welcome", client, job_id))
        self.on_driver_change(self.driver_count())

    def _on_executor(self, node_id: str, client: str, pid: int, job_id: bytes) -> None:
        self.enter_client(client, node_id, "executor", pid, job_id)

    def enter_client(self, client: str, node_id: str, kind: str, pid: int, job_id: bytes) -> None:
        """Write down a process."""
        self.clients[client] = Client(client, node_id, kind, pid, job_id)

    def _on_resumed(self, node_id: str, client: str, pools: list[Any]) -> None:
        self.recovery.resumed(client, pools)

    def driver_count(self) -> int:
        """How many drivers are connected."""
        return sum(c.kind == "driver" for c in self.clients.values())

    def _tell_job(self, node_id: str, job_id: bytes) -> None:
        node = self.nodes.get(node_id)
        if node is not None and job_id not in node.jobs_known:
            node.jobs_known.add(job_id)
            node.send(("job", job_id, self.jobs.get(job_id, {})))

    def _on_client_gone(self, node_id: str, client: str) -> None:
        self._client_gone(client)

    def _client_gone(self, client: str) -> None:
        gone = self.clients.pop(client, None)
        if gone is None:
            return
        self.schedule(ls.ClientGone(client))
        self.groups.client_gone(client)
        self.late.drop_client(client)
        for lease in [held for held in self.leases.values() if held.client == client]:
            self._lease_ended(lease.lease_id)
        for key in [k for k in self._outstanding if k[0] == client]:
            del self._outstanding[key]
        for key in [k for k in self._granted_to if k[0] == client]:
            del self._granted_to[key]
        for shape_key in [k for k in self._shapes if k[0] == client]:
            del self._shapes[shape_key]
        for node_id in self.nodes:
            if node_id != gone.node_id:
                self.to_node(node_id, ("client_gone", client))
        for actor in list(self.actors.by_id.values()):
            actor.watchers.discard(client)
            if actor.creator == client and not actor.detached and actor.state != ad.DEAD:
                self.end_actor(actor, "the process that created it is gone")
        if gone.kind == "driver":
            self.end_job(gone.job_id)
            self.on_driver_change(self.driver_count())

    def end_job(self, job_id: bytes) -> None:
        """A job's driver is gone: so is what belongs to it."""
        spare = self.detached_of(job_id)
        for actor in self.actors.of_job(job_id):
            if not actor.detached:
                self.end_actor(actor, "its job has ended")
        job = self.jobs.get(job_id)
        if job is not None:
            job["ended"] = time.time()
            self.saved.job(job_id)
            self.reports.event("INFO", "JOBS", f"job {job_id.hex()} has ended", job_id=job_id.hex())
        self.groups.owner_gone()
        for node in self.nodes.values():
            node.send(("end_job", job_id, spare))

    def detached_of(self, job_id: bytes) -> set[bytes]:
        """The actors that outlive a job."""
        return {actor.id for actor in self.actors.of_job(job_id) if actor.detached}

    # -- leases

    def _on_lease(
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
        if client in self.recovery.silent:
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
        if more <= 0 or client not in self.clients:
            return
        typed = views.shape_of(shape)
        if typed.group is not None and not self.groups.enter_pool(typed, client, pool_id):
            self.fail_pool(client, pool_id, "group", f"placement group {typed.group.hex()} was removed")
            return
        request = f"{client}/{pool_id}/{next(self._numbers)}"
        outstanding[request] = more
        self._requests[request] = (client, pool_id, typed)
        if locality is not None:  # by what store directories are named after
            locality = {n: locality[n[:12]] for n in self.nodes if n[:12] in locality} or None
        self._shapes[(client, typed)] = pool_id
        family, depth = self._place_in_tree(client, own_lease)
        self.schedule(ls.Requested(request, client, node_id, typed, more, locality, family, depth))

    def _place_in_tree(self, client: str, own_lease: str) -> tuple[str, int]:
        """The tree of calls to which the tasks of a client belong, and how deep they are in it."""
        lease = self.leases.get(own_lease)
        if lease is None:  # a driver or an actor: each of its tasks begins a tree
            return "", 0
        me, parent = self.clients[client], self.clients.get(lease.client)
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
        if typed.group is not None and not self.groups.enter_pool(typed, client, pool_id):
            self.fail_pool(client, pool_id, "group", f"placement group {typed.group.hex()} was removed")

    def enter_lease(self, lease_id: str, client: str, node_id: str, pool_id: int) -> Lease:
        """Write down a lease that is out."""
        lease = self.leases[lease_id] = Lease(lease_id, client, node_id, pool_id)
        return lease

    def on_its_way(self, lease: Lease) -> None:
        """A client will hear of a lease that a head before this one has granted."""
        self._granted_to[(lease.client, lease.pool_id)] += 1

    def end_lease(self, lease_id: str) -> None:
        """Nobody uses a lease any more."""
        if lease_id in self.leases:
            self._lease_ended(lease_id)
            self.schedule(ls.Released(lease_id))

    def _forget_request(self, request: str) -> None:
        self._requests.pop(request, None)
        self.late.drop(request)
        self.schedule(ls.Cancelled(request))

    def fail_pool(self, client: str, pool_id: int, kind: str, why: str) -> None:
        """What waits in a client's pool can never run (``kind``: "group" or "node"); it is told so."""
        for request in self._outstanding.pop((client, pool_id), {}):
            known = self._requests.get(request)
            if known is not None and kind == "group":
                self._shapes.pop((client, known[2]), None)
            self._forget_request(request)
        self.to_client(client, ("unschedulable", pool_id, kind, why))

    def _on_release(self, node_id: str, client: str, lease_id: str, broken: bool = False) -> None:
        """A client gives a lease back; ``broken``: its executor does not answer any more."""
        if lease_id in self.leases:
            self._lease_ended(lease_id, broken)
            self.schedule(ls.Released(lease_id))

    def _on_lease_failed(self, node_id: str, lease_id: str, kind: str, why: str) -> None:
        """An executor was not there in the end; with a ``kind``, there is no use in asking again."""
        lease = self.leases.get(lease_id)
        if lease is None:
            return
        client, pool_id = lease.client, lease.pool_id
        self._lease_ended(lease_id)
        if kind:  # before its room is free for what else waits in the pool
            self._granted_to[(client, pool_id)] -= 1  # it is told that instead
            self.fail_pool(client, pool_id, kind, why)
        self.schedule(ls.Released(lease_id))
        if not kind:
            self.to_client(client, ("grant", pool_id, lease_id, ""))

    def _on_executor_ended(self, node_id: str, lease_id: str, code: int | None, why: str) -> None:
        lease = self.leases.get(lease_id)
        if lease is not None:
            if why:
                self.to_client(lease.client, ("revoke", lease_id, why))
            self._lease_ended(lease_id)
            self.schedule(ls.Released(lease_id))

    def _on_blocked(self, node_id: str, client: str, lease_id: str) -> None:
        if lease_id in self.leases:
            self.schedule(ls.Blocked(lease_id))

    def _on_unblocked(self, node_id: str, client: str, lease_id: str) -> None:
        if lease_id in self.leases:
            self.schedule(ls.Unblocked(lease_id))

    def _lease_ended(self, lease_id: str, broken: bool = False) -> None:
        lease = self.leases.pop(lease_id, None)
        if lease is not None:
            self.to_node(lease.node_id, ("released", lease_id, broken))

    def schedule(self, event: ls.Event) -> None:
        """Tell the scheduler, and do what it says."""
        for instruction in self.scheduler.handle(event):
            self._carry_out(instruction)

    def _carry_out(self, it: ls.Instruction) -> None:
        if isinstance(it, ls.Grant):
            self._granted(it)
        elif isinstance(it, ls.Revoke):
            lease = self.leases.pop(it.lease_id, None)
            if lease is not None:
                self._tell_revoked(lease, it.reason)
                self.to_node(it.node_id, ("revoke", it.lease_id, it.reason))
        elif isinstance(it, ls.Reclaim):
            pool_id = self._shapes.get((it.client, it.shape))
            if pool_id is not None:
                self.to_client(it.client, ("reclaim", pool_id, it.wanted))
        elif isinstance(it, ls.Infeasible):
            self.infeasible(it)
        elif isinstance(it, ls.GroupPlaced):
            self.groups.placed(it)
        elif isinstance(it, ls.GroupPending):
            self.groups.waits(it)
        elif isinstance(it, ls.GroupLost):
            self.groups.lost(it)

    def infeasible(self, it: ls.Infeasible) -> None:
        """A request cannot be served as the cluster is."""
        if it.hopeless and self.recovery.put_off(it):
            return
        actor_id = self._actor_requests.get(it.request_id)
        if it.hopeless and actor_id is not None:
            actor = self.actors.by_id[actor_id]
            self._fail_actor(actor, it.text)
        elif it.hopeless and it.request_id in self._requests:
            client, pool_id, _ = self._requests[it.request_id]
            self.fail_pool(client, pool_id, "node", it.text)
        else:
            self.late.note(it.request_id, it.client)

    def _warn_of_late(self) -> None:
        for key, client in self.late.due():
            text = self.scheduler.obstacle(key)
            if text:  # else it has become possible, or been served
                text = f"{text} It waits until a node is added that has it. {views.offers(self)}"
                self._warn(client, text)

    def _tell_revoked(self, lease: Lease, reason: str) -> None:
        if lease.told:
            self.to_client(lease.client, ("revoke", lease.lease_id, reason))
        else:  # its node is gone before the client knew: it asks again
            self.to_client(lease.client, ("grant", lease.pool_id, lease.lease_id, ""))

    def _warn(self, client: str, text: str) -> None:
        known = self.clients.get(client)
        if client.startswith("actor:"):
            actor = self.actors.by_id.get(bytes.fromhex(client[6:]))
            known = self.clients.get(actor.creator) if actor is not None else None
        job = self.jobs.get(known.job_id) if known is not None else None
        if job is not None and self.late.is_news(job["client"], text):
            logger.warning("%s", text)
            self.to_client(job["client"], ("warning", text))

    def _granted(self, grant: ls.Grant) -> None:
        actor_id = self._actor_requests.pop(grant.request_id, None)
        if actor_id is not None:
            actor = self.actors.by_id[actor_id]
            self.leases[grant.lease_id] = Lease(grant.lease_id, grant.client, grant.node_id, 0)
            actor.node_id = grant.node_id
            actor.lease_id = grant.lease_id
            self.saved.actor(actor)
            self._tell_job(grant.node_id, actor.job_id)
            self.to_node(
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
        asker = self.clients[client]
        self.leases[grant.lease_id] = Lease(
            grant.lease_id, client, grant.node_id, pool_id, told=asker.node_id == grant.node_id
        )
        job_id = asker.job_id
        self._tell_job(grant.node_id, job_id)
        self.to_node(
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

    # -- actors

    def _on_actor_create(
        self, node_id: str, client: str, actor_id: bytes, spec: dict[str, Any], payload: bytes
    ) -> None:
        creator = self.clients.get(client)
        if creator is None:
            return
        actor = self.actors.by_id.get(actor_id)
        if actor is None:  # else its name was taken before, with the entry
            actor = ad.Actor(actor_id, spec, b"", client, creator.job_id)
            self.actors.add(actor)
        actor.watchers.add(client)
        if actor.state == ad.DEAD or actor.payload:  # said again, because a head has ended in between
            self._publish(actor)
            return
        actor.payload = payload
        self.saved.actor_birth(actor)
        if not self.recovery.active:
            self.place(actor, node_id)

    def _actor_create_named(
        self, client: str, actor_id: bytes, spec: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Take an actor's name: None when it is ours now, else what there is under it."""
        existing = self.actors.named(spec.get("namespace") or "", spec["name"])
        if existing is not None and existing.id == actor_id:
            return None  # asked again
        if existing is not None and spec.get("get_if_exists"):
            return views.actor_handle(existing)
        actor = ad.Actor(actor_id, spec, b"", client, self.clients[client].job_id)
        problem = self.actors.add(actor)
        if problem is not None:
            raise ValueError(problem)
        self.saved.actor_birth(actor)
        return None

    def is_asked_for(self, actor: ad.Actor) -> bool:
        """Whether a lease for the actor is waited for."""
        return actor.id in self._actor_requests.values()

    def place(self, actor: ad.Actor, node_id: str | None = None) -> None:
        """Have a lease granted to an actor, and the actor made with it."""
        request = f"actor:{actor.id.hex()}/{actor.restarts}"
        shape = views.shape_of(actor.spec["shape"])
        if shape.group is not None and not self.groups.enter_actor(shape.group, actor.id):
            self._fail_actor(actor, _group_gone(shape.group.hex()))
            return
        self._actor_requests[request] = actor.id
        self.schedule(ls.Requested(request, f"actor:{actor.id.hex()}", node_id, shape))

    def on_actor_watch(self, node_id: str, client: str, actor_id: bytes) -> None:
        """A client wants to know the state of an actor, now and when it changes."""
        actor = self.actors.by_id.get(actor_id)
        if actor is None and self.recovery.watch_later(node_id, client, actor_id):
            return
        if actor is None:
            info = {
                "cause": None,
                "error_message": "The actor is not known here: it ended long ago.",
                "actor_id": actor_id.hex(),
            }
            self.to_client(client, ("actor", actor_id, ad.DEAD, "", info))
            return
        actor.watchers.add(client)
        self.to_client(client, self._state_message(actor))

    def _on_actor_placed(self, node_id: str, actor_id: bytes, pid: int, address: str) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is None or actor.state == ad.DEAD:
            return
        actor.pid = actor.last_pid = pid
        actor.placed = time.time()
        actor.address = address
        # Callers may send already: the process keeps their calls until the constructor is done.
        self._publish(actor, ad.ALIVE)

    def _on_actor_ready(self, node_id: str, client: str, actor_id: bytes) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is None or actor.state == ad.DEAD:
            return
        actor.state = ad.ALIVE
        actor.ready = time.time()
        self.saved.actor(actor)
        if not actor.spec["holding"].get("CPU") and actor.lease_id is not None:
            self.schedule(ls.Blocked(actor.lease_id))  # it needed a free CPU to be placed only

    def _on_actor_failed(
        self, node_id: str, client: str, actor_id: bytes, cause: bytes, on_purpose: bool
    ) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is not None:
            self.actors.die(actor, "its constructor raised an exception", cause)
            self._give_up_lease(actor)
            self.saved.actor_birth(actor)
            self._publish(actor)

    def _on_actor_exiting(self, node_id: str, client: str, actor_id: bytes, reason: str) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is not None:
            actor.exiting = reason
            self.saved.actor(actor)

    def _on_actor_ended(
        self, node_id: str, actor_id: bytes, lease_id: str | None, code: int | None, why: str
    ) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is None or actor.lease_id != lease_id:
            if lease_id is not None:
                self.end_lease(lease_id)  # of a process that a head before this one did not want any more
        else:
            self.actor_process_ended(actor, why or _describe_exit(code))

    def actor_process_ended(self, actor: ad.Actor, why: str) -> None:
        """The process of an actor is gone: it is made again, or dead."""
        if actor.state == ad.DEAD:
            self._give_up_lease(actor)
            return
        self._give_up_lease(actor)
        again = self.actors.process_ended(actor, why)
        self.reports.actor_ended(actor, why, again)
        self.saved.actor_birth(actor)
        self._publish(actor)
        if again:
            self.place(actor)
        else:
            self.groups.owner_gone(actor.id)

    def _fail_actor(self, actor: ad.Actor, why: str) -> None:
        """The actor can never be placed."""
        self.actors.die(actor, why, unschedulable=True)
        self.saved.actor_birth(actor)
        self._give_up_lease(actor)
        self._publish(actor)
        self.groups.owner_gone(actor.id)

    def end_actor_of_group(self, actor_id: bytes, group: str) -> None:
        """The placement group in which the actor lives, or is to live, is removed."""
        actor = self.actors.by_id.get(actor_id)
        if actor is None or actor.state == ad.DEAD:
            return
        if actor.lease_id is None:
            self._fail_actor(actor, _group_gone(group))
        else:
            self.end_actor(actor, f"its placement group {group} was removed")

    def _give_up_lease(self, actor: ad.Actor) -> None:
        if actor.lease_id is not None:
            lease_id, actor.lease_id = actor.lease_id, None
            self.leases.pop(lease_id, None)
            self.schedule(ls.Released(lease_id))
        for request, actor_id in list(self._actor_requests.items()):
            if actor_id == actor.id:
                del self._actor_requests[request]
                self.late.drop(request)
                self.schedule(ls.Cancelled(request))

    def end_actor(self, actor: ad.Actor, why: str, no_restart: bool = True) -> None:
        """End an actor's process, and (``no_restart``) the actor with it."""
        if no_restart:
            actor.exiting = why
        placed = actor.lease_id is not None
        node_id = actor.node_id
        if no_restart:
            self.actors.die(actor, why)
            self.saved.actor_birth(actor)
            self._publish(actor)
        if placed:
            self.to_node(node_id, ("actor_kill", actor.id, why))
        else:
            self._give_up_lease(actor)
        if no_restart:
            self.groups.owner_gone(actor.id)

    def _on_actor_out_of_scope(self, node_id: str, client: str, actor_id: bytes) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is not None and not actor.detached and actor.state != ad.DEAD:
            self.end_actor(actor, "all handles to it are gone")

    def _actor_kill(self, client: str, actor_id: bytes, no_restart: bool) -> None:
        actor = self.actors.by_id.get(actor_id)
        if actor is not None and actor.state != ad.DEAD:
            self.end_actor(actor, "it was killed by rayjup.kill()", no_restart)

    def _publish(self, actor: ad.Actor, state: str | None = None) -> None:
        self.saved.actor(actor)
        message = self._state_message(actor, state)
        for watcher in list(actor.watchers):
            self.to_client(watcher, message)

    def _state_message(self, actor: ad.Actor, state: str | None = None) -> Message:
        reachable = actor.state in (ad.ALIVE, ad.PENDING_CREATION, ad.RESTARTING) and actor.address
        shown = state or (ad.ALIVE if reachable else actor.state)
        return ("actor", actor.id, shown, actor.address, actor.error)

    def _get_actor(self, client: str, namespace: str, name: str) -> dict[str, Any]:
        actor = self.actors.named(namespace, name)
        if actor is None:
            raise ValueError(
                f"there is no actor named '{name}' in the namespace '{namespace}': it was never "
                "created, its creator is gone, or it is dead; rayjup.util.list_named_actors() shows those "
                "there are."
            )
        return views.actor_handle(actor)

    def _list_named_actors(self, client: str, namespace: str | None) -> list[dict[str, str]]:
        return [
            {"namespace": space, "name": name}
            for space, name in sorted(self.actors.names)
            if namespace is None or space == namespace
        ]

    # -- everything else

    def _kv_put(self, client: str, space: str, key: bytes, value: bytes, overwrite: bool) -> bool:
        there = (space, key) in self.kv
        if overwrite or not there:
            self.kv[(space, key)] = value
            self.saved.kv(space, key)
        return there

    def _kv_del(self, client: str, space: str, key: bytes) -> bool:
        there = self.kv.pop((space, key), None) is not None
        self.saved.kv(space, key)
        return there

    def _on_request(self, node_id: str, client: str, request: int, op: str, payload: tuple[Any, ...]) -> None:
        if op == "state_ask":  # answered when the nodes have answered
            self.reports.ask(node_id, client, request, *payload)
            return
        ok, value = True, None
        try:
            value = self._ops[op](client, *payload)
        except Exception as error:  # noqa: BLE001 - the asker gets it
            ok, value = False, pickle.dumps(error)
        self.to_node(node_id, ("to_client", client, ("answer", request, ok, value)))

    def _on_relay(self, node_id: str, client: str, message: Message) -> None:
        if message[0] == "grant":
            lease = self.leases.get(message[2])
            if lease is None:
                return  # revoked meanwhile
            lease.told = True
        self.to_client(client, message)

    def _on_store_freed(self, node_id: str, client: str, store: str, nbytes: int) -> None:
        for other in self.nodes:
            if other.startswith(store):
                self.to_node(other, ("store_freed", nbytes))

    def _on_store_spilled(
        self, node_id: str, client: str, store: str, name: str, freed: int, written: int
    ) -> None:
        for other in self.nodes:
            if other.startswith(store):
                self.to_node(other, ("store_spilled", name, freed, written))

    def _on_repeatable(self, node_id: str, client: str, asking: str, token: int, repeatable: bool) -> None:
        if asking in self.nodes:
            self.to_node(asking, ("repeatable", token, repeatable))

    def _on_log(self, node_id: str, job_id: bytes, chunks: list[Any]) -> None:
        job = self.jobs.get(job_id)
        if job is not None and job.get("log_to_driver", True):
            self.to_client(job["client"], ("log", chunks))

    def _on_actor_start_failed(self, node_id: str, actor_id: bytes, kind: str, why: str) -> None:
        """No process can be had for the actor; nor could there be for its next life."""
        actor = self.actors.by_id.get(actor_id)
        if actor is None:
            return
        if actor.state != ad.DEAD:
            self.actors.die(actor, why)
            if kind == "env":
                actor.error = {"environment": why}
            self.saved.actor_birth(actor)
            self._publish(actor)
            self.groups.owner_gone(actor.id)
        self._give_up_lease(actor)

    def _on_sample(self, node_id: str, sample: dict[str, Any], kept: int = 0) -> None:
        """``kept``: the number of the last message before this that the node keeps in case we end."""
        node = self.nodes.get(node_id)
        if node is not None:
            node.sample = sample
            if kept:
                node.send(("kept", kept))
        self._warn_of_late()
        for job_id, text in self.environments.late():
            if job_id in self.jobs:
                self.to_client(self.jobs[job_id]["client"], ("warning", text))

    def shutdown_nodes(self) -> None:
        """Tell all nodes to end, and those that come from now on."""
        self.ending = True
        for node in self.nodes.values():
            node.send(("shutdown",))


def _group_gone(group: str) -> str:
    return (
        "Could not create the actor because its associated placement group was removed. "
        f"Required placement group {group} is removed."
    )


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "its process ended"
    if code < 0:
        return f"its process was killed by signal {-code}"
    return f"its process exited with code {code}"
