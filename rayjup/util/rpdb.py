"""A debugger for tasks and actors (mirrors ``ray.util.rpdb``).

In a driver it is ``pdb`` on the terminal. A task or actor has no terminal: there it waits on a unix
socket in the session's directory, which only the user can open, and prints how to connect::

    python -m rayjup.util.rpdb /path/of/the/socket
"""

from __future__ import annotations

import contextlib
import os
import pdb
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

_WAIT_S = 3600.0


class RemotePdb(pdb.Pdb):
    """``pdb`` over a connection; when that ends the program goes on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        # Two files: one for both would forget what it has read ahead when something is written.
        self._input = connection.makefile("r", encoding="utf-8", newline="\n")
        self._output = connection.makefile("w", encoding="utf-8", newline="\n")
        super().__init__(stdin=self._input, stdout=self._output, nosigint=True)
        self.use_rawinput = False

    def do_continue(self, arg: str) -> bool | None:
        """Let the program go on, and end the connection."""
        result = super().do_continue(arg)
        if not self.breaks:
            self._end()
        return result

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """End the connection; the program goes on."""
        self.set_continue()
        self._end()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:
        """The other side has gone."""
        return self.do_quit(arg)

    def _end(self) -> None:
        with contextlib.suppress(OSError):  # the other side may have gone
            self._output.close()
        self._input.close()
        self._connection.close()


def set_trace(breakpoint_uuid: bytes | None = None) -> None:
    """Stop here and debug.

    Parameters
    ----------
    breakpoint_uuid
        Names the socket; its number of the process where None.

    Raises
    ------
    TimeoutError
        In a task or actor: nobody connected within an hour.
    """
    frame = sys._getframe().f_back
    import rayjup as ray

    context = ray.get_runtime_context() if ray.is_initialized() else None
    if context is None or context.get_task_id() is None:
        pdb.Pdb().set_trace(frame)
        return
    name = (breakpoint_uuid or str(os.getpid()).encode()).decode()
    path = os.path.join(context.get_temp_dir(), f"pdb-{name}.sock")
    RemotePdb(_accepted(path)).set_trace(frame)


def listen(path: str) -> socket.socket:
    """A unix socket at ``path`` that only the user can open."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def serve_post_mortem(
    listener: socket.socket,
    path: str,
    frames: Callable[[], TracebackType | None],
    wanted: Callable[[], bool],
) -> None:
    """Let one debugger after the other look at ``frames()``, until they are not ``wanted()`` any more."""
    with listener:
        listener.settimeout(1.0)
        while wanted():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            connection.setblocking(True)
            traceback = frames()
            if traceback is None:
                connection.close()
                continue
            debugger = PostMortem(connection)
            try:
                debugger.interaction(None, traceback)
            except (OSError, ValueError):
                pass  # the other side has gone in the middle of a line
            finally:
                debugger._end()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


class PostMortem(RemotePdb):
    """Looks at frames that don't run any more, in a thread of its own."""

    def do_quit(self, arg: str) -> bool | None:
        """End the connection; the frames stay."""
        return True

    do_q = do_exit = do_quit
    do_c = do_cont = do_continue = do_quit

    def do_EOF(self, arg: str) -> bool | None:
        """The other side has gone."""
        return True


def _accepted(path: str) -> socket.socket:
    with listen(path) as listener:
        listener.settimeout(_WAIT_S)
        sys.stderr.write(f"stopped for debugging; connect with: python -m rayjup.util.rpdb {path}\n")
        sys.stderr.flush()
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            raise TimeoutError(f"set_trace(): nobody connected to {path} within {_WAIT_S:.0f} s") from None
        finally:
            os.unlink(path)
    connection.setblocking(True)
    return connection


def connect(path: str, stdin: Any = None, stdout: Any = None) -> None:
    """Debug in this terminal what waits at ``path``, until it goes on."""
    stdin, stdout = stdin or sys.stdin, stdout or sys.stdout
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)

        def send() -> None:
            with contextlib.suppress(OSError):  # the program went on meanwhile
                for line in stdin:
                    sock.sendall(line.encode())
                sock.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        while data := sock.recv(65536):
            stdout.write(data.decode(errors="replace"))
            stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m rayjup.util.rpdb SOCKET (set_trace() prints the path)")
    connect(sys.argv[1])
