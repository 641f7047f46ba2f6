"""What nodes of a local cluster do when its head ends: the first one starts another, the others wait.

A head that keeps ending is given up, and the cluster ends with it, as it does with its first node.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from rayjup._version import __version__
from rayjup.cluster.descriptors import note_head, process_start_time
from rayjup.cluster.network import split

logger = logging.getLogger(__name__)

_MOST_ENDS = 5  # within
_ENDS_S = 60.0
_END_S = 2.0  # its sockets close a moment before it is no process any more
_START_S = 20.0
_FORK_S = 2.0
_WAIT_S = 30.0  # of other nodes
_GREETING_S = 2.0
_WHAT_IS_INSTALLED = (
    "from rayjup.engine.dask import attach; from rayjup import _version; "
    "print(attach.PROTOCOL, _version.__version__)"
)


def start_template(
    run_head: Callable[[int], NoReturn], at_end: Callable[[], None], closed: list[int]
) -> socket.socket:
    """Fork a process that waits, with everything imported, to become a head; how it is told to.

    It shares its memory with this process, sleeps, and ends when the socket is closed. For each file
    descriptor that it is sent it forks a head, which says there that it listens, and answers with a pid.
    ``at_end`` is called when the socket is closed, by whatever end of this process; ``closed`` are
    descriptors that it closes first: others wait for their end.
    """
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    ours.close()
    for fd in closed:
        os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to wait for them
    while True:
        data, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        if not data:
            at_end()
            os._exit(0)
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            theirs.close()
            run_head(fds[0])
        os.close(fds[0])
        theirs.send(str(pid).encode())


class Supervisor:
    """In the first node: starts the heads that follow the first one.

    Parameters
    ----------
    config
        Of the cluster, as :mod:`rayjup.cluster.boot` got it.
    pid
        Of the first head, a child of this process.
    template
        From :func:`start_template`. Should it be gone, heads are started without it.
    """

    def __init__(self, config: dict[str, Any], pid: int, template: socket.socket) -> None:
        self._template = template
        self._template.settimeout(_FORK_S)
        self._config = config
        self._pid = pid
        self._started = note_head(config["session_dir"], pid)
        self._process: subprocess.Popen[bytes] | None = None
        self._ends: list[float] = []
        self._installed = False  # the next head is to be what is installed now, not what we are
        self._looking: asyncio.Task[None] | None = None
        self.renewal: dict[str, str] = {"state": "none"}

    @property
    def head(self) -> list[Any]:
        """Pid and start time of the head."""
        return [self._pid, self._started]

    def renew(self) -> None:
        """Have the head replaced by one of what is installed now, if nodes can work with that.

        How far it is says ``renewal``.
        """
        if self._looking is None or self._looking.done():
            self.renewal = {"state": "looking"}
            self._looking = asyncio.ensure_future(self._look_and_renew())

    async def _look_and_renew(self) -> None:
        from rayjup.engine.dask.attach import PROTOCOL

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _WHAT_IS_INSTALLED),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, errors = await process.communicate()
        words = said.decode().split()
        if process.returncode or len(words) != 2:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            why = f"what is installed now does not start: {last[-500:]}"
        elif words[0] != str(PROTOCOL):
            why = (
                f"rayjup {words[1]} is installed now (protocol {words[0]}), and the nodes run rayjup "
                f"{__version__} (protocol {PROTOCOL}): they cannot work with such a head. Stop the cluster "
                "and start it again."
            )
        else:
            self.renewal = {"state": "ending", "version": words[1]}
            self._installed, self._ends = True, []
            os.kill(self._pid, signal.SIGKILL)  # as it would end by accident: all it knows is written down
            return
        self.renewal = {"state": "failed", "why": why}

    async def again(self) -> bool:
        """See that the old head is gone, and start another; False when that is given up."""
        await self._end_old()
        while True:
            now = time.monotonic()
            self._ends = [at for at in self._ends if now - at < _ENDS_S] + [now]
            if len(self._ends) > _MOST_ENDS:
                logger.error("the head ended %d times in %g s: the cluster ends", _MOST_ENDS, _ENDS_S)
                return False
            if await self._start():
                logger.warning("the head is started again after %.2f s", time.monotonic() - now)
                if self.renewal["state"] == "ending":
                    self.renewal["state"] = "done"
                return True
            await self._end_old()
            if self.renewal["state"] == "ending":
                self._installed = False
                why = "the new head did not start (cluster.log says why), and one as before was started"
                self.renewal = {"state": "failed", "why": why}

    async def _start(self) -> bool:
        read_fd = self._fork() if not self._installed else None
        if read_fd is None:
            read_fd = self._spawn()
        loop = asyncio.get_running_loop()
        said = asyncio.Event()
        loop.add_reader(read_fd, said.set)
        try:
            await asyncio.wait_for(said.wait(), _START_S)
            return bool(os.read(read_fd, 1))  # nothing: it has ended
        except asyncio.TimeoutError:
            return False
        finally:
            loop.remove_reader(read_fd)
            os.close(read_fd)

    def _fork(self) -> int | None:
        """Have a head forked; the descriptor on which it says that it listens, None if that fails."""
        read_fd, write_fd = os.pipe()
        try:
            socket.send_fds(self._template, [b"f"], [write_fd])
            answer = self._template.recv(20)
        except OSError:
            answer = b""
        finally:
            os.close(write_fd)
        if not answer:
            os.close(read_fd)
            return None
        self._process = None
        self._pid = int(answer)
        self._started = note_head(self._config["session_dir"], self._pid)
        return read_fd

    def _spawn(self) -> int:
        """Start a head without the template; the descriptor on which it says that it listens."""
        read_fd, write_fd = os.pipe()
        try:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "rayjup.cluster.boot", str(write_fd)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[write_fd],
            )
        finally:
            os.close(write_fd)
        self._pid, self._started = process.pid, note_head(self._config["session_dir"], process.pid)
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                pipe.write(json.dumps({**self._config, "role": "head"}).encode())
        except BrokenPipeError:
            pass  # it has ended, and says nothing
        return read_fd

    async def _end_old(self) -> None:
        if not await self._is_gone(_END_S):
            os.kill(self._pid, signal.SIGKILL)
            await self._is_gone(_END_S)
        self._reap()

    async def _is_gone(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while process_start_time(self._pid) == self._started != 0.0:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    def _reap(self) -> None:
        if self._process is not None:
            self._process.poll()
            return
        try:
            os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:
            pass  # it is reaped already

    async def end(self) -> None:
        """The node ends: a head that is being started would wait for it in vain."""
        if process_start_time(self._pid) == self._started != 0.0:
            os.kill(self._pid, signal.SIGKILL)
        await self._is_gone(_END_S)
        self._reap()


class Follower:
    """In other nodes: waits for the next head.

    Parameters
    ----------
    config
        Of the node; ``supervisor`` names the first node's process, ``head`` the head's.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.head: list[Any] = config["head"]
        self._supervisor: list[Any] = config["supervisor"]
        self._path = f"{config['session_dir']}/head.sock"

    async def again(self) -> bool:
        """Wait until a head listens; False when nobody will start one."""
        deadline = time.monotonic() + _WAIT_S
        pid, started = self._supervisor
        while time.monotonic() < deadline and process_start_time(pid) == started:
            if await self._answers():
                return True
            await asyncio.sleep(0.02)
        return False

    async def _answers(self) -> bool:
        # A head that is being killed may still listen when its connections have ended. Who took it for the
        # next one would join it in vain for ten seconds; but it says nothing, where a living one greets.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            try:
                sock.connect(self._path)
                heard = asyncio.get_running_loop().sock_recv(sock, 1)
                return bool(await asyncio.wait_for(heard, _GREETING_S))
            except (OSError, asyncio.TimeoutError):
                return False  # not yet

    async def end(self) -> None:
        """The node ends: that is all."""


class FarFollower:
    """In nodes on other machines: waits until the head can be reached again.

    Parameters
    ----------
    config
        Of the node; ``far`` says where the cluster is.
    """

    head: list[Any] = [0, 0.0]  # no process of this machine

    def __init__(self, config: dict[str, Any]) -> None:
        self._place = split(config["far"]["address"])

    async def again(self) -> bool:
        """Wait until a head listens; False when none does for long."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(*self._place), 2.0)
            except (OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return True
        return False

    async def end(self) -> None:
        """The node ends: that is all."""
