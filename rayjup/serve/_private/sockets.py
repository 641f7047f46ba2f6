"""One listening socket for several processes.

Whoever holds it hands it out on a unix socket in a directory of mode 0700, so only processes of the
same user get it. All of them accept from one queue: no connection is lost when one of them ends,
and the port stays open as long as one is left. (Sockets of their own with SO_REUSEPORT would have
a queue each, which dies with its process, and connections would be dealt out without looking at
who has time.)
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator


class Sharing:
    """Hands out copies of a listening socket, until closed."""

    def __init__(self, listening: socket.socket, directory: str) -> None:
        self.listening = listening
        self.path = os.path.join(directory, f"{os.getpid()}.sock")
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(self.path):
            os.unlink(self.path)  # of a dead process that had our number
        self._door.bind(self.path)
        self._door.listen(64)
        threading.Thread(target=self._run, name="rayjup-serve-socket", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                guest, _ = self._door.accept()
            except OSError:
                return  # closed
            with guest:
                try:
                    socket.send_fds(guest, [b"+"], [self.listening.fileno()])
                except OSError:
                    continue

    def close(self) -> None:
        """Hand out no more."""
        try:
            self._door.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._door.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def make_directory() -> str:
    """A directory for those sockets, for this user only."""
    return tempfile.mkdtemp(prefix="rjserve-")


def fetch(directory: str) -> socket.socket | None:
    """The listening socket that processes of this directory hold; None when nobody does any more."""
    for path in _doors(directory):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
                door.settimeout(2.0)
                door.connect(path)
                data, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        except OSError:
            continue
        if data and descriptors:
            return socket.socket(fileno=descriptors[0])
    return None


def _doors(directory: str) -> Iterator[str]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith(".sock"):
            yield os.path.join(directory, name)


def listen(host: str, port: int) -> socket.socket:
    """A new listening socket.

    Raises
    ------
    OSError
        Something else has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(4096)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise OSError(
            error.errno,
            f"cannot listen for HTTP on {host}:{port} ({error.strerror}): another program has the port. "
            "Choose another one: serve.start(http_options={'port': …}).",
        ) from error
    return made
