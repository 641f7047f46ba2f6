"""The executor processes of a node, and the zygotes they are forked from."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import subprocess
import time
from typing import Any

from rayjup.engine.lane.peer import Message
from rayjup.engine.node import environment_build as build
from rayjup.engine.node.connection import Connection
from rayjup.engine.node.environments import Environments
from rayjup.engine.node.zygotes import Zygote, spawn_zygote

logger = logging.getLogger(__name__)

Key = tuple[bytes, tuple[int, ...], str]
"""What an idle executor may be used for: its job, the GPUs it sees, its runtime environment."""

_IDLE_S = 20.0  # surplus executors are kept this long: what they have imported is worth something
_MOST_IDLE = 16  # and no more of them than this beyond those that are kept
_ZYGOTE_S = 60.0  # a zygote that nobody uses is kept this long
_REPORT_S = 0.5  # longest wait for the exit code of a process whose connection has ended


class ExecutorProcess:
    """One executor: being forked, idle, leased, or an actor's."""

    def __init__(self, key: Key, token: int) -> None:
        self.key = key
        self.token = token
        self.pid = 0
        self.forked = time.time()
        self.address = ""
        self.connection: Connection | None = None
        self.ready: asyncio.Future[ExecutorProcess] = asyncio.get_running_loop().create_future()
        self.lease_id: str | None = None
        self.actor_id: bytes | None = None
        self.actor_ready = False  # its constructor is done
        self.held: tuple[Any, Any, float] | None = None  # shape, GPUs and CPUs of the lease
        self.idle_since = 0.0
        self.ended = False
        self.expected = ""  # why it is about to end, when we asked for it
        self.failure = ""  # why such an executor cannot be, if that is why it ended
        self.failure_kind = "env"  # or "start": it is not the environment's fault
        self.began = time.monotonic()
        self.zygote: Zygote | None = None
        self.doomed = False  # it is to be ended as soon as we know what to end
        self.asker: tuple[str, int] | None = None  # client and pool of the lease
        self.told = False  # whoever asked for it has heard of it
        self.retired = False  # it may be given no more calls
        self.restartable = False  # an actor that would be made again
        self.hooked = False  # it runs a setup hook before it is ready


