"""A ring of messages in one mapped file: one writer, any number of readers.

The writer puts a message into the next slot, counts up, and writes a byte into a pipe of each
reader: the doorbell. A reader that finds nothing new sleeps in ``read`` on its pipe; but where that
has proved quicker lately, it first looks again and again for up to some hundred microseconds. On
a quiet machine that saves the time to wake up, which is most of a message's; on a busy one it keeps
the writer from running. Waiting for long costs no CPU in either case. The pipe also tells the reader
that the writer has died, and the writer that the reader has.

The files are made by one process, opened by all, and unlinked as soon as all have opened them, so
that nothing is left whoever dies. Until then their names begin with the prefix of their maker,
under which the node removes what a dead process leaves.
"""

from __future__ import annotations

import mmap
import os
import platform
import select
import time
from typing import Any

from rayjup.base.exceptions import ObjectStoreFullError, RayChannelError, RayChannelTimeoutError
from rayjup.core import session as sessions
from rayjup.experimental.channel import messages
from rayjup.experimental.channel.common import ChannelInterface
from rayjup.experimental.channel.layout import LINE, Layout, new_path

_SENT, _CLOSED = 0, 1
_OPEN, _ENDED, _ABORTED = 0, 1, 2
_BELL = b"\0"
_LOOKS = 2500  # of about 60 ns each, before a reader that looks gives up and sleeps
_LONG_S = 1e-3  # waits from here on say nothing about whether looking or sleeping is quicker
_MOST_S = 3e-4  # what a single wait may count for, in judging that
_TRY_OTHER = 31  # each 32nd wait tries the other way

# Elsewhere a counter may be seen before the message it counts; a doorbell is safe everywhere.
_MAY_SPIN = platform.machine() in ("x86_64", "AMD64") and len(os.sched_getaffinity(0)) > 1


