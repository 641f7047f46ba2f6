"""The zygote: a clean single-threaded process with the usual imports done, ready to fork.

Forking it takes about ten milliseconds; starting Python and importing takes hundreds. It has one
socket to the node agent; when that ends, the zygote ends and its children with it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from typing import Any

from rayjup.base import alias
from rayjup.engine.executor import child
from rayjup.engine.lane.frames import FrameReader, encode

_WARM = (
    "concurrent.futures.thread",
    "logging",
    "random",
    "numpy.random",  # importing it after the fork would cost every executor 20 ms and 4 MB
    # By name, not by import: the engine does not build on the layers above it. It only has in memory
    # what the tasks of most programs are going to import.
    "rayjup.core.api",
    "rayjup.engine.executor.executor",
)


def main(fd: int) -> None:
    """Serve fork requests on the socket with descriptor ``fd`` until it ends."""
    sock = socket.socket(fileno=fd)
    wake_read, wake_write = socket.socketpair()
    wake_write.setblocking(False)
    wake_read.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
    children: set[int] = set()
    own_pid = os.getpid()
    reader = FrameReader()
    if sys.path[:1] == [os.getcwd()]:
        del sys.path[0]  # from -m; jobs bring their own directories
    _warm_up()
    gc.collect()
    gc.freeze()
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    sock.sendall(encode([("warm", tuple(sys.version_info[:2]))]))
    while True:
        for key, _ in selector.select():
            if key.fileobj is wake_read:
                wake_read.recv(4096)
                _reap(sock, children)
                continue
            try:
                data = sock.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                os._exit(0)
            for message in reader.feed(memoryview(data)):
                _, token, config = message
                config["parent"] = own_pid  # whoever started us may not be our parent
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    sock.close()
                    wake_read.close()
                    signal.set_wakeup_fd(-1)
                    wake_write.close()
                    _become(config)
                children.add(pid)
                sock.sendall(encode([("forked", token, pid)]))


def _become(config: dict[str, Any]) -> None:
    code = 1
    try:
        code = child.run(config)
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # noqa: BLE001 - the last frame of the process: nobody above could report it
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _reap(sock: socket.socket, children: set[int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)
        sock.sendall(encode([("ended", pid, os.waitstatus_to_exitcode(status))]))


def _warm_up() -> None:
    """Import what most tasks need; forked processes share these pages."""
    for name in _WARM:
        importlib.import_module(name)
    for name in os.environ.get("RAYJUP_PRELOAD", "").split(","):
        if name:
            with contextlib.suppress(ImportError):  # who needs it will say so
                importlib.import_module(name)
    alias.prepare()
    faulthandler.enable()  # writes to standard error, wherever that leads in the executor


if __name__ == "__main__":
    main(int(sys.argv[1]))
