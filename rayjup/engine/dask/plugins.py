"""The plugins that make a Dask scheduler a head and a Dask worker a node.

They are registered through Dask's public hooks, so that any running Dask cluster can be joined:
``HeadPlugin`` first, ``NodePlugin`` when the head says it speaks our protocol.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import secrets
import sys
import uuid
from collections.abc import Callable
from typing import Any

import psutil
from distributed import Scheduler, Worker
from distributed.comm import connect
from distributed.comm.core import Comm, CommClosedError
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from rayjup._version import __version__
from rayjup.base.paths import session_root
from rayjup.engine.dask import attach
from rayjup.engine.head.head import Head
from rayjup.engine.head.journal import Journal
from rayjup.engine.node.agent import NodeAgent, host_id, remove_unless_used
from rayjup.engine.node.neighbours import declared_host
from rayjup.engine.node.samples import Sampler
from rayjup.engine.node.store_place import default_capacity, shm_free

logger = logging.getLogger(__name__)

_PYTHON = ".".join(map(str, sys.version_info[:2]))


class HeadPlugin(SchedulerPlugin):
    """Keeps the head inside a Dask scheduler."""

    name = "rayjup-head"
    idempotent = True

    def __init__(
        self,
        cluster: dict[str, Any],
        journal: str | None = None,
        token: str | None = None,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        # The secret that processes of different hosts show each other; the same for all heads of a cluster.
        self.token = token or secrets.token_hex(32)
        self.credentials = credentials or (None, None)  # the head's own file, and the one that people copy
        self.journal = journal  # a path, where somebody starts another head when this one ends
        self.head: Head

    async def start(self, scheduler: Scheduler) -> None:
        self.refused: dict[str, str] = {}  # by host: why its node is not one of the cluster
        journal = Journal(self.journal) if self.journal is not None else None
        self._before_write = journal.flush if journal is not None else lambda: None
        self.head = Head({**self.cluster, "address": scheduler.address, "status": "running"}, journal)
        self.head.rotation.begin(self.token, *self.credentials)
        self._first_node: asyncio.Event = asyncio.Event()
        scheduler.handlers[attach.OP] = self.attach
        scheduler.handlers["rayjup_info"] = self.info
        scheduler.extensions["rayjup"] = self

    async def info(self, **_: Any) -> dict[str, Any]:
        """What a joining driver needs: versions, and the agents that are up."""
        return {
            "protocol": attach.PROTOCOL,
            "python": _PYTHON,
            "cluster": self.cluster,
            "head_pid": os.getpid(),
            "host_id": host_id(),
            "refused": self.refused,
            "nodes": [node.info for node in self.head.nodes.values()],
        }

    async def attach(self, comm: Comm, info: dict[str, Any]) -> str:
        """An agent's lasting connection; returns when it ends."""
        node_id = info["node_id"]
        head = self.head
        stream = attach.Stream(comm, lambda message: head.on_message(node_id, message), self._before_write)
        report = info.pop("report", None)
        problem = version_problem(info) or head.hosts.problem_with(info)
        joined = ("joined", *head.rotation.secrets())
        if problem:
            logger.error("%s", problem)
            self.refused[info["lane_host"]] = problem
            await comm.write(pickle.dumps([("refused", problem)], 5))
            return "dont-reply"
        # Before anything else: a node that is asked for by people tells its machine where it is.
        stream.send(("cluster", {key: self.cluster[key] for key in ("cluster_id", "name")}))
        if report is None:
            head.node_joined(info, stream.send)
            stream.send(joined)
        elif head.recovery.node_returned(info, pickle.loads(report), stream.send):
            stream.send(joined)
        else:
            stream.send(("shutdown",))  # others do its work by now
        if head.ending:
            stream.send(("shutdown",))
        if info.get("is_head"):
            self._first_node.set()
        try:
            await stream.run()
        finally:
            head.node_left(node_id)
        return "dont-reply"

    async def wait_for_node(self) -> None:
        """Until the first node of a local cluster is ready."""
        await self._first_node.wait()


def version_problem(info: dict[str, Any]) -> str:
    """Why a node cannot work with this head, by the versions of both; empty where it can."""
    node = f"the node {info['name']} on {info['host']}"
    if info.get("protocol") != attach.PROTOCOL:
        return (
            f"{node} runs rayjup {info.get('rayjup')} (protocol {info.get('protocol')}), the cluster runs "
            f"rayjup {__version__} (protocol {attach.PROTOCOL}): install the same version on both."
        )
    if info.get("python") != _PYTHON:
        return (
            f"{node} runs Python {info.get('python')}, the cluster runs Python {_PYTHON}: functions cannot "
            "travel between them. Use the same Python (major.minor) on both."
        )
    return ""