class Endpoint:
    """What the two ends of a ring have in common: the mapped file."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        fd = os.open(layout.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self.map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        self.words = memoryview(self.map)[: layout.head_bytes].cast("Q")
        self.closed = False

    def abort(self) -> None:
        """Make all readers stop, whatever is still in the ring; they notice when they next look."""
        try:
            self.words[_CLOSED] = _ABORTED
        except ValueError:
            pass  # another thread has just closed it

    def _close_map(self) -> None:
        self.closed = True
        self.words.release()
        self.map.close()


class Writer(Endpoint):
    """The writing end of a ring."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.sent = 0
        self.spilled: dict[int, tuple[str, mmap.mmap]] = {}  # by slot: files for large messages
        self._store = sessions.require().runtime.store
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        self.bells: list[int] = []
        try:
            for index in range(layout.readers):
                self.bells.append(os.open(layout.bell(index), flags))
        except OSError as error:
            self.close()
            raise RayChannelError(
                f"reader {index} of the channel is not there ({error.strerror}): readers open their end first"
            ) from error

    def write(self, value: Any, failed: bool = False, timeout: float | None = None) -> None:
        """Send a value, or with ``failed`` an error that stands for one.

        Raises
        ------
        RayChannelTimeoutError
            The ring was full for ``timeout`` seconds.
        RayChannelError
            The channel is closed, or a reader has gone.
        """
        if self.closed:
            raise RayChannelError("the channel is closed")
        kind, data, buffers = messages.encode(value, failed)
        sent, layout = self.sent, self.layout
        slot = sent % layout.slots
        words = self.words
        for index in range(1, layout.readers + 1):
            if sent - words[index * LINE] >= layout.slots:
                self._wait_for_room(index, timeout)
        size = messages.size_of(data, buffers)
        start = layout.head_bytes + slot * layout.slot_bytes
        if size <= layout.slot_bytes:
            messages.put(self.map, start, kind, data, buffers)
        else:
            path, mapped = self._spill(slot, size)
            messages.put(mapped, 0, kind, data, buffers)
            messages.put(self.map, start, messages.SPILLED, path.encode(), [])
        self.sent = sent + 1
        words[_SENT] = sent + 1
        for bell in self.bells:
            try:
                os.write(bell, _BELL)
            except BlockingIOError:
                pass  # so many unheard bells will wake the reader as well
            except BrokenPipeError as error:
                raise RayChannelError("a process that reads from the channel has gone") from error

    def _wait_for_room(self, index: int, timeout: float | None) -> None:
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        pause = 20e-6
        while self.sent - self.words[index * LINE] >= self.layout.slots:
            if self.words[_CLOSED] == _ABORTED:
                raise RayChannelError("the channel was closed")
            if deadline is not None and time.monotonic() >= deadline:
                raise RayChannelTimeoutError(
                    f"the channel was full for {timeout:g} s: a reader is {self.layout.slots} messages behind"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.005)

    def _spill(self, slot: int, size: int) -> tuple[str, mmap.mmap]:
        """A file for a message that is larger than a slot; kept for the next one of this slot."""
        kept = self.spilled.get(slot)
        if kept is not None:
            if len(kept[1]) >= size:
                return kept
            self._drop(slot)
        path = new_path()
        length = (size + (size >> 3) + 4095) & -4096
        try:
            self._store.hold(length)
        except ObjectStoreFullError as error:
            raise RayChannelError(f"no room for a message of {size:,} bytes: {error}") from error
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, length)
            mapped = mmap.mmap(fd, 0)
        except OSError as error:
            os.unlink(path)
            self._store.let_go(length)
            raise RayChannelError(
                f"no room in shared memory for a message of {size:,} bytes: {error.strerror}"
            ) from error
        finally:
            os.close(fd)
        self.spilled[slot] = path, mapped
        return path, mapped

    def _drop(self, slot: int) -> None:
        path, mapped = self.spilled.pop(slot)
        self._store.let_go(len(mapped))
        mapped.close()
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # the node was faster

    def close(self) -> None:
        """End the channel: readers get what is in the ring, then a ``RayChannelError``."""
        if self.closed:
            return
        if self.words[_CLOSED] == _OPEN:
            self.words[_CLOSED] = _ENDED
        for bell in self.bells:
            os.close(bell)
        for slot in list(self.spilled):
            self._drop(slot)
        self._close_map()


