"""The agent's end of a zygote: starting it, and messages both ways without ever waiting for it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from rayjup.engine.lane.frames import FrameReader, encode

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_END_S = 3.0


class Zygote:
    """A running zygote.

    Nothing here blocks: the zygote answers every fork, and a few hundred small messages fill a
    socket. An agent that waited for room while the zygote waits for it to read would wait for ever.

    Parameters
    ----------
    process, sock
        As :func:`spawn_zygote` returns them.
    on_message
        Called with each of its messages: ``("forked", token, pid)``, ``("ended", pid, code)``.
    on_end
        Called once when it has ended without being asked to.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        sock: socket.socket,
        on_message: Callable[[tuple[Any, ...]], None],
        on_end: Callable[[], None],
    ) -> None:
        self.process = process
        self.pid = process.pid
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def send(self, message: tuple[Any, ...]) -> None:
        """Send a message, now or when there is room; dropped when the zygote has ended."""
        if self._closed:
            return
        waiting = bool(self._unsent)
        self._unsent += encode([message])
        if not waiting:
            self._on_writable()
            if self._unsent:
                self._loop.add_writer(self._sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):  # the reading side reports its end
            sent = len(self._unsent)
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._disconnect()
            self.process.wait()
            self._on_end()
            return
        for message in self._reader.feed(memoryview(data)):
            self._on_message(message)

    def _disconnect(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    async def close(self) -> None:
        """End it, and with it all that it has forked."""
        self._disconnect()
        await self._loop.run_in_executor(None, self._wait)

    def _wait(self) -> None:
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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
