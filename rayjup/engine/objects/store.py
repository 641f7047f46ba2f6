"""Shared-memory segments as one process sees them.

One object is one file in the node's directory under /dev/shm: written once by whoever makes the
object, mapped read-only by whoever reads it, unlinked by its owner. The kernel keeps the pages
alive for those who still have them mapped, so no reader count can go wrong. A file that no
other process ever saw and that no view of this process uses any more is kept for the next
object of its size: writing pages that exist is several times faster than making new ones.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from rayjup.base.exceptions import ObjectLostError, ObjectStoreFullError
from rayjup.base.serialization import Packed
from rayjup.engine.lane.messages import RECYCLE
from rayjup.engine.objects import copies, spilling
from rayjup.engine.objects.copies import Copy
from rayjup.engine.objects.copying import copy
from rayjup.engine.objects.mapping import allocated, map_file

Descriptor = tuple[str, int, int, tuple[tuple[int, int], ...], str]
"""path, bytes in all, length of the pickle, (offset, length) of each buffer, id of the host."""

_ALIGN = 64
_KEEP_S = 2.0
_QUOTA_STEP = 64 << 20
_TRIES = 5  # at opening a copy that is given up in the same moment


class Segment:
    """A mapped file that holds one object. Ends with its last user; see :meth:`Store.release`."""

    __slots__ = (
        "__weakref__",
        "capacity",
        "copies",
        "descriptor",
        "map",
        "path",
        "private",
        "shared",
        "spilled",
        "store",
        "writer",
    )

    def __init__(
        self, store: Store, path: str, capacity: int, mapped: mmap.mmap | None, writer: Any = None
    ) -> None:
        self.store = store
        self.path = path
        self.capacity = capacity
        self.map = mapped
        self.shared = False  # some other process may have it mapped
        self.private = False  # values in it may be written to, so nobody is shown the mapping that writes it
        self.writer = writer  # who made it for us and may use its pages again
        self.spilled = ""  # the file on disk where the object lies instead
        self.copies: list[Copy] | None = None  # on nodes of other hosts
        self.descriptor: Descriptor | None = None

    def __del__(self) -> None:
        self.store.release(self)


class Store:
    """Creates, reads and frees the segments of one process.

    Parameters
    ----------
    directory
        The node's directory in shared memory.
    name
        Prefix of this process's files: tells the node whose files to remove when it dies.
    host
        Names the machine (and its mount namespace); a descriptor of another host can't be mapped.
    reserve
        Asks the node for room: ``reserve(nbytes, urgent) -> nbytes granted`` (0: full). Only an
        urgent request makes the node ask other processes for room that they keep.
    give_back
        Returns room to the node; must not block.
    give_back_to
        Returns room to another node of this machine, named as :func:`node_of` does.
    disk
        Where objects go that find no room; None: that is an error.
    tell_held
        Tells the node how many more bytes are used for what is no object; must not block.
    """

    def __init__(
        self,
        directory: str,
        name: str,
        host: str,
        reserve: Callable[[int, bool], int],
        give_back: Callable[[int], None],
        give_back_to: Callable[[str, int], None] = lambda node, nbytes: None,
        disk: spilling.Disk | None = None,
        tell_held: Callable[[int], None] = lambda nbytes: None,
    ) -> None:
        self.directory = directory
        self.name = name
        self.host = host
        self._reserve = reserve
        self._give_back = give_back
        self._give_back_to = give_back_to
        self._disk = disk
        self._tell_held = tell_held
        self._numbers = itertools.count()
        self._lock = threading.RLock()  # release() can run inside any allocation, by the collector
        self._quota = 0
        self._spare: list[tuple[float, str, int, mmap.mmap]] = []
        self._given: dict[str, tuple[int, mmap.mmap]] = {}  # written for others, still mapped here
        self._live: dict[str, weakref.ref[Segment]] = {}  # complete, and ours to free
        self._owned: set[str] = set()  # written by others for us, and not given back yet
        self._viewed: dict[str, weakref.ref[mmap.mmap]] = {}  # freed, but arrays here still use them
        self.on_posted: Callable[[Any], None] = lambda peer: None  # somebody has to flush this peer
        self.gone: set[str] = set()  # paths on other hosts that nobody can read any more
        self.bring: Callable[[str, int], str] = _cannot_bring  # gets an object of another host; its path here
        self.tell_elsewhere: Callable[[str, str, str], None] = lambda op, node, name: None
        self._foreign: set[str] = set()  # directories of other hosts with objects of ours
        self._brought: dict[str, str] = {}  # where copies of what is about to be read lie
        self._maps: weakref.WeakValueDictionary[str, mmap.mmap] = weakref.WeakValueDictionary()
        self._clock = time.monotonic
        self.closed = False

    # -- writing

    def write(self, packed: Packed, owner_name: str | None = None) -> Segment:
        """Put a packed value into a segment; ``owner_name`` when another process will own it."""
        offsets = []
        position = len(packed.data)
        for buffer in packed.buffers:
            position = (position + _ALIGN - 1) & -_ALIGN
            offsets.append((position, buffer.nbytes))
            position += buffer.nbytes
        try:
            segment = self._create(max(position, 1), owner_name)
        except ObjectStoreFullError:
            if self._disk is None:
                raise
            return self._write_to_disk(self._disk, packed, offsets, position, owner_name)
        mapped = segment.map
        assert mapped is not None
        segment.private = packed.writable
        mapped[: len(packed.data)] = packed.data
        if packed.buffers:
            with memoryview(mapped) as view:
                for (start, length), buffer in zip(offsets, packed.buffers, strict=True):
                    if length:
                        target = view[start : start + length]
                        copy(target, buffer.cast("B") if buffer.format != "B" else buffer)
                        target.release()
        segment.descriptor = (segment.path, position, len(packed.data), tuple(offsets), self.host)
        if owner_name is None:
            self._live[segment.path] = weakref.ref(segment)
        return segment

    def _write_to_disk(
        self,
        disk: spilling.Disk,
        packed: Packed,
        offsets: list[tuple[int, int]],
        size: int,
        owner_name: str | None,
    ) -> Segment:
        path = self._new_path(owner_name, disk.directory)
        spilling.write(disk, path, packed, offsets, size)
        segment = Segment(self, path, 0, None)
        segment.spilled = path
        segment.descriptor = (path, size, len(packed.data), tuple(offsets), self.host)
        return segment

    def _create(self, size: int, owner_name: str | None) -> Segment:
        capacity = (size + 4095) & ~4095
        spare = self._take_spare(capacity, owner_name)
        if spare is not None:
            return spare
        self._take_quota(capacity)
        path = self._new_path(owner_name)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                mapped = allocated(fd, capacity)
            except OSError:
                os.unlink(path)
                raise
            finally:
                os.close(fd)
        except OSError as error:
            with self._lock:
                self._quota += capacity
            raise ObjectStoreFullError(
                f"no room for an object of {size:,} bytes in {self.directory}: {error.strerror}."
            ) from error
        return Segment(self, path, capacity, mapped)

    def _take_spare(self, capacity: int, owner_name: str | None) -> Segment | None:
        with self._lock:
            for index in reversed(range(len(self._spare))):  # those that are not needed grow old, and go
                spare = self._spare[index]
                if capacity <= spare[2] <= capacity + max(capacity >> 2, 65536):
                    del self._spare[index]
                    break
            else:
                return None
        _, path, have, mapped = spare
        renamed = self._new_path(owner_name)  # the name says whose death frees it
        try:
            os.rename(path, renamed)
        except FileNotFoundError:
            return None  # it went with an owner that died
        return Segment(self, renamed, have, mapped)

    def _new_path(self, owner_name: str | None, directory: str | None = None) -> str:
        name = f"{owner_name or self.name}-{self.name}-{next(self._numbers)}"
        return f"{directory or self.directory}/{name}"

    def _take_quota(self, capacity: int) -> None:
        with self._lock:
            if self._quota >= capacity:
                self._quota -= capacity
                return
        granted = self._reserve(max(capacity, _QUOTA_STEP), False)
        if granted < capacity:  # what we have left goes back first: the node will ask all for theirs
            self._give_back(granted + self.give_back_room())
            granted = self._reserve(capacity, True)
        with self._lock:
            self._quota += granted
            if self._quota >= capacity:
                self._quota -= capacity
                return
        raise ObjectStoreFullError(f"the object store has no room for another {capacity:,} bytes.")

    def give_back_room(self) -> int:
        """Unlink kept segments and return all room not in use: the node needs it for others."""
        self.drop_spares()
        with self._lock:
            quota, self._quota = self._quota, 0
        return quota

    def hold(self, nbytes: int) -> None:
        """Take room for something that is no object, such as a channel; see :meth:`let_go`."""
        self._take_quota(nbytes)
        self._tell_held(nbytes)

    def let_go(self, nbytes: int) -> None:
        """Return room that was taken by :meth:`hold`."""
        if not self.closed:
            self._tell_held(-nbytes)
            self._give_back(nbytes)

    # -- reading

    def buffers(self, descriptor: Descriptor) -> tuple[memoryview, list[memoryview]]:
        """Read-only views of the pickle and of the buffers of an object, without copying."""
        path, size, head, offsets, host = descriptor
        mapped = self._map(path, size, host)
        view = memoryview(mapped).toreadonly()
        return view[:head], [view[start : start + length] for start, length in offsets]

    def _map(self, path: str, size: int, host: str) -> mmap.mmap:
        with self._lock:
            mapped = self._maps.get(path)
        if mapped is not None:
            return mapped
        fd = self._open(path) if host == self.host else self._open_copy(path, size)
        try:
            mapped = map_file(fd, size, writable=False)
        finally:
            os.close(fd)
        with self._lock:
            self._maps[path] = mapped
        return mapped

    def _open(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise ObjectLostError.from_text(
                f"The object's shared-memory file {os.path.basename(path)} is gone: its owner freed it or "
                "died, or the node did that kept it. Make the object again, in a process that lives as long "
                "as it is needed."
            ) from error

    def _open_copy(self, path: str, size: int) -> int:
        """Open this node's copy of an object of another host; it may be given up at any time."""
        for _ in range(_TRIES):
            try:
                return os.open(self._copy_of(path) or self.bring(path, size), os.O_RDONLY)
            except FileNotFoundError:
                continue
        raise ObjectLostError.from_text(
            f"A copy of {os.path.basename(path)} was brought here {_TRIES} times and was gone each time "
            "before it could be read: the object store is too small for what is read at once."
        )

    def _copy_of(self, path: str) -> str | None:
        name = os.path.basename(path)
        brought = self._brought.pop(path, None)
        for local in (f"{self.directory}/{name}", brought):
            if local not in (None, path) and os.path.exists(local):
                return local
        return None

    def brought(self, path: str, local: str) -> None:
        """A copy of the object at ``path`` of another host lies at ``local``."""
        if not local.startswith(self.directory):  # where nobody would look
            self._brought[path] = local

    def is_elsewhere(self, descriptor: Descriptor) -> bool:
        """Whether an object lies on another host, and has to be brought here to be read."""
        path, host = descriptor[0], descriptor[4]
        if host == self.host or path in self._maps or path in self._brought:
            return False
        return not os.path.exists(f"{self.directory}/{os.path.basename(path)}")

    def has(self, descriptor: Descriptor) -> bool:
        """False for an object that nobody can map any more; True also where that is not known."""
        if descriptor[4] != self.host:
            return descriptor[0] not in self.gone
        return os.path.exists(descriptor[0])

    def rename(self, segment: Segment, descriptor: Descriptor) -> None:
        """The object lies elsewhere now: where it was, it is lost."""
        old = segment.path
        with self._lock:
            self._live.pop(old, None)
            self._owned.discard(old)
            segment.path, segment.descriptor = descriptor[0], descriptor
            segment.map = segment.writer = None
            segment.spilled = ""
            segment.shared = True
            self._adopt(segment)

    def unlink_elsewhere(self, node: str, path: str) -> None:
        """Free a file of a node of another host, or a copy that an agent keeps."""
        if not self.closed:
            self.tell_elsewhere("store_unlink", node, os.path.basename(path))

    def keep_elsewhere(self, node: str, path: str) -> None:
        """A copy is the object now, and must not be given up."""
        self.tell_elsewhere("copy_keep", node, os.path.basename(path))

    def own(self, descriptor: Descriptor, writer: Any = None) -> Segment:
        """Take over the freeing of a segment that another process (``writer``) wrote for us."""
        segment = Segment(self, descriptor[0], (descriptor[1] + 4095) & ~4095, None, writer)
        segment.descriptor = descriptor
        self._adopt(segment)
        if not segment.path.startswith(self.directory) and spilling.is_spilled(segment.path):
            segment.spilled = segment.path
            segment.writer = None
        return segment

    def _adopt(self, segment: Segment) -> None:
        self._owned.add(segment.path)
        self._live[segment.path] = weakref.ref(segment)
        descriptor = segment.descriptor
        if descriptor is not None and descriptor[4] != self.host:
            self._foreign.add(os.path.dirname(segment.path))

    def writer_died(self, paths: list[str], host: str = "") -> None:
        """Remove those of ``paths`` that a process wrote for us and died before it could tell us."""
        known = {os.path.basename(path) for path in self._owned}  # one that moved to disk has two paths
        for path in paths:
            if os.path.basename(path) in known:
                continue
            if host in ("", self.host):
                self._unlink(path)
            else:
                self.unlink_elsewhere(node_of(path), path)

    def views_of(self, segment: Segment) -> tuple[memoryview, list[memoryview]]:
        """Like :meth:`buffers`, through the mapping we wrote with when there is one."""
        descriptor = segment.descriptor
        assert descriptor is not None
        mapped = segment.map  # it may move to disk at any time
        if mapped is None or segment.private:
            return self.buffers(descriptor)
        view = memoryview(mapped).toreadonly()
        return view[: descriptor[2]], [view[start : start + n] for start, n in descriptor[3]]

    def sees(self, descriptor: Descriptor) -> bool:
        """Whether values of this process lie in the object; True also where it is not of this machine."""
        return descriptor[0] in self._maps or descriptor[4] != self.host

    # -- moving to disk, see spilling

    def live(self, path: str) -> Segment | None:
        """The complete segment at ``path``, if it is ours to free."""
        found = self._live.get(path)
        return found() if found is not None else None

    def shows(self, segment: Segment) -> bool:
        """Whether values of this process lie in the segment, such as arrays."""
        # Two references: the segment's and getrefcount's argument. A view would be a third.
        if segment.map is not None and sys.getrefcount(segment.map) > 2:
            return True
        return segment.path in self._maps

    def shown(self) -> list[str]:
        """Paths of segments, whoever owns them, in which values of this process lie."""
        segments = [ref() for ref in list(self._live.values())]
        ours = [s.path for s in segments if s is not None and s.path not in self._maps and self.shows(s)]
        return list(self._maps) + ours

    def replace(self, segment: Segment, target: str) -> bool:
        """Have a segment's name lead to ``target``, a copy of it; False if values here still show it."""
        path = segment.path
        with self._lock:
            if self.closed or self.shows(segment):
                return False
            os.symlink(target, f"{path}.link")
            os.rename(f"{path}.link", path)
            segment.spilled = target
            segment.map, mapped = None, segment.map
            segment.writer, writer = None, segment.writer
        del mapped
        if writer is not None and not writer.closed:
            writer.outbox.append((RECYCLE, path, False))
            self.on_posted(writer)
        return True

    # -- freeing

    def forget(self, segment: Segment) -> Descriptor:
        """Give the segment away: its new owner frees it."""
        descriptor = segment.descriptor
        assert descriptor is not None
        if segment.map is not None:
            with self._lock:
                self._given[segment.path] = (segment.capacity, segment.map)
        segment.path = ""
        segment.map = None
        return descriptor

    def taken_back(self, path: str, reusable: bool) -> None:
        """The new owner of a segment we gave away is done with it: nobody else sees it any more."""
        with self._lock:
            given = self._given.pop(path, None)
            if given is not None and reusable and not self.closed:
                self._spare.append((self._clock(), path, *given))
                return
        if reusable:
            self._unlink(path, given[0] if given is not None else None)

    def release(self, segment: Segment) -> None:
        """Free a segment: keep the pages for reuse where nobody can see them, else unlink."""
        path, mapped = segment.path, segment.map
        segment.map = None
        if not path or self.closed:
            return
        self._live.pop(path, None)
        if segment.copies:
            copies.free(self, segment)
        if self._foreign and os.path.dirname(path) in self._foreign:
            self._release_elsewhere(segment, path)
            return
        if segment.spilled:
            self._owned.discard(path)
            spilling.remove(segment)
            return
        # Two references: this variable and getrefcount's argument. A view would be a third.
        ours_alone = mapped is not None and not segment.shared and path not in self._maps
        if mapped is not None and ours_alone and sys.getrefcount(mapped) == 2:
            with self._lock:
                self._spare.append((self._clock(), path, segment.capacity, mapped))
            return
        writer = segment.writer
        if writer is not None and not writer.closed:
            if not segment.shared:
                viewed = self._maps.get(path)
                if viewed is None:
                    self._hand_back(writer, path)
                else:  # once the last array over it is gone
                    self._viewed[path] = weakref.ref(viewed, lambda _: self._hand_back(writer, path))
                return
            writer.outbox.append((RECYCLE, path, False))
            self.on_posted(writer)
        self._owned.discard(path)
        self._unlink(path, segment.capacity if mapped is not None else None)

    def _release_elsewhere(self, segment: Segment, path: str) -> None:
        """Free a segment on another host: its writer has it back, or its node removes it."""
        writer = segment.writer
        self._owned.discard(path)
        self.gone.discard(path)
        if writer is None or writer.closed:
            self.unlink_elsewhere(node_of(path), path)
            return
        reusable = not segment.shared
        writer.outbox.append((RECYCLE, path, reusable))
        self.on_posted(writer)
        if not reusable:
            self.unlink_elsewhere(node_of(path), path)

    def _hand_back(self, writer: Any, path: str) -> None:
        """Nobody here sees the segment any more: its writer may use the pages again."""
        self._viewed.pop(path, None)
        self._owned.discard(path)
        if self.closed:
            return
        if writer.closed:
            self._unlink(path)
        else:
            writer.outbox.append((RECYCLE, path, True))
            self.on_posted(writer)

    def _unlink(self, path: str, capacity: int | None = None) -> None:
        try:
            if capacity is None:  # used again for a smaller object, a file is longer than that needs
                capacity = 0 if spilling.is_spilled(path) else os.lstat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return  # the node removed it with its owner
        if not path.startswith(self.directory):  # written for us by a process of another node, or on disk
            if capacity:
                self._give_back_to(node_of(path), capacity)
            return
        with self._lock:
            self._quota += capacity
            surplus = self._quota - 2 * _QUOTA_STEP
            if surplus > 0:
                self._quota -= surplus
        if surplus > 0:
            self._give_back(surplus)

    def drop_spares(self, older_than_s: float = 0.0) -> None:
        """Unlink kept segments that were not used for ``older_than_s`` seconds."""
        limit = self._clock() - older_than_s
        with self._lock:
            old = [s for s in self._spare if s[0] <= limit]
            self._spare = [s for s in self._spare if s[0] > limit]
        for _, path, capacity, _mapped in old:
            self._unlink(path, capacity)

    @property
    def has_spares(self) -> bool:
        """Whether segments are kept for reuse, to be let go of in a while."""
        return bool(self._spare)

    def tick(self) -> None:
        """Called now and then: let go of segments nobody reused for a while."""
        if self._spare:
            self.drop_spares(_KEEP_S)

    def abandon(self) -> None:
        """In a forked child: the files are the parent's, and nothing that happens here touches them."""
        self.closed = True
        self._lock = threading.RLock()
        self._spare = []

    def close(self) -> None:
        """Free the segments kept for reuse; what arrays still show goes with the node or its owner."""
        self.closed = True
        self._give_back(self.give_back_room())


def _cannot_bring(path: str, size: int) -> str:
    raise ObjectLostError.from_text(
        f"The object in {os.path.basename(path)} lies on another machine, where this process cannot map it. "
        "Pass it by value, or read it in a task on that machine."
    )


def node_of(path: str) -> str:
    """The first 12 digits of the id of the node in whose directory a segment lies."""
    return os.path.basename(os.path.dirname(path))[-12:]