class Executors:
    """Forks, keeps and ends executors.

    Parameters
    ----------
    agent_path, log_dir
        The agent's socket, and where executors write their logs.
    keep
        How many idle executors are kept.
    on_ended
        Called with an executor whose process has ended.
    """

    def __init__(
        self, agent_path: str, log_dir: str, keep: int, environments: Environments, on_ended: Any
    ) -> None:
        self.agent_path = agent_path
        self.log_dir = log_dir
        self.keep = keep
        self.environments = environments
        self.on_ended = on_ended
        self.jobs: dict[bytes, dict[str, Any]] = {}
        self.all: dict[int, ExecutorProcess] = {}  # by token
        self.by_pid: dict[int, ExecutorProcess] = {}
        self._idle: dict[Key, list[ExecutorProcess]] = {}
        self._tokens = itertools.count(1)
        self._zygotes: dict[build.Zygote | None, Zygote] = {}  # None: the node's own
        self._zygote_numbers = itertools.count(1)
        self._ending: list[Zygote] = []
        self._closing = False

    # -- zygotes

    def adopt_zygote(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        """Use a zygote that was started before the agent."""
        self._zygotes[None] = Zygote(
            process, sock, f"{self.log_dir}/zygote.log", self._on_zygote, self._on_zygote_end
        )

    def start_zygote(self) -> None:
        """Start a zygote of our own."""
        self.adopt_zygote(*spawn_zygote(self.log_dir))

    def _zygote(self, kind: build.Zygote | None) -> Zygote:
        """The zygote of this kind, started if there is none; OSError when it cannot be started."""
        found = self._zygotes.get(kind)
        if found is not None and not found.ended:
            return found
        if kind is None:
            self.start_zygote()
        else:
            name = f"zygote-{next(self._zygote_numbers)}-{os.getpid()}.log"
            process, sock = spawn_zygote(self.log_dir, kind.command, dict(kind.variables), name)
            self._zygotes[kind] = Zygote(
                process, sock, f"{self.log_dir}/{name}", self._on_zygote, self._on_zygote_end
            )
        return self._zygotes[kind]

    def _on_zygote(self, zygote: Zygote, message: Message) -> None:
        if message[0] == "forked":
            process = self.all.get(message[1])
            if process is not None:
                process.pid = message[2]
                self.by_pid[message[2]] = process
                if process.doomed:  # it was to be ended before we knew what to end
                    self.kill(process, process.expected)
        elif message[0] == "ended":
            ended = self.by_pid.pop(message[1], None)
            if ended is not None:
                self._on_executor_end(ended, message[2])

    def _on_zygote_end(self, zygote: Zygote) -> None:
        own = self._zygotes.get(None) is zygote
        self._zygotes = {kind: other for kind, other in self._zygotes.items() if other is not zygote}
        if self._closing:
            return
        code = zygote.process.returncode
        failure = ""
        killed = not zygote.warm and code == -signal.SIGKILL  # that says nothing about the next one
        if not zygote.warm and not killed:
            failure = f"its Python ended with code {code} while it started:\n{zygote.last_lines()}"
        if own:
            logger.warning("the zygote ended unexpectedly, and its executors end with it. %s", failure)
        for process in list(self.all.values()):
            if process.zygote is zygote:
                process.failure = process.failure or failure
                process.failure_kind = "start" if own else "env"
                if not killed:
                    process.began = 0.0  # it could do nothing about it
                self._on_executor_end(process, -signal.SIGKILL)
        if own and zygote.warm:  # else the next executor that is needed starts one
            self.start_zygote()

    # -- executors

    def fork(self, key: Key) -> ExecutorProcess:
        """A new executor for ``key``; its ``ready`` resolves once it has connected."""
        process = ExecutorProcess(key, next(self._tokens))
        self.all[process.token] = process
        built = self.environments.built(key[2])
        if built is not None:
            self.environments.use(key[2])
            self._fork(process, built)
            return process

        def ready(future: asyncio.Future[build.Built]) -> None:
            if process.ended:
                return
            error = future.exception()
            if error is not None:
                process.failure = str(error)
                self._on_executor_end(process, None)
            else:
                self._fork(process, future.result())

        self.environments.build(key[2], key[0]).add_done_callback(ready)
        self.environments.use(key[2])
        return process

    def _fork(self, process: ExecutorProcess, built: build.Built) -> None:
        job_id, gpus, environment = process.key
        config = {
            "agent_path": self.agent_path,
            "job_id": job_id,
            "job": self.jobs.get(job_id, {}),
            "log_path": f"{self.log_dir}/executor-{process.token}-{os.getpid()}.log",
            "env": {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {},
            "environment": built.wire(environment) if environment else None,
            "token": process.token,
        }
        process.hooked = bool(built.hook)
        for _ in range(2):
            try:
                zygote = self._zygote(built.zygote)
            except OSError as error:
                process.failure = f"its Python cannot be started: {error}"
                break
            if zygote.fork(process.token, config):
                process.zygote = zygote
                zygote.users += 1
                return
            self._zygotes.pop(built.zygote, None)  # it has just died
            self._ending.append(zygote)
        asyncio.get_running_loop().call_soon(self._on_executor_end, process, None)

    def acquire(self, key: Key) -> ExecutorProcess:
        """An idle executor for ``key``, or a new one."""
        idle = self._idle.get(key)
        while idle:
            process = idle.pop()
            if not process.ended:
                process.told = False
                return process
        return self.fork(key)

    def prestart(self, key: Key, count: int) -> None:
        """Have ``count`` executors warm for a job that just began."""
        for _ in range(count):
            self._idle.setdefault(key, []).append(self.fork(key))

    def connected(self, token: int, connection: Connection, pid: int, address: str) -> ExecutorProcess | None:
        """An executor said hello."""
        process = self.all.get(token)
        if process is None or process.ended:
            return None
        process.connection = connection
        process.pid = pid
        self.by_pid[pid] = process
        process.address = address
        if not process.hooked:
            self.is_ready(process)
        return process

    def is_ready(self, process: ExecutorProcess) -> None:
        """It can be given calls."""
        if not process.ready.done():
            process.ready.set_result(process)

    def give_back(self, process: ExecutorProcess) -> None:
        """A lease ended: the executor is idle again."""
        process.lease_id = None
        if process.ended or process.retired:
            return
        process.idle_since = time.monotonic()
        self._idle.setdefault(process.key, []).append(process)
        if sum(map(len, self._idle.values())) > self.keep + _MOST_IDLE:
            self._end_oldest(1)

    def retire(self, process: ExecutorProcess | None) -> None:
        """An executor has run its function as often as it may: nobody gets it any more."""
        if process is not None:
            process.retired = True
            process.expected = "its function may be called no more often (max_calls)"
            idle = self._idle.get(process.key, [])
            if process in idle:
                idle.remove(process)

    def _end_oldest(self, count: int, idle_before: float = float("inf")) -> None:
        idle = sorted(
            (p for group in self._idle.values() for p in group if p.connection is not None),
            key=lambda p: p.idle_since,
        )
        for process in idle[:count]:
            if process.idle_since < idle_before and process.connection is not None:
                self._idle[process.key].remove(process)
                if not self._idle[process.key]:
                    del self._idle[process.key]
                process.connection.post(("exit",))

    def trim(self, now: float) -> None:
        """End idle executors beyond the number kept, those idle longest first, and zygotes without any."""
        idle = sum(p.connection is not None for group in self._idle.values() for p in group)
        if idle > self.keep:
            self._end_oldest(idle - self.keep, now - _IDLE_S)
        for kind, zygote in list(self._zygotes.items()):
            if kind is not None and not zygote.users and now - zygote.unused_since > _ZYGOTE_S:
                del self._zygotes[kind]
                zygote.close()
                self._ending.append(zygote)
        self._ending = [zygote for zygote in self._ending if zygote.process.poll() is None]
        self.environments.trim(now)

    def kill(self, process: ExecutorProcess, why: str) -> None:
        """End an executor at once."""
        process.expected = process.expected or why
        process.doomed = True
        if process.ended:
            return
        if process.pid:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was faster
        elif process.zygote is None:  # its environment is being built
            self._on_executor_end(process, None)

    def end_job(self, job_id: bytes, spare: set[bytes]) -> None:
        """End all executors of a job, except those of the (detached) actors in ``spare``."""
        for key in [k for k in self._idle if k[0] == job_id]:
            del self._idle[key]
        for process in list(self.all.values()):
            if process.key[0] == job_id and process.actor_id not in spare:
                self.kill(process, "its job has ended")

    def lost(self, process: ExecutorProcess) -> None:
        """The connection of an executor ended: its process is ending or hangs; see that it ends."""
        if not process.ended:
            self.kill(process, process.expected)
            # The zygote is about to say how it ended; should it not, the end is reported without.
            asyncio.get_running_loop().call_later(_REPORT_S, self._on_executor_end, process, None)

    def _on_executor_end(self, process: ExecutorProcess, code: int | None) -> None:
        if process.ended:
            return
        process.ended = True
        self.all.pop(process.token, None)
        group = self._idle.get(process.key)
        if group and process in group:
            group.remove(process)
        self.environments.unuse(process.key[2])
        if process.zygote is not None:
            process.zygote.users -= 1
            process.zygote.unused_since = time.monotonic()
        if not process.ready.done():
            process.ready.set_exception(
                ConnectionError(f"the executor ended with code {code} before it was ready")
            )
            process.ready.exception()  # seen: nobody may be waiting for it
        self.on_ended(process, code)

    async def close(self) -> None:
        """End all executors and the zygote."""
        self._closing = True
        for process in list(self.all.values()):
            self.kill(process, "the node is stopping")
        await self.environments.close()
        zygotes = [*self._zygotes.values(), *self._ending]
        for zygote in zygotes:
            zygote.close()
        for zygote in zygotes:
            await asyncio.get_running_loop().run_in_executor(None, zygote.wait)
