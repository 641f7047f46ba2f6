"""Drivers and executors, and the jobs that begin and end with drivers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine import leases as ls
from rayjup.engine.head import actors as ad
from rayjup.engine.head.tables import Client

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head


class Processes:
    """Belongs to one head."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._job_numbers = itertools.count(1)
        self.handlers: dict[str, Callable[..., None]] = {
            "driver": self.on_driver,
            "executor": self.on_executor,
            "resumed": self.on_resumed,
            "client_gone": self.on_client_gone,
        }

    def count_on(self) -> None:
        """Number jobs after those of the head before this one."""
        last = max((int.from_bytes(job_id, "big") for job_id in self._head.jobs), default=0)
        self._job_numbers = itertools.count(last + 1)

    def on_driver(self, node_id: str, client: str, pid: int, config: dict[str, Any] | None) -> None:
        """A program has connected: a job begins."""
        jobs = self._head.jobs
        theirs = [job_id for job_id, job in jobs.items() if job["client"] == client and "ended" not in job]
        if theirs:  # the head before this one has begun it, and its welcome was lost
            job_id = theirs[0]
        else:
            job_id = next(self._job_numbers).to_bytes(4, "big")
            times = {"started": time.time(), "pid": pid, "node_id": node_id}
            jobs[job_id] = {**(config or {}), "client": client, **times}
            self._head.saved.job(job_id)
            text = f"job {job_id.hex()} has begun"
            self._head.reports.event("INFO", "JOBS", text, job_id=job_id.hex(), pid=pid)
        self.enter(client, node_id, "driver", pid, job_id)
        self.tell_job(node_id, job_id)
        self._head.to_node(node_id, ("driver_welcome", client, job_id))
        self._head.on_driver_change(self.driver_count())

    def on_executor(self, node_id: str, client: str, pid: int, job_id: bytes) -> None:
        """A node has a new executor."""
        self.enter(client, node_id, "executor", pid, job_id)

    def enter(self, client: str, node_id: str, kind: str, pid: int, job_id: bytes) -> None:
        """Write down a process."""
        self._head.clients[client] = Client(client, node_id, kind, pid, job_id)

    def on_resumed(self, node_id: str, client: str, pools: list[Any]) -> None:
        """A process has told the head after another which leases it uses."""
        self._head.recovery.resumed(client, pools)

    def driver_count(self) -> int:
        """How many drivers are connected."""
        return sum(c.kind == "driver" for c in self._head.clients.values())

    def tell_job(self, node_id: str, job_id: bytes) -> None:
        """Have a node know a job before it gets work of it."""
        node = self._head.nodes.get(node_id)
        if node is not None and job_id not in node.jobs_known:
            node.jobs_known.add(job_id)
            node.send(("job", job_id, self._head.jobs.get(job_id, {})))

    def on_client_gone(self, node_id: str, client: str) -> None:
        """A node has lost a process."""
        self.gone(client)

    def gone(self, client: str) -> None:
        """A process is gone, with what belongs to it."""
        gone = self._head.clients.pop(client, None)
        if gone is None:
            return
        self._head.schedule(ls.ClientGone(client))
        self._head.groups.client_gone(client)
        self._head.late.drop_client(client)
        self._head.leasing.client_gone(client)
        for node_id in self._head.nodes:
            if node_id != gone.node_id:
                self._head.to_node(node_id, ("client_gone", client))
        for actor in list(self._head.actors.by_id.values()):
            actor.watchers.discard(client)
            if actor.creator == client and not actor.detached and actor.state != ad.DEAD:
                self._head.life.end(actor, "the process that created it is gone")
        if gone.kind == "driver":
            self.end_job(gone.job_id)
            self._head.on_driver_change(self.driver_count())

    def end_job(self, job_id: bytes) -> None:
        """A job's driver is gone: so is what belongs to it."""
        spare = self.detached_of(job_id)
        for actor in self._head.actors.of_job(job_id):
            if not actor.detached:
                self._head.life.end(actor, "its job has ended")
        job = self._head.jobs.get(job_id)
        if job is not None:
            job["ended"] = time.time()
            self._head.saved.job(job_id)
            self._head.reports.event("INFO", "JOBS", f"job {job_id.hex()} has ended", job_id=job_id.hex())
        self._head.groups.owner_gone()
        for node in self._head.nodes.values():
            node.send(("end_job", job_id, spare))

    def detached_of(self, job_id: bytes) -> set[bytes]:
        """The actors that outlive a job."""
        return {actor.id for actor in self._head.actors.of_job(job_id) if actor.detached}
