"""Objects on disk, because the node's shared memory is full.

An object that moves there keeps its name: a link to the file on disk takes the place of the segment, in
one step, so descriptors that others hold stay good, and so do mappings that they have. Readers map the
file where it lies; nothing is brought back. An object that finds no room at all is written to disk at once.

Only the owner of a segment moves it, in a thread of its own: it alone knows that the segment is
complete, that it won't be freed or used again meanwhile, and who wrote it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayjup.base.exceptions import OutOfDiskError
from rayjup.base.serialization import Packed

if TYPE_CHECKING:
    from rayjup.engine.objects.store import Segment, Store

PREFIX = "rayjup-spill-"
_CHUNK = 32 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Disk:
    """Where a node keeps the objects for which it has no memory.

    Parameters
    ----------
    directory
        Of this node alone; its name begins with :data:`PREFIX` and ends as the store's does.
    threshold
        How full the disk may get, as a share of its size.
    """

    directory: str
    threshold: float = 0.95

    def check(self, nbytes: int) -> None:
        """Raise OutOfDiskError where the disk would be fuller than allowed with ``nbytes`` more."""
        disk = os.statvfs(self.directory)
        total = disk.f_blocks * disk.f_frsize
        spare = disk.f_bavail * disk.f_frsize - int((1.0 - self.threshold) * total)
        if nbytes > spare:
            raise OutOfDiskError(
                f"an object of {nbytes:,} bytes does not fit into {self.directory}: {max(0, spare):,} of the "
                f"disk's {total:,} bytes may be used before it is {self.threshold:.0%} full "
                "(local_fs_capacity_threshold)."
            )


def is_spilled(path: str) -> bool:
    """Whether a descriptor's path is that of an object which was written to disk at once."""
    return os.path.basename(os.path.dirname(path)).startswith(PREFIX)


def write(disk: Disk, path: str, packed: Packed, offsets: list[tuple[int, int]], size: int) -> None:
    """Write a packed value to the file ``path`` on ``disk``, laid out as in a segment.

    Raises
    ------
    OutOfDiskError
        The disk is full, or as full as it may get.
    """
    disk.check(size)
    try:
        with _NewFile(path) as fd:
            os.ftruncate(fd, size)
            _write_at(fd, memoryview(packed.data), 0)
            for (start, _), buffer in zip(offsets, packed.buffers, strict=True):
                _write_at(fd, buffer.cast("B") if buffer.format != "B" else buffer, start)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise OutOfDiskError(
            f"an object of {size:,} bytes does not fit into {disk.directory}: {error.strerror}."
        ) from error


class _NewFile:
    """A new private file, removed again when the block fails."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> int:
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return self.fd

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        os.close(self.fd)
        if kind is not None:
            os.unlink(self.path)


def _write_at(fd: int, data: memoryview, position: int) -> None:
    while data.nbytes:
        written = os.pwrite(fd, data[:_CHUNK], position)
        data = data[written:]
        position += written


def move_all(store: Store, disk: Disk, paths: list[str], report: Callable[[str, int, int], None]) -> None:
    """Move segments that this process owns to ``disk``, in a thread.

    ``report(path, freed, written)`` is called for each when it is done: bytes of memory and of disk; zeros
    where it could not be moved, which is no error: it was freed, arrays still show it, or the disk is full.
    """

    def run() -> None:
        with _one_at_a_time:
            for path in paths:
                freed = written = 0
                try:
                    freed, written = _move(store, disk, path)
                except (OSError, OutOfDiskError):
                    pass  # who asked for the room will meet the disk's error itself
                if store.closed:
                    return
                report(path, freed, written)

    threading.Thread(target=run, name="rayjup-spill", daemon=True).start()


def _move(store: Store, disk: Disk, path: str) -> tuple[int, int]:
    segment = store.live(path)  # keeps it alive, and so its name, while it is copied
    if segment is None or segment.spilled or store.shows(segment) or segment.descriptor is None:
        return 0, 0
    size = segment.descriptor[1]
    target = f"{disk.directory}/{os.path.basename(path)}"
    disk.check(size)
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        freed = os.fstat(source).st_size
        with _NewFile(target) as fd:
            position = 0
            while position < size:
                if store.closed:
                    return 0, 0
                copied = os.sendfile(fd, source, position, min(_CHUNK, size - position))
                if not copied:
                    raise OSError(errno.EIO, "the segment is shorter than its object")
                position += copied
    finally:
        os.close(source)
    moved = False
    try:
        moved = store.replace(segment, target)
    finally:
        if not moved:
            os.unlink(target)
    return (freed, size) if moved else (0, 0)


def remove(segment: Segment) -> None:
    """Free an object that lies on disk, and the link to it."""
    for path in {segment.path, segment.spilled}:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # the node removed it with its owner
