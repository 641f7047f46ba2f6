"""The executor processes of a node, and the zygote they are forked from."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from rayjup.engine.lane.frames import FrameReader, encode
from rayjup.engine.node.connection import Connection

logger = logging.getLogger(__name__)

Key = tuple[bytes, tuple[int, ...]]
"""What an idle executor may be used for: its job and the GPUs it sees."""

_IDLE_S = 20.0  # surplus executors are kept this long: what they have imported is worth something

_REPORT_S = 0.5  # longest wait for the exit code of a process whose connection has ended
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class ExecutorProcess:
    """One executor: being forked, idle, leased, or an actor's."""

    def __init__(self, key: Key, token: int) -> None:
        self.key = key
        self.token = token
        self.pid = 0
        self.address = ""
        self.connection: Connection | None = None
        self.ready: asyncio.Future[ExecutorProcess] = asyncio.get_running_loop().create_future()
        self.lease_id: str | None = None
        self.actor_id: bytes | None = None
        self.idle_since = 0.0
        self.ended = False
        self.retired = False  # runs nothing any more and will end by itself
        self.expected = ""  # why it is about to end, when we asked for it


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

    def __init__(self, agent_path: str, log_dir: str, keep: int, on_ended: Any) -> None:
        self.agent_path = agent_path
        self.log_dir = log_dir
        self.keep = keep
        self.on_ended = on_ended
        self.jobs: dict[bytes, dict[str, Any]] = {}
        self.all: dict[int, ExecutorProcess] = {}  # by token
        self.by_pid: dict[int, ExecutorProcess] = {}
        self._idle: dict[Key, list[ExecutorProcess]] = {}
        self._tokens = itertools.count(1)
        self._reader = FrameReader()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._closing = False

    # -- the zygote

    def adopt_zygote(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        """Use a zygote that was started before the agent."""
        self._zygote = process
        sock.setblocking(False)
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_zygote)

    def start_zygote(self) -> None:
        """Start a zygote of our own."""
        self.adopt_zygote(*spawn_zygote(self.log_dir))

    def _on_zygote(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._on_zygote_end()
            return
        for message in self._reader.feed(memoryview(data)):
            if message[0] == "forked":
                process = self.all.get(message[1])
                if process is not None:
                    process.pid = message[2]
                    self.by_pid[message[2]] = process
            else:
                ended = self.by_pid.pop(message[1], None)
                if ended is not None:
                    self._on_executor_end(ended, message[2])

    def _on_zygote_end(self) -> None:
        assert self._sock is not None and self._zygote is not None
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        self._sock = None
        self._zygote.wait()
        if self._closing:
            return
        logger.warning("the zygote ended unexpectedly; its executors end with it and a new one is started")
        for process in list(self.all.values()):
            self._on_executor_end(process, -signal.SIGKILL)
        self._reader = FrameReader()
        self.start_zygote()

    # -- executors

    def fork(self, key: Key) -> ExecutorProcess:
        """A new executor for ``key``; its ``ready`` resolves once it has connected."""
        job_id, gpus = key
        process = ExecutorProcess(key, next(self._tokens))
        self.all[process.token] = process
        job = self.jobs.get(job_id, {})
        env = dict(job.get("env", {}))
        if gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        assert self._sock is not None and self._zygote is not None
        config = {
            "parent": self._zygote.pid,
            "agent_path": self.agent_path,
            "job_id": job_id,
            "job": job,
            "log_path": f"{self.log_dir}/executor-{process.token}-{os.getpid()}.log",
            "env": env,
            "token": process.token,
        }
        self._sock.setblocking(True)
        try:
            self._sock.sendall(encode([("fork", process.token, config)]))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the zygote has just died: when we read that, this executor ends with the others
        finally:
            self._sock.setblocking(False)
        return process

    def acquire(self, key: Key) -> ExecutorProcess:
        """An idle executor for ``key``, or a new one."""
        idle = self._idle.get(key)
        while idle:
            process = idle.pop()
            if not process.ended:
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
        if not process.ready.done():
            process.ready.set_result(process)
        return process

    def give_back(self, process: ExecutorProcess) -> None:
        """A lease ended: the executor is idle again."""
        process.lease_id = None
        if process.ended or process.retired:
            return
        process.idle_since = time.monotonic()
        self._idle.setdefault(process.key, []).append(process)

    def retire(self, process: ExecutorProcess | None) -> None:
        """An executor has run its function as often as it may: nobody gets it any more."""
        if process is not None:
            process.retired = True
            process.expected = "its function may be called no more often (max_calls)"
            idle = self._idle.get(process.key, [])
            if process in idle:
                idle.remove(process)

    def trim(self, now: float) -> None:
        """End idle executors beyond the number kept, those idle longest first."""
        idle = sorted(
            (p for group in self._idle.values() for p in group if p.connection is not None),
            key=lambda p: p.idle_since,
        )
        for process in idle[: max(0, len(idle) - self.keep)]:
            if now - process.idle_since > _IDLE_S and process.connection is not None:
                self._idle[process.key].remove(process)
                process.connection.post(("exit",))

    def kill(self, process: ExecutorProcess, why: str) -> None:
        """End an executor at once."""
        process.expected = process.expected or why
        if process.pid and not process.ended:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it was faster

    def end_job(self, job_id: bytes, spare: set[bytes]) -> None:
        """End all executors of a job, except those of the (detached) actors in ``spare``."""
        for key in [k for k in self._idle if k[0] == job_id]:
            del self._idle[key]
        for process in list(self.all.values()):
            if process.key[0] == job_id and process.actor_id not in spare:
                if process.pid:
                    self.kill(process, "its job has ended")
                else:
                    process.ready.add_done_callback(
                        lambda done: (
                            self.kill(done.result(), "its job has ended")
                            if not done.cancelled() and done.exception() is None
                            else None
                        )
                    )

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
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
        if self._zygote is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._wait_zygote)

    def _wait_zygote(self) -> None:
        assert self._zygote is not None
        try:
            self._zygote.wait(3.0)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()


def spawn_zygote(log_dir: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a zygote process; it and our end of its socket."""
    ours, theirs = socket.socketpair()
    env = clean_environment()
    with open(f"{log_dir}/zygote.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rayjup.engine.executor.zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )
    theirs.close()
    return process, ours


def clean_environment() -> dict[str, str]:
    """The environment for executors: one thread per call in numeric libraries, as in Ray.

    Several executors with as many threads each as there are cores slow each other down; a lease
    with more CPUs raises the number (see :mod:`rayjup.engine.executor.threads`). What the user
    has set stays; what a Dask nanny sets for its worker alone does not.
    """
    env = dict(os.environ)
    if env.get("MALLOC_TRIM_THRESHOLD_") == "65536":
        del env["MALLOC_TRIM_THRESHOLD_"]
    for name in _THREAD_VARIABLES:
        env.setdefault(name, "1")
    package_root = os.path.dirname(
        os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    )
    paths = env.get("PYTHONPATH", "").split(os.pathsep) if env.get("PYTHONPATH") else []
    if package_root not in sys.path[1:] or package_root in paths:
        env["PYTHONPATH"] = os.pathsep.join([package_root, *[p for p in paths if p != package_root]])
    return env
