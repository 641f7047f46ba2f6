"""The file that takes what a process prints: a full one is put aside under a number, as Ray does.

``RAY_ROTATION_MAX_BYTES`` (half a gigabyte; 0: never) and ``RAY_ROTATION_BACKUP_COUNT`` (5) say when, and
how many are kept: ``worker-….out.1`` is the newest of them.
"""

from __future__ import annotations

import os
import threading

MOST_BYTES = 512 * 1024 * 1024
KEPT = 5


class LogFile:
    """What descriptor ``fd`` writes to.

    Parameters
    ----------
    fd
        1 or 2; goes on to be the file's descriptor when a new one is begun.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._path: str | None
        try:
            self._path = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            self._path = None  # no /proc here: the file grows
        self._lock = threading.Lock()
        self._most = _number("RAY_ROTATION_MAX_BYTES", MOST_BYTES)
        self._kept = _number("RAY_ROTATION_BACKUP_COUNT", KEPT)

    def write(self, data: bytes) -> int:
        """Append; where the data ends in the file."""
        os.write(self.fd, data)
        return os.lseek(self.fd, 0, os.SEEK_CUR)

    def turn(self, end: int) -> bool:
        """Begin a new file if this one is full; whether that was done."""
        if not self._most or end < self._most or self._path is None or not os.path.isfile(self._path):
            return False
        with self._lock:
            if os.fstat(self.fd).st_size < self._most:
                return False  # another thread was first
            self._begin(self._path)
        return True

    def _begin(self, path: str) -> None:
        if self._kept:
            for number in range(self._kept - 1, 0, -1):
                older = f"{path}.{number}"
                if os.path.exists(older):
                    os.replace(older, f"{path}.{number + 1}")
            os.replace(path, f"{path}.1")
        else:
            os.unlink(path)
        new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(new, self.fd)
        os.close(new)


def _number(variable: str, default: int) -> int:
    try:
        return max(0, int(os.environ.get(variable, default)))
    except ValueError:
        return default