class Reader(Endpoint):
    """One of the reading ends of a ring."""

    def __init__(self, layout: Layout, index: int) -> None:
        super().__init__(layout)
        self.bell = os.open(layout.bell(index), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self.bell, True)
        self.got = 0
        self._cursor = (index + 1) * LINE
        self._waits = 0
        self._looking = _MAY_SPIN
        self._looked_s, self._slept_s = 0.0, 1e-4  # how long waits were lately, by the way of waiting
        self._idle = False  # the last wait was long
        self._spilled: dict[str, mmap.mmap] = {}

    def fileno(self) -> int:
        """The pipe, readable when something may have come."""
        return self.bell

    def ready(self) -> bool:
        """Whether a message is there. Raises RayChannelError when none will come any more."""
        if self.closed:
            raise RayChannelError("the channel is closed")
        if self.words[_CLOSED] == _ABORTED:
            raise RayChannelError("the channel was closed")
        return bool(self.words[_SENT] > self.got)

    def hear(self) -> bool:
        """Take what is in the pipe; False when the writer has gone. Call it when it is readable."""
        return bool(os.read(self.bell, 4096))

    def read(self, timeout: float | None = None) -> tuple[Any, bool]:
        """The next value and whether it is an error that stands for one.

        Parameters
        ----------
        timeout
            Seconds to wait at most; None or below 0: without end.

        Raises
        ------
        RayChannelTimeoutError
            Nothing came in time.
        RayChannelError
            The channel is closed, or its writer has gone.
        """
        if not self.ready():
            self._wait(timeout)
        layout, got = self.layout, self.got
        start = layout.head_bytes + (got % layout.slots) * layout.slot_bytes
        source: Any = self.map
        kind, length, count = messages.head(source, start)
        if kind == messages.SPILLED:
            source = self._file(messages.data_of(source, start, length, count).decode())
            start = 0
            kind, length, count = messages.head(source, 0)
        try:
            return messages.take(source, start, kind, length, count), bool(kind & messages.FAILED)
        finally:  # a value that can't be unpickled here is lost; the next one is not
            self.got = got + 1
            self.words[self._cursor] = got + 1

    def skip(self, timeout: float | None = None) -> None:
        """Pass over the next value without unpickling it."""
        if not self.ready():
            self._wait(timeout)
        self.got += 1
        self.words[self._cursor] = self.got

    def _wait(self, timeout: float | None) -> None:
        started = time.perf_counter()
        self._waits += 1
        look = self._looking != (self._waits & _TRY_OTHER == 0) and not self._idle and _MAY_SPIN
        if not (look and timeout != 0 and self._look()):
            self._sleep(timeout)
        waited = time.perf_counter() - started
        self._idle = waited > _LONG_S
        if self._idle:
            return
        waited = min(waited, _MOST_S)
        if look:
            self._looked_s += 0.1 * (waited - self._looked_s)
        else:
            self._slept_s += 0.1 * (waited - self._slept_s)
        self._looking = self._looked_s < 0.9 * self._slept_s

    def _look(self) -> bool:
        words, got = self.words, self.got
        for _ in range(_LOOKS):  # noqa: SIM110 - any() would cost a generator
            if words[_SENT] > got:
                return True
        return False

    def _sleep(self, timeout: float | None) -> None:
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        poll = None
        while not self.ready():
            if deadline is not None:
                left = deadline - time.monotonic()
                if poll is None:
                    poll = select.poll()
                    poll.register(self.bell, select.POLLIN)
                if not poll.poll(max(0.0, left * 1000)):
                    if left > 0:
                        continue
                    raise RayChannelTimeoutError(f"nothing came through the channel in {timeout:g} s")
            if not self.hear() and not self.ready():
                raise RayChannelError("the process that writes to the channel has gone")

    def _file(self, path: str) -> mmap.mmap:
        mapped = self._spilled.get(path)
        if mapped is None:
            if len(self._spilled) >= self.layout.slots:  # each slot has one at a time
                self._drop_files()
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
            finally:
                os.close(fd)
            self._spilled[path] = mapped
        return mapped

    def _drop_files(self) -> None:
        for mapped in self._spilled.values():
            mapped.close()
        self._spilled.clear()

    def close(self) -> None:
        """Let go of the channel; its writer notices."""
        if self.closed:
            return
        os.close(self.bell)
        self._drop_files()
        self._close_map()


class Channel(ChannelInterface):
    """A ring with its ends: each process opens the one it needs.

    Parameters
    ----------
    layout
        The ring, as :meth:`Layout.make` gave it.
    reader
        Which of the readers this process is, if it reads.
    """

    def __init__(self, layout: Layout, reader: int = 0) -> None:
        self.layout = layout
        self.reader = reader
        self._writer: Writer | None = None
        self._reader: Reader | None = None

    def ensure_registered_as_writer(self) -> Writer:
        """Open the writing end."""
        if self._writer is None:
            self._writer = Writer(self.layout)
        return self._writer

    def ensure_registered_as_reader(self) -> Reader:
        """Open the reading end."""
        if self._reader is None:
            self._reader = Reader(self.layout, self.reader)
        return self._reader

    def write(self, value: Any, timeout: float | None = None) -> None:
        """Send a value; waits while the ring is full."""
        self.ensure_registered_as_writer().write(value, timeout=timeout)

    def read(self, timeout: float | None = None) -> Any:
        """The next value. Raises it, where it is an error that stands for one."""
        value, failed = self.ensure_registered_as_reader().read(timeout)
        if failed:
            raise value
        return value

    def close(self) -> None:
        """Close the ends that this process opened."""
        for end in (self._writer, self._reader):
            if end is not None:
                end.close()

    def __reduce__(self) -> Any:
        return Channel, (self.layout, self.reader)
