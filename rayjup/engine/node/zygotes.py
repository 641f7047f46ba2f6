"""The processes from which executors are forked: the node's own, and one per other Python."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.base.runtime_env import expanded
from rayjup.engine.lane.frames import FrameReader, encode
from rayjup.engine.lane.peer import Message

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LAST_BYTES = 3000
_END_S = 3.0


class Zygote:
    """One zygote, as the node sees it.

    Nothing here waits for it: it answers every fork, and a few hundred small messages fill a socket.
    An agent that waited for room while the zygote waits for it to read would wait for ever.

    Parameters
    ----------
    process, sock
        As :func:`spawn_zygote` gives them.
    log_path
        Where it writes.
    on_message
        Called with the zygote and a message ("forked" or "ended").
    on_end
        Called with the zygote when its process has ended by itself.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        sock: socket.socket,
        log_path: str,
        on_message: Callable[[Zygote, Message], None],
        on_end: Callable[[Zygote], None],
    ) -> None:
        self.process = process
        self.log_path = log_path
        self.users = 0
        self.unused_since = time.monotonic()
        self.warm = False  # it has said that it is ready
        self.python: tuple[int, ...] = ()
        self._sock: socket.socket | None = sock
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._on_message = on_message
        self._on_end = on_end
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    @property
    def ended(self) -> bool:
        """Whether nothing can be forked from it any more."""
        return self._sock is None

    def fork(self, token: int, config: dict[str, Any]) -> bool:
        """Ask for an executor; False when the zygote is known to have died."""
        if self._sock is None:
            return False
        waiting = bool(self._unsent)
        self._unsent += encode([("fork", token, config)])
        if not waiting:
            self._write()
            if self._unsent:
                asyncio.get_running_loop().add_writer(self._sock.fileno(), self._write)
        return True

    def _write(self) -> None:
        assert self._sock is not None
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)  # its end is read in a moment
        del self._unsent[:sent]
        if not self._unsent:
            asyncio.get_running_loop().remove_writer(self._sock.fileno())

    def _read(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            self.process.wait()
            self._on_end(self)
            return
        for message in self._reader.feed(memoryview(data)):
            if message[0] == "warm":
                self.warm = True
                self.python = message[1]
            self._on_message(self, message)

    def _close(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            asyncio.get_running_loop().remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def close(self) -> None:
        """Have it end, with its executors."""
        self._close()

    def wait(self) -> None:
        """Until the process has ended; by force when that takes long. Blocks."""
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_lines(self) -> str:
        """The end of what it wrote."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""


def spawn_zygote(
    log_dir: str,
    command: tuple[str, ...] = (),
    variables: Mapping[str, str] | None = None,
    log_name: str = "zygote.log",
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a zygote process; it and our end of its socket.

    ``command`` starts another Python than ours, ``variables`` are set from its first moment.
    """
    ours, theirs = socket.socketpair()
    env = clean_environment()
    for name, value in (variables or {}).items():
        env[name] = expanded(value, env)
    if command and command[0] != sys.executable:
        _find_rayjup(env)
    try:
        with open(f"{log_dir}/{log_name}", "ab") as log:
            process = subprocess.Popen(
                [
                    *(command or (sys.executable,)),
                    "-m",
                    "rayjup.engine.executor.zygote",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _find_rayjup(env: dict[str, str]) -> None:
    """Another Python has rayjup from us, unless that would bring all our packages along."""
    root = _package_root()
    paths = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]
    if os.path.basename(root) not in ("site-packages", "dist-packages") and root not in paths:
        env["PYTHONPATH"] = os.pathsep.join([*paths, root])


def _package_root() -> str:
    path = os.path.abspath(__file__)
    for _ in range(4):
        path = os.path.dirname(path)
    return path


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
    package_root = _package_root()
    paths = env.get("PYTHONPATH", "").split(os.pathsep) if env.get("PYTHONPATH") else []
    if package_root not in sys.path[1:] or package_root in paths:
        env["PYTHONPATH"] = os.pathsep.join([package_root, *[p for p in paths if p != package_root]])
    return env
