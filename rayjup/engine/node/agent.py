"""The node agent: lives in a Dask worker's event loop and serves the processes of its machine.

It starts executors as leases are granted, keeps the account of the node's shared memory, passes
messages between local processes and the head, and cleans up after whoever dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rayjup.engine.node.connection import Connection, Message
from rayjup.engine.node.environments import Environments
from rayjup.engine.node.executors import ExecutorProcess, Executors
from rayjup.engine.node.head_link import HeadLink
from rayjup.engine.node.last_lines import LastLines
from rayjup.engine.node.memory import MemoryWatch
from rayjup.engine.node.neighbours import Neighbours
from rayjup.engine.node.packages import CLIENT as PACKAGES
from rayjup.engine.node.packages import Packages
from rayjup.engine.node.reports import NodeReports
from rayjup.engine.node.room import Room, Stored
from rayjup.engine.node.samples import Sampler
from rayjup.engine.node.starts import Starts
from rayjup.engine.node.store_place import StorePlace
from rayjup.engine.transfer.pulls import CLIENT as PULLS

logger = logging.getLogger(__name__)

_SAMPLE_S = 1.0
CHANNEL = "-channel-"  # in the names of files that are no objects


class NodeAgent:
    """One per node.

    Parameters
    ----------
    node_id
        28 random bytes in hexadecimal.
    session_dir
        Directory (mode 0700) for sockets and logs; its path must be short.
    resources
        What the node offers, with ``"CPU"``, ``"GPU"``, ``"memory"``, ``"object_store_memory"``.
    settings
        What ``_system_config`` says.
    host
        Declares another host than this one; None: this one.
    """

    def __init__(
        self,
        node_id: str,
        session_dir: str,
        resources: dict[str, float],
        name: str,
        settings: dict[str, Any] | None = None,
        host: str | None = None,
    ) -> None:
        self.node_id = node_id
        self.session_dir = session_dir
        self.resources = resources
        self.name = name
        self.labels: dict[str, str] = {"ray.io/node-id": node_id}
        self.to_head = HeadLink(self)
        self.socket_dir = f"{session_dir}/{node_id[:8]}"
        self.agent_path = f"{self.socket_dir}/agent.sock"
        self.log_dir = f"{session_dir}/logs"
        capacity = int(resources.get("object_store_memory", 0))
        self.place = StorePlace.choose(node_id, session_dir, capacity, settings or {})
        self.store_dir = self.place.store
        self.host = host or host_id()
        self.neighbours = Neighbours(self, settings or {})
        self.clients: dict[str, Connection] = {}
        self.last_lines = LastLines()
        self.observers: set[Connection] = set()
        self.leases: dict[str, ExecutorProcess] = {}
        self.actors: dict[bytes, ExecutorProcess] = {}
        self.past_tasks: dict[str, list[int]] = {}  # counts of processes that are gone
        self.sampler = Sampler()
        self.packages = Packages(self)
        self.environments = Environments(
            f"{self.socket_dir}/env", self.log_dir, self._tell_environments, self.packages
        )
        self.executors = Executors(
            self.agent_path,
            self.log_dir,
            max(2, int(resources.get("CPU", 1))),
            self.environments,
            self._on_executor_end,
        )
        self.starts = Starts(self)
        self._server: asyncio.Server | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._pace = 0.0  # seconds between samples, as the head wants them
        self._watching: asyncio.Task[None] | None = None
        self._closed = False
        self.memory = MemoryWatch(self)
        self.room = Room(
            capacity,
            self._tell_client,
            lambda: list(self.clients),
            lambda seconds, function: asyncio.get_running_loop().call_later(seconds, function),
            self._files,
            ("store_spill", node_id[:12], self.store_dir, self.place.disk)
            if self.place.disk is not None
            else None,
            self.neighbours.pulls.evict,
        )
        self.joined = asyncio.Event()  # the head has this node
        self.cluster: dict[str, str] = {}  # its id and name, once the head has said them
        self.refused = ""  # why it has not
        self.told_to_end = False  # by the head, which then tidies up after all nodes
        self.ops: dict[str, Callable[..., Any]] = {"node_info": lambda connection: self._welcome()}
        self.reports = NodeReports(self)
        self._head_collect = self.reports.ask

    # -- life

    def prepare(self) -> None:
        """Make the directories."""
        with _alone(self.session_dir):
            for directory in (self.session_dir, self.socket_dir, self.log_dir, *self.place.directories()):
                os.makedirs(directory, mode=0o700, exist_ok=True)
                os.chmod(directory, 0o700)
            for directory in (*self.place.directories(), self.socket_dir):
                Path(directory, "owner").write_text(str(os.getpid()), encoding="utf-8")

    async def start(self) -> None:
        """Serve local processes."""
        for directory in self.place.directories():
            name = os.path.basename(directory)
            sweep_leftovers(os.path.dirname(directory), name[: name.rindex("-") + 1])
        for session in os.scandir(os.path.dirname(self.session_dir)):
            sweep_leftovers(session.path, "")
        loop = asyncio.get_running_loop()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(self.agent_path)
        os.chmod(self.agent_path, 0o600)
        self._server = await loop.create_unix_server(
            lambda: Connection(self._on_message, self._on_close), sock=server, backlog=512
        )
        self.packages.start()
        self._sampling = loop.create_task(self._sample_for_ever())
        self._watching = loop.create_task(self.memory.run())

    async def close(self) -> None:
        """End all processes of the node and remove its files."""
        if self._closed:
            return
        self._closed = True
        for task in (self._sampling, self._watching):
            if task is not None:
                task.cancel()
        if self._server is not None:
            self._server.close()
        await self.executors.close()
        self.neighbours.close()
        for connection in [*self.clients.values(), *self.observers]:
            connection.close()
        for directory in self.place.directories():
            shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def info(self) -> dict[str, Any]:
        """What the head needs to know of this node."""
        return {
            "node_id": self.node_id,
            "name": self.name,
            "host": socket.gethostname(),
            "host_id": host_id(),
            "lane_host": self.host,
            "endpoint": self.neighbours.place,
            "why_not": self.neighbours.why_not,
            "agent_path": self.agent_path,
            "socket_dir": self.socket_dir,
            "store_dir": self.store_dir,
            "resources": self.resources,
            "pid": os.getpid(),
            "session_dir": self.session_dir,
        }

    def _welcome(self) -> dict[str, Any]:
        return {
            "node_id": self.node_id,
            "session_dir": self.session_dir,
            "socket_dir": self.socket_dir,
            "store_dir": self.store_dir,
            "log_dir": self.log_dir,
            "host": self.host,
            "labels": self.labels,
            "disk": self.place.disk,
        }

    # -- local processes

    def _on_message(self, connection: Connection, message: Message) -> None:
        op = message[0]
        if op == "request":
            self._on_request(connection, *message[1:])
        elif op == "hello":
            self._on_hello(connection, *message[1:])
        elif op == "store_give_back":
            self.room.freed(message[1])
        elif op == "store_trimmed":
            self.room.trimmed(connection.client, *message[1:])
        elif op == "store_spilled":
            self._store_moved(connection, *message[1:])
        elif op == "repeatable" and message[1] == self.node_id:
            self.memory.on_repeatable(message[2], message[3])
        elif op == "store_held":
            self.room.hold(connection.client, message[1])
        elif op == "stats":
            connection.stats = (message[1], message[2])
        elif op in ("blocked", "unblocked"):
            connection.blocked = op == "blocked"
            self.to_head((op, connection.client, *message[1:]))
        elif op == "actor_ready":
            if connection.executor is not None:
                connection.executor.actor_ready = True
            self.to_head((op, connection.client, *message[1:]))
        elif op == "retired":
            self.executors.retire(connection.executor)
        elif op == "kill_executor":
            if not self._head_kill_executor(message[1]):
                self.to_head((op, connection.client, message[1]))
        elif op in ("hook_done", "hook_failed"):
            self.starts.on_hook(connection, *message)
        elif op == "lines_sent":
            self.last_lines.sent(connection, message[1])
        elif op == "log":
            self.to_head(("log", connection.job_id, *message[1:]))
        elif op in self.neighbours.handlers:
            self.neighbours.handlers[op](connection, *message[1:])
        elif op in self.reports.handlers:
            self.reports.handlers[op](connection, *message[1:])
        else:
            self.to_head((op, connection.client, *message[1:]))

    def _on_hello(
        self,
        connection: Connection,
        kind: str,
        worker_id: bytes,
        job_id: bytes,
        pid: int,
        job: dict[str, Any] | None,
    ) -> None:
        connection.kind = kind
        connection.pid = pid
        connection.worker_id = worker_id
        connection.since = time.time()
        connection.client = worker_id[:8].hex()
        if kind == "observer":
            self.observers.add(connection)
            connection.post(("welcome", self._welcome()))
            return
        self.clients[connection.client] = connection
        if kind == "driver":
            job = connection.job = {**(job or {}), "packages_host": self.host}
            self.to_head(("driver", connection.client, pid, job))  # welcomed when the head knows it
            return
        address = f"{self.socket_dir}/w-{connection.client}.sock{self.neighbours.suffix}"
        process = self.executors.connected((job or {})["token"], connection, pid, address)
        if process is None:
            connection.close()
            return
        connection.job_id = job_id
        connection.executor = process
        self.to_head(("executor", connection.client, pid, job_id))
        connection.post(("welcome", {**self._welcome(), **self.neighbours.welcome()}))

    def _on_request(self, connection: Connection, request: int, op: str, payload: tuple[Any, ...]) -> None:
        if op == "store_reserve":
            self.room.reserve(connection.client, request, *payload)
            return
        if op == "last_lines":  # the answer comes by way of the head, behind the lines
            job = [c for c in self.clients.values() if c.kind == "executor" and c.job_id == connection.job_id]
            through = ("request", connection.client, request, "kv_get", ("", b""))
            self.last_lines.collect(job, lambda: self.to_head(through), *payload)
            return
        local = self.ops.get(op)
        if local is None:
            client = connection.client if connection.kind != "observer" else f"o{id(connection)}"
            self.to_head(("request", client, request, op, payload))
            return
        connection.post(("answer", request, True, local(connection, *payload)))

    def _on_close(self, connection: Connection) -> None:
        if connection in self.observers:
            self.observers.discard(connection)
            self.to_head.forget(f"o{id(connection)}")
        self.last_lines.left(connection)
        if self.clients.get(connection.client) is not connection:
            return
        del self.clients[connection.client]
        self.reports.closed(connection)
        for name, counts in connection.stats[0].items():  # what it did stays in the counts
            row = self.past_tasks.setdefault(name, [0, 0, 0, 0])
            row[2] += counts[2]
            row[3] += counts[3]
        if connection.executor is not None:
            self.executors.lost(connection.executor)
        self.room.left(connection.client, self._remove_files_of(connection.client))
        Path(self.socket_dir, f"w-{connection.client}.sock").unlink(missing_ok=True)  # where it was killed
        self.neighbours.client_left(connection.client)
        self.to_head.forget(connection.client)
        if not self._closed:
            self.to_head(("client_gone", connection.client))

    # -- shared memory

    def _files(self) -> tuple[list[Stored], int]:
        """Segments that could be moved to disk, and the bytes of all."""
        found = []
        total = 0
        pulls = self.neighbours.pulls
        for entry in os.scandir(self.store_dir) if os.path.isdir(self.store_dir) else ():
            if entry.is_file(follow_symlinks=False) and "-" in entry.name and CHANNEL not in entry.name:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # just freed
                total += status.st_size
                if entry.name not in pulls.copies and not entry.name.startswith("."):
                    found.append(Stored(entry.name, status.st_size, status.st_ctime))
        return found, total

    def own_objects(self) -> int:
        """How many objects, in memory or on disk, would be lost with this node."""
        return len(self._files()[0]) + self.place.on_disk()["store_spilled_objects"]

    def _ask_back(self) -> None:
        """Executors without work don't notice how long they have kept segments for the next call."""
        for connection in self.clients.values():
            if connection.kind == "executor":
                connection.post(("store_trim", -1))

    def _store_moved(self, connection: Connection, node: str, name: str, freed: int, written: int) -> None:
        if self.node_id.startswith(node):
            self.room.moved(name, freed, written)
        else:  # what the process owns there
            self.to_head(("store_spilled", connection.client, node, name, freed, written))

    def _remove_files_of(self, client: str) -> int:
        """Remove the objects of a process that is gone; how many bytes of shared memory that gave."""
        self.neighbours.pulls.owner_left(client)
        freed = 0
        orphans: dict[str, list[str]] = {}  # what it wrote for others, who may not know of it
        for directory in self.place.directories():
            for entry in os.scandir(directory) if os.path.isdir(directory) else ():
                if entry.name.startswith(client):
                    try:
                        status = entry.stat(follow_symlinks=False)
                        os.unlink(entry.path)
                    except FileNotFoundError:
                        continue  # given to somebody who freed it
                    if (
                        directory == self.store_dir
                        and stat.S_ISREG(status.st_mode)
                        and CHANNEL not in entry.name
                    ):
                        freed += status.st_size
                elif f"-{client}-" in entry.name and not entry.name.startswith("."):
                    orphans.setdefault(entry.name.split("-", 1)[0], []).append(entry.path)
        for owner, paths in orphans.items():
            self._tell_client(owner, ("store_orphans", client, paths, self.host))
        return freed

    # -- messages from the head

    def on_head_message(self, message: Message) -> None:
        """Do what the head says."""
        handler = getattr(self, f"_head_{message[0]}")
        handler(*message[1:])

    def _head_job(self, job_id: bytes, config: dict[str, Any]) -> None:
        self.executors.jobs[job_id] = config

    def _head_driver_welcome(self, client: str, job_id: bytes) -> None:
        connection = self.clients.get(client)
        if connection is None:
            return
        connection.job_id = job_id
        connection.job = None
        connection.post(("welcome", {**self._welcome(), **self.neighbours.welcome(), "job_id": job_id}))
        for text in self.place.warnings:
            connection.post(("warning", text))
        self.starts.prestart(job_id)

    def _head_grant(
        self,
        lease_id: str,
        client: str,
        pool_id: int,
        job_id: bytes,
        gpus: tuple[tuple[int, float], ...],
        resources: dict[str, float],
        shape: Any,
    ) -> None:
        process = self.executors.acquire((job_id, tuple(index for index, _ in gpus), shape.env))
        process.lease_id = lease_id
        process.held = (shape, gpus, resources.get("CPU", 0.0))
        process.asker = (client, pool_id)
        self.leases[lease_id] = process
        lease = {"id": lease_id, "gpus": gpus, "resources": resources}

        def ready(future: asyncio.Future[ExecutorProcess]) -> None:
            if future.exception() is not None or self.leases.get(lease_id) is not process:
                return  # the end of the process is reported on its own
            assert process.connection is not None
            process.told = True
            process.connection.post(("lease", lease))
            self._tell_client(client, ("grant", pool_id, lease_id, process.address))

        if process.ready.done():
            ready(process.ready)
        else:
            process.ready.add_done_callback(ready)

    def _head_released(self, lease_id: str, broken: bool) -> None:
        process = self.leases.pop(lease_id, None)
        if process is None or process.actor_id is not None:
            return
        if broken:  # it is dying, though we have not heard of it yet: nobody may get it
            process.lease_id = None
            self.executors.lost(process)
        else:
            self.executors.give_back(process)

    def _head_revoke(self, lease_id: str, reason: str) -> None:
        process = self.leases.pop(lease_id, None)
        if process is not None:
            if not process.told and process.asker is not None:
                client, pool_id = process.asker
                self._tell_client(client, ("grant", pool_id, lease_id, ""))  # there is none, in the end
            self.executors.kill(process, reason)

    def _head_actor_start(
        self,
        actor_id: bytes,
        spec: dict[str, Any],
        payload: bytes,
        lease_id: str,
        job_id: bytes,
        gpus: tuple[tuple[int, float], ...],
        resources: dict[str, float],
    ) -> None:
        key = (job_id, tuple(index for index, _ in gpus), spec["shape"].get("env", ""))
        process = self.executors.acquire(key)
        process.lease_id = lease_id
        process.actor_id = actor_id
        process.restartable = bool(spec.get("max_restarts"))
        process.held = (spec["shape"], gpus, resources.get("CPU", 0.0))
        self.leases[lease_id] = process
        self.actors[actor_id] = process

        def ready(future: asyncio.Future[ExecutorProcess]) -> None:
            if future.exception() is not None or process.ended:
                return  # the end of the process is reported on its own
            assert process.connection is not None
            process.told = True
            lease = {"id": lease_id, "gpus": gpus, "resources": resources}
            process.connection.post(("create", actor_id, spec, payload, lease))
            self.to_head(("actor_placed", actor_id, process.pid, process.address))

        if process.ready.done():
            ready(process.ready)
        else:
            process.ready.add_done_callback(ready)

    def _head_actor_kill(self, actor_id: bytes, why: str) -> None:
        process = self.actors.get(actor_id)
        if process is None:
            return
        process.expected = why
        self.executors.kill(process, why)

    def _head_kill_executor(self, address: str) -> bool:
        found = [process for process in self.executors.all.values() if process.address == address]
        for process in found:
            self.executors.kill(process, "its call was cancelled by force")
        return bool(found)

    def _head_to_client(self, client: str, message: Message) -> None:
        self._tell_client(client, message)

    def _head_client_gone(self, client: str) -> None:
        self.room.left(client, self._remove_files_of(client))  # what processes of this node wrote for it

    def _head_store_freed(self, nbytes: int) -> None:
        self.room.freed(nbytes)

    def _head_store_spilled(self, name: str, freed: int, written: int) -> None:
        self.room.moved(name, freed, written)

    def _head_repeatable(self, token: int, repeatable: bool) -> None:
        self.memory.on_repeatable(token, repeatable)

    def _head_end_job(self, job_id: bytes, spare: set[bytes]) -> None:
        self.executors.end_job(job_id, spare)
        if not spare:
            self.executors.jobs.pop(job_id, None)

    def _head_joined(self, token: bytes = b"", *more: Any) -> None:
        self.neighbours.joined(token, *more)
        if self.joined.is_set():
            self.to_head.again()
        self.joined.set()

    def _head_refused(self, why: str) -> None:
        self.refused = why
        logger.error("this node is not taken into the cluster: %s", why)
        self.on_shutdown()

    def _head_cluster(self, cluster: dict[str, str]) -> None:
        self.cluster = cluster

    def _head_pace(self, seconds: float) -> None:
        self._pace = seconds

    def _head_kept(self, number: int) -> None:
        self.to_head.arrived(number)

    def _head_shutdown(self) -> None:
        self.told_to_end = True
        for connection in self.clients.values():
            if connection.kind == "driver":
                connection.close()
        self.on_shutdown()

    def on_shutdown(self) -> None:
        """Replaced by whoever runs the agent: the head wants this node to end."""

    def _tell_client(self, client: str, message: Message) -> None:
        if client == PULLS:
            self.neighbours.pulls.on_room(message[1], message[3])
            return
        if message[0] == "answer":
            self.to_head.answered(client, message[1])
        if client == PACKAGES:
            self.packages.on_answer(message[1], message[3])
            return
        connection = self.clients.get(client)
        if connection is None and client.startswith("o"):
            connection = next((o for o in self.observers if f"o{id(o)}" == client), None)
        if connection is not None:
            connection.post(message)
        elif not client.startswith("o"):
            self.to_head(("relay", client, message))

    def head_lost(self) -> None:
        """The head is gone: nothing can be asked of it any more."""
        for connection in list(self.clients.values()):
            if connection.kind == "driver":
                connection.close()
        self.on_shutdown()

    # -- ends and samples

    def _on_executor_end(self, process: ExecutorProcess, code: int | None) -> None:
        if self._closed:
            return
        self.reports.ended(process, code)
        if process.lease_id is not None:
            self.leases.pop(process.lease_id, None)
        if self.starts.failed(process, code):
            return
        if process.actor_id is not None:
            self.actors.pop(process.actor_id, None)
            self.to_head(("actor_ended", process.actor_id, process.lease_id, code, process.expected))
        elif process.lease_id is not None:
            self.to_head(("executor_ended", process.lease_id, code, process.expected))
        if process.connection is not None:
            process.connection.close()

    def _tell_environments(self) -> None:
        self.to_head(("environments", self.environments.rows()))

    async def _sample_for_ever(self) -> None:
        passed = 0.0
        while True:
            await asyncio.sleep(_SAMPLE_S)
            self.executors.trim(time.monotonic())
            self.neighbours.pulls.trim()
            sample = self.sample()
            if sample["store_own"] and not self.leases:
                self._ask_back()
            if (passed := passed + _SAMPLE_S) < self._pace:
                continue
            passed = 0.0
            self.to_head(("sample", sample, self.to_head.unconfirmed))

    def sample(self) -> dict[str, Any]:
        """The node's measurements and what its processes report of their calls."""
        tasks = {name: list(counts) for name, counts in self.past_tasks.items()}
        pending: dict[bytes, int] = {}
        for connection in self.clients.values():
            for name, counts in connection.stats[0].items():
                row = tasks.setdefault(name, [0, 0, 0, 0])
                for index, count in enumerate(counts):
                    row[index] += count
            for actor_id, count in connection.stats[1].items():
                pending[actor_id] = pending.get(actor_id, 0) + count
        return {
            **self.sampler.sample(),
            "store_used": self.room.used,
            "store_capacity": self.room.capacity,
            "store_objects": sum("-" in e.name and not e.is_symlink() for e in os.scandir(self.store_dir)),
            "store_own": self.own_objects(),
            "store_pulled_total": self.neighbours.pulls.pulled_bytes,
            **self.place.on_disk(),
            "store_spilled_total": self.room.counts.spilled_bytes,
            "executors": len(self.executors.all),
            "tasks": tasks,
            "actor_calls": pending,
            "environments": {e.key: e.users for e in self.environments.all.values()},
        }


