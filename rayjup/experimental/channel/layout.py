"""Where a ring of messages lies: its files, and how they are divided."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

from rayjup.core import session as sessions
from rayjup.experimental.channel import messages

LINE = 8  # words of a cache line: counters of different processes don't share one
_numbers = itertools.count()


def new_path() -> str:
    """A free name for a file of this process in the node's shared memory."""
    store = sessions.require().runtime.store
    return f"{store.directory}/{store.name}-{os.getpid()}-channel-{next(_numbers)}"


@dataclass(frozen=True)
class Layout:
    """Where a ring lies and how it is divided; all that its ends need to open it.

    Parameters
    ----------
    path
        The file; the pipe of reader ``i`` is ``path-i``.
    readers
        How many readers there are.
    slots
        Messages under way, at most.
    slot_bytes
        Room for one message; larger ones are put into files of their own.
    """

    path: str
    readers: int
    slots: int
    slot_bytes: int

    @classmethod
    def make(cls, readers: int, slots: int, message_bytes: int) -> Layout:
        """Create the files in the shared memory of this process's node, whose room they take.

        Whoever made the ring returns :attr:`file_bytes` with ``Store.let_go`` when it is used no more.
        Else the room comes back with the end of the process.

        Raises
        ------
        ObjectStoreFullError
            There is no room, not even with objects moved to disk.
        """
        slot_bytes = (message_bytes + messages.HEAD_BYTES + 4095) & -4096
        layout = cls(new_path(), readers, slots, slot_bytes)
        sessions.require().runtime.store.hold(layout.file_bytes)
        fd = os.open(layout.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(fd, layout.file_bytes)
        finally:
            os.close(fd)
        for index in range(readers):
            os.mkfifo(layout.bell(index), 0o600)
        return layout

    @property
    def head_bytes(self) -> int:
        """Length of the counters in front of the slots."""
        return ((self.readers + 1) * LINE * 8 + 4095) & -4096

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return self.head_bytes + self.slots * self.slot_bytes

    def bell(self, reader: int) -> str:
        """The pipe of a reader."""
        return f"{self.path}-{reader}"

    def hold(self) -> list[int]:
        """Open both ends of all pipes, so that the others can open them in any order."""
        return [os.open(self.bell(i), os.O_RDWR | os.O_CLOEXEC) for i in range(self.readers)]

    def unlink(self) -> None:
        """Remove the names; who has opened the files keeps them."""
        for path in (self.path, *(self.bell(i) for i in range(self.readers))):
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass  # the node was faster
