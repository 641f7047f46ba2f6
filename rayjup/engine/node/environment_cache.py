"""What environments are made of, on disk and shared by all clusters of a user on this machine.

An entry is a file or directory with a lock file beside it. Whoever uses an entry holds a shared lock,
whoever makes or removes it an exclusive one; the kernel lets go of the locks of the dead. So two nodes
never make the same thing, and nothing that is in use is removed. The lock file also says when the
entry was last used (its time) and how large it is (its content).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from rayjup.base.paths import cache_root

_POLL_S = 0.05
_COMPLETE = ".rayjup-complete"
_CAP = "RAYJUP_CACHE_GB"
_DEFAULT_CAP_GB = 10.0
_KEPT_S = 60.0  # an entry this young is not removed: its maker may be about to use it


class SetupStopped(Exception):
    """Building was given up: the time is over, or the node ends."""


def packages_dir() -> str:
    """Where archives lie, under the names that are in their URIs."""
    return _made(f"{cache_root()}/packages")


def environments_dir() -> str:
    """Where virtual environments lie."""
    return _made(f"{cache_root()}/environments")


def _made(path: str) -> str:
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


@dataclass
class Held:
    """An entry that stays as it is until ``release``."""

    path: str
    lock: int

    def release(self) -> None:
        """Let others remove it."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def obtain(
    path: str,
    make: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
    directory: bool = False,
) -> Held:
    """The entry at ``path``, made if it is not there.

    Parameters
    ----------
    make
        Called with the path to make. For a file that is a temporary one beside the entry; for a
        directory the final one, because virtual environments know where they are.
    check
        Called again and again while somebody else makes the entry; raises to give up.
    """
    while True:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _acquire(lock, fcntl.LOCK_SH, check)
            if _is_current(lock, path) and is_complete(path):
                os.utime(lock)
                return Held(path, lock)
            _acquire(lock, fcntl.LOCK_EX, check, lambda: is_complete(path))
            if _is_current(lock, path) and not is_complete(path):
                (_make_directory if directory else _make_file)(path, make)
                os.ftruncate(lock, 0)
                os.pwrite(lock, str(_size_of(path)).encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # and again: it is complete now, or its lock file was removed


def _acquire(
    lock: int, kind: int, check: Callable[[], None], needless: Callable[[], bool] = lambda: False
) -> None:
    """Take the lock; or not, when that has become ``needless``.

    Whoever makes an entry holds it afterwards, as long as it is used: nobody gets it for himself then.
    """
    while not needless():
        check()
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_POLL_S)


def _is_current(lock: int, path: str) -> bool:
    """False when the lock file was removed since we opened it."""
    try:
        return os.fstat(lock).st_ino == os.stat(f"{path}.lock").st_ino
    except FileNotFoundError:
        return False


def is_complete(path: str) -> bool:
    """Whether the entry is all there."""
    return os.path.isfile(path) or os.path.exists(f"{path}/{_COMPLETE}")


def _make_file(path: str, make: Callable[[str], None]) -> None:
    temporary = f"{path}.part"
    _remove(temporary)
    try:
        make(temporary)
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def _make_directory(path: str, make: Callable[[str], None]) -> None:
    _remove(path)  # half made by somebody who died
    try:
        make(path)
        with open(f"{path}/{_COMPLETE}", "wb"):
            pass
    except BaseException:
        _remove(path)
        raise


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def _size_of(path: str) -> int:
    if os.path.isfile(path):
        return os.stat(path).st_size
    total = 0
    for directory, _, files in os.walk(path):
        for name in files:
            total += os.lstat(f"{directory}/{name}").st_size
    return total


def trim(cap: float | None = None) -> list[str]:
    """Remove what was not used for longest until no more than ``cap`` bytes are left; what was removed.

    ``cap`` is RAYJUP_CACHE_GB (10) where None. What somebody uses stays, whatever its size.
    """
    if cap is None:
        cap = float(os.environ.get(_CAP, _DEFAULT_CAP_GB)) * 2**30
    entries = []
    total = 0
    for place in (packages_dir(), environments_dir()):
        for found in os.scandir(place):
            if not found.name.endswith(".lock"):
                continue
            try:
                info = found.stat()
                with open(found.path, encoding="ascii") as file:
                    size = int(file.read() or 0)
            except (FileNotFoundError, ValueError):
                continue
            total += size
            entries.append((info.st_mtime, size, found.path.removesuffix(".lock")))
    removed = []
    for used, size, path in sorted(entries):
        if total <= cap or time.time() - used < _KEPT_S:
            break
        if _remove_unused(path):
            total -= size
            removed.append(path)
    return removed


def _remove_unused(path: str) -> bool:
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        _remove(path)
        _remove(f"{path}.lock")
        return True
    finally:
        os.close(lock)