class NodePlugin(WorkerPlugin):
    """Keeps a node agent inside a Dask worker."""

    name = "rayjup-node"

    def __init__(
        self,
        cluster_id: str,
        session_dir: str | None = None,
        resources: dict[str, float] | None = None,
        is_head: bool = False,
        zygote: Any = None,
        extra: dict[str, Any] | None = None,
        survives: bool = False,
        settings: dict[str, Any] | None = None,
        network: tuple[str, str] | None = None,
        renewed: tuple[list[str], list[str]] = ([], []),
    ) -> None:
        self.cluster_id = cluster_id
        self.session_dir = session_dir
        self.resources = resources
        self.is_head = is_head
        self._zygote = zygote
        self.extra = extra or {}  # more for the head to know: name, labels, node_dir
        # Whoever made this plugin gives it to another worker when the head is lost, and closes the agent.
        self.survives = survives
        self.head_ended: asyncio.Event  # set by us; with ``survives`` made by them, for each worker
        self.settings = settings
        self.network = network  # where it is not the worker's: address for other hosts, and credentials
        self.renewed = renewed  # files to write when credentials change: those shown here, and their user's
        self.ops: dict[str, Callable[..., Any]] = {}  # more requests that the agent answers itself
        self.agent: NodeAgent

    async def setup(self, worker: Worker) -> None:
        if not self.survives:
            self.head_ended = asyncio.Event()
        if not hasattr(self, "agent"):
            await self._start_agent(worker)
        await self._attach(worker)

    async def _start_agent(self, worker: Worker) -> None:
        session_dir = self.session_dir or f"{session_root()}/{self.cluster_id}"
        resources = self.resources if self.resources is not None else resources_of(worker)
        node_id = secrets.token_hex(28)
        agent = self.agent = NodeAgent(
            node_id,
            session_dir,
            resources,
            str(self.extra.get("name", worker.name)),
            self.settings,
            self.extra.get("declared_host") or declared_host(),
        )
        agent.labels |= self.extra.get("labels", {})
        agent.ops |= self.ops
        agent.prepare()
        if self._zygote is not None:
            agent.executors.adopt_zygote(*self._zygote)
        else:
            agent.executors.start_zygote()
        await agent.start()
        security = worker.security
        address = worker.address
        tls = (security.tls_ca_file or "", security.tls_worker_cert or "", security.tls_worker_key or "")
        if self.network is not None:
            address, credentials = self.network
            tls = (credentials, credentials, credentials)
        agent.neighbours.listen(address, tls, agent.host != host_id(), self.renewed)

    async def _attach(self, worker: Worker) -> None:
        agent = self.agent
        comm = await connect(worker.scheduler.address, **worker.connection_args)
        stream = attach.Stream(comm, agent.on_head_message)
        info = {**agent.info(), **self.extra, "is_head": self.is_head, "worker": worker.address}
        info |= {"protocol": attach.PROTOCOL, "python": _PYTHON, "rayjup": __version__}
        if agent.joined.is_set():
            info["report"] = pickle.dumps(agent.to_head.report(), 5)
        agent.to_head.send = stream.send  # at once: what happens from now on is not in the report
        await comm.write({"op": attach.OP, "reply": False, "info": info})
        self._task = asyncio.ensure_future(self._serve(stream, agent))

    async def _serve(self, stream: attach.Stream, agent: NodeAgent) -> None:
        try:
            await stream.run()
        except CommClosedError:
            pass
        agent.to_head.lost()
        self.head_ended.set()
        if not self.survives:
            agent.head_lost()

    async def teardown(self, worker: Worker) -> None:
        if hasattr(self, "_task"):
            self._task.cancel()
            self.agent.to_head.lost()
        if hasattr(self, "agent") and not self.survives:
            await self.agent.close()
            if self.session_dir is None:
                remove_unless_used(self.agent.session_dir)


def resources_of(worker: Worker) -> dict[str, float]:
    """What a Dask worker that was started by others offers.

    Its own ``--resources`` where they name CPU, GPU or memory; else its threads, the GPUs of the
    machine and its memory limit.
    """
    declared = {str(k): float(v) for k, v in worker.state.total_resources.items()}
    memory = float(worker.memory_manager.memory_limit or psutil.virtual_memory().total)
    return complete_resources(declared, float(worker.state.nthreads), memory)


def complete_resources(
    declared: dict[str, float], cpus: float, memory: float, object_store_memory: float | None = None
) -> dict[str, float]:
    """Fill in what was not declared: CPUs, GPUs found, memory, object store (30 % of memory)."""
    out = dict(declared)
    out.setdefault("CPU", cpus)
    if "GPU" not in out:
        found = Sampler().gpu_count
        if found:
            out["GPU"] = float(found)
    if object_store_memory is None:
        object_store_memory = default_capacity(memory, shm_free())
    out.setdefault("object_store_memory", float(int(object_store_memory)))
    out.setdefault("memory", float(int(memory - out["object_store_memory"])))
    return out


def new_cluster_id() -> str:
    """A short unique id."""
    return f"rj-{uuid.uuid4().hex[:8]}"
