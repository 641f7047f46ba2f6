"""The head's tables and the routing of messages between nodes and the lease scheduler.

Runs in the event loop of the Dask scheduler; everything here is synchronous and short. Nodes are
reached through their ``send`` functions, given by :mod:`.plugin`.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from typing import Any

from rayjup.engine import leases as ls
from rayjup.engine.head import actors as ad
from rayjup.engine.head import views
from rayjup.engine.head.actor_life import ActorLife
from rayjup.engine.head.environments import Environments
from rayjup.engine.head.groups import Groups
from rayjup.engine.head.hosts import Hosts
from rayjup.engine.head.journal import Journal
from rayjup.engine.head.late import Late
from rayjup.engine.head.leasing import Leasing
from rayjup.engine.head.processes import Processes
from rayjup.engine.head.recovery import Recovery
from rayjup.engine.head.reports import HeadReports
from rayjup.engine.head.rotation import Rotation
from rayjup.engine.head.saved import Saved
from rayjup.engine.head.scaling import Scaling
from rayjup.engine.head.tables import Client, Lease, Message, Node

logger = logging.getLogger(__name__)

_SAMPLES_PER_S = 250


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
        self.processes = Processes(self)
        self.leasing = Leasing(self)
        self.life = ActorLife(self)
        self.schedule = self.leasing.schedule
        for part in (self.processes, self.leasing, self.life):
            for op, handler in part.handlers.items():
                setattr(self, f"_on_{op}", handler)
        self.late = Late()
        self.groups = Groups(self, self.schedule)
        self.environments: Environments = Environments(self)
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
            "actor_info": lambda client, actor_id: views.actor_row(self, self.actors.by_id[actor_id]),
            "snapshot": lambda client: views.snapshot(self),
            "kv_put": self._kv_put,
            "kv_get": lambda client, space, key: self.kv.get((space, key)),
            "kv_del": self._kv_del,
            "kv_keys": lambda client, space, prefix: [
                k for s, k in self.kv if s == space and k.startswith(prefix)
            ],
            "kv_items": lambda client, space: [(k, v) for (s, k), v in self.kv.items() if s == space],
            **self.life.ops,
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
            self.processes.count_on()

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
                self.life.process_ended(actor, "its node is gone")
        for client in [c for c in self.clients.values() if c.node_id == node_id]:
            self.processes.gone(client.client)
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

    def _on_sample(self, node_id: str, sample: dict[str, Any], kept: int = 0) -> None:
        """``kept``: the number of the last message before this that the node keeps in case we end."""
        node = self.nodes.get(node_id)
        if node is not None:
            node.sample = sample
            if kept:
                node.send(("kept", kept))
        self.leasing.warn_of_late()
        for job_id, text in self.environments.late():
            if job_id in self.jobs:
                self.to_client(self.jobs[job_id]["client"], ("warning", text))

    def shutdown_nodes(self) -> None:
        """Tell all nodes to end, and those that come from now on."""
        self.ending = True
        for node in self.nodes.values():
            node.send(("shutdown",))