def host_id() -> str:
    """Names this machine since its boot, and this mount namespace of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = os.readlink("/proc/self/ns/mnt")
    except OSError:
        return socket.gethostname()  # no /proc: one name per machine has to do
    return f"{boot}-{namespace}"


def sweep_leftovers(base: str, prefix: str) -> None:
    """Remove directories in ``base`` whose node is dead (logs of dead clusters stay)."""
    for entry in os.scandir(base) if os.path.isdir(base) else ():
        if not entry.name.startswith(prefix) or not entry.is_dir(follow_symlinks=False):
            continue
        pid = _owner(entry.path)  # None: no node's, or just being made or removed
        if pid is not None and not _runs(pid):
            shutil.rmtree(entry.path, ignore_errors=True)


def remove_unless_used(session_dir: str) -> bool:
    """Remove a session's directory unless a node of this machine uses it, be it one that is just starting.

    Whether it is gone.
    """
    with _alone(session_dir):
        if not os.path.isdir(session_dir):
            return True
        owners = [_owner(entry.path) for entry in os.scandir(session_dir)]
        if any(pid is not None and _runs(pid) for pid in owners):
            return False
        shutil.rmtree(session_dir, ignore_errors=True)
        return True


@contextlib.contextmanager
def _alone(session_dir: str) -> Iterator[None]:
    """No other process of this machine makes or removes a session's directory meanwhile."""
    parent = os.path.dirname(session_dir)
    os.makedirs(parent, mode=0o700, exist_ok=True)
    fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _owner(directory: str) -> int | None:
    try:
        return int(Path(directory, "owner").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(b")") + 2 :][:1] not in (b"Z", b"X")
