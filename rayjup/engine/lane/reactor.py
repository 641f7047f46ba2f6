"""The reactor: one epoll per process, led by whoever has the best reason to.

A thread that blocks in ``get`` reads the sockets itself (it *leads*), so that a call and its
answer cost no hand-over between threads. When no foreground thread leads, a background thread
does, after a short linger; a foreground thread that wants the lead kicks it out. The background
thread also runs ``on_tick`` a few hundred times a second while something is going on, and
sleeps without waking up when nothing is.
"""

from __future__ import annotations

# The wrappers in `signal` turn numbers into enums, which costs ten times the call.
import _signal  # type: ignore[import-not-found]  # typeshed knows the wrappers only
import contextlib
import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

TICK_S = 0.005
_PARK_AFTER_TICKS = 40
_SIGINT = _signal.SIGINT
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT


postponed = 0
"""A signal that came to the main thread where it would have cut something in two; it is sent again."""


def taken() -> int:
    """The postponed signal, which is so no longer (0: none)."""
    global postponed
    number, postponed = postponed, 0
    return number


def deliver() -> None:
    """Send the postponed signal now: for the main thread, at the end of what was not to be cut in two."""
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(taken())


class Watched(Protocol):
    """What the reactor can watch: a descriptor, and what to do when it is ready."""

    def fileno(self) -> int:
        """The descriptor, the same for as long as it is watched."""

    def on_readable(self) -> None:
        """There is something to read, or the other side is gone."""

    def on_writable(self) -> None:
        """There is room to write (only after :meth:`Reactor.watch_writes`)."""


class Reactor:
    """Waits on sockets and dispatches to their handlers, one leader at a time.

    Parameters
    ----------
    on_tick
        Called about every 5 ms by the background thread while the process is busy.
    busy
        Tells whether ticks are needed at all; when it says no, the background thread waits
        without a timeout.
    """

    def __init__(self, on_tick: Callable[[], None], busy: Callable[[], bool]) -> None:
        self.buffer = memoryview(mmap.mmap(-1, 256 * 1024))  # takes memory only as far as it is used
        self.on_tick = on_tick
        self.busy = busy
        self.closed = False
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._lead = threading.Lock()
        self._leader = 0
        self._turns = 0
        self._wanted = 0  # foreground threads that want the lead now
        self._kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._kick_fd, _READ)
        self._waiters: list[Any] = []  # locks of foreground threads waiting while another leads
        self.endless = False  # the background thread leads and waits without a timeout
        self.dispatching = False  # handlers run: no moment to raise into
        self.interrupted: Callable[[], Any] | None = None  # a signal that came meanwhile
        self._sheltered = False  # the main thread is in lead(): interrupts wait for a safe moment
        self.shield_interrupts = False  # set in drivers: Ctrl-C must not cut a handler in two
        self._shield: Any = None  # the handler that shields, while it is installed
        self._beneath: Any = None  # the one it has replaced
        self._postponing = False
        self._again_at = 0.0
        self._main = threading.main_thread().ident or 0
        self._parked = False
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread: threading.Thread | None = None

    # -- what is watched

    def add(self, item: Watched, read: bool = True, write: bool = False) -> None:
        """Watch ``item``: for something to read, unless told otherwise."""
        self._watched[item.fileno()] = item
        self._epoll.register(item.fileno(), _READ * read | _WRITE * write)

    def change(self, item: Watched, read: bool, write: bool) -> None:
        """Watch ``item`` for something else from now on."""
        if self._watched.get(item.fileno()) is item:
            self._epoll.modify(item.fileno(), _READ * read | _WRITE * write)

    def remove(self, item: Watched) -> None:
        """Watch ``item`` no more (before its descriptor is closed)."""
        fd = item.fileno()
        if self._watched.get(fd) is item:
            del self._watched[fd]
            self._epoll.unregister(fd)

    def watched(self) -> list[Watched]:
        """Everything that is watched now."""
        return list(self._watched.values())

    def watch_writes(self, item: Watched, on: bool) -> None:
        """Watch ``item`` for room to write as well, or no longer."""
        self.change(item, read=True, write=on)

    # -- leading

    @property
    def fileno(self) -> int:
        """The epoll's descriptor, to be watched by an asyncio loop."""
        return self._epoll.fileno()

    def poll(self, timeout: float) -> None:
        """Wait for events up to ``timeout`` seconds (-1: without end) and dispatch them."""
        self._dispatch(self._epoll.poll(timeout))

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        watched = self._watched
        nested = self.dispatching
        self.dispatching = True
        try:
            for fd, event in events:
                item = watched.get(fd)
                if item is not None:
                    if event & ~_WRITE:
                        item.on_readable()
                    if event & _WRITE:
                        item.on_writable()
                elif fd == self._kick_fd:
                    try:
                        os.eventfd_read(fd)
                    except BlockingIOError:
                        pass
        finally:
            self.dispatching = nested
        if self.interrupted is not None and not nested and threading.get_ident() == self._main:
            self._interrupt()

    def _interrupt(self) -> None:
        interrupt, self.interrupted = self.interrupted, None
        if interrupt is not None:
            interrupt()

    def shielded(self, handler: Callable[..., Any]) -> Callable[..., None]:
        """A signal handler that waits for the end of the dispatching or leading it would cut in two."""

        def on_signal(number: int, frame: Any) -> None:
            if self._sheltered or (self.dispatching and self._leader == self._main):
                self.interrupted = lambda: handler(number, None)
                self.kick_leader()  # Python goes back into poll() when a handler returns
            elif not self.closed and _is_delicate(frame):
                self._postpone(number)
            else:
                handler(number, frame)

        return on_signal

    def _postpone(self, number: int) -> None:
        global postponed
        postponed = number  # makes us busy: the background thread ticks from here on
        if self._postponing:
            return  # it comes again, and has found us still at it
        self._postponing = True
        try:
            if self.endless:
                self.kick_leader()
            self.unpark()
        finally:
            self._postponing = False

    def deliver_postponed(self) -> None:
        """Send a signal again that came at a bad moment (called by the background thread's ticks)."""
        now = time.monotonic()
        if now >= self._again_at:  # what it would interrupt needs time to come to its end
            self._again_at = now + TICK_S
            signal.pthread_kill(self._main, taken())

    def shield(self) -> None:
        """Shield the main thread from interrupts that would cut sending or handling messages in two."""
        self.shield_interrupts = True
        if threading.get_ident() == self._main and _signal.getsignal(_SIGINT) is not self._shield:
            self._raise_shield()

    def _raise_shield(self) -> None:
        # It stays up between two waits, where it does what the handler beneath it does: taking it
        # down and up again would cost every wait two system calls.
        beneath = _signal.getsignal(_SIGINT)
        if callable(beneath):
            self._beneath = beneath
            self._shield = self.shielded(beneath)
            _signal.signal(_SIGINT, self._shield)

    def lower_shield(self) -> None:
        """Put back the handler of interrupts that was there before; in the main thread only."""
        if self._shield is not None and threading.get_ident() == self._main:
            if _signal.getsignal(_SIGINT) is self._shield:
                _signal.signal(_SIGINT, self._beneath)
            self._shield = self._beneath = None

    def lead(self, done: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block until ``done()``; the calling thread reads the sockets itself where it can.

        Returns False when ``deadline`` (of :func:`time.monotonic`) passed first. Whoever makes
        ``done`` true from another thread calls :meth:`kick`, which wakes every waiting thread.
        """
        me = threading.get_ident()
        if self._leader == me:  # a handler, or user code run by the leader, waits
            return self._lead_nested(done, deadline)
        main = me == self._main
        if main:
            # From here to the end an interrupt only leaves a note, which is looked at where no lock
            # is held and no count is off: raised between any two lines, it could stop all waiting.
            self._sheltered = True
            if self.shield_interrupts and _signal.getsignal(_SIGINT) is not self._shield:
                self._raise_shield()
        try:
            self._wanted += 1
            while not done():
                if self._lead.acquire(False):
                    try:
                        self._leader = me
                        self._turns += 1
                        while not done():
                            if deadline is None:
                                self.poll(-1)
                            else:
                                left = deadline - time.monotonic()
                                if left <= 0:
                                    return False
                                self.poll(left)
                    finally:
                        self._turns += 1
                        self._leader = 0
                        self._lead.release()
                elif not self._follow(done, deadline):
                    return False
                elif main and self.interrupted is not None:
                    self._interrupt()  # raises, unless somebody's handler only takes note
            return True
        finally:
            self._wanted -= 1
            if self._waiters:
                self._wake_waiters()
            if main:
                self._sheltered = False
                if self.interrupted is not None:
                    self._interrupt()

    def _lead_nested(self, done: Callable[[], bool], deadline: float | None) -> bool:
        while not done():
            left = -1.0 if deadline is None else deadline - time.monotonic()
            if deadline is not None and left <= 0:
                return False
            self.poll(left)
        return True

    def _follow(self, done: Callable[[], bool], deadline: float | None) -> bool:
        """Wait while another thread leads: until woken, or for a tick at most."""
        if self._leader == -1:
            self.kick_leader()
        lock = threading.Lock()
        lock.acquire()
        self._waiters.append(lock)
        wait = TICK_S if self._leader in (0, -1) else 0.05
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 and not done():
                return False
            wait = min(wait, max(left, 0.0))
        if not done() and self._lead.locked():
            lock.acquire(timeout=wait)
        try:
            self._waiters.remove(lock)
        except ValueError:
            pass
        return True

    @contextlib.contextmanager
    def leading(self) -> Iterator[None]:
        """Lead for as long as the block runs (an asyncio loop that watches the sockets itself)."""
        self._wanted += 1
        while not self._lead.acquire(timeout=TICK_S):
            self.kick_leader()
        self._wanted -= 1
        self._leader = threading.get_ident()
        try:
            yield
        finally:
            self._leader = 0
            self._lead.release()

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for lock in waiters:
            try:
                lock.release()
            except RuntimeError:
                pass  # woken twice

    def kick_leader(self) -> None:
        """Make the thread inside ``poll`` come out and look at its condition again."""
        os.eventfd_write(self._kick_fd, 1)

    def kick(self) -> None:
        """Wake the leader and all waiting threads: a condition may have become true."""
        if self._waiters:
            self._wake_waiters()
        if self._leader != threading.get_ident():
            self.kick_leader()

    # -- the background thread

    def start_background(self) -> None:
        """Start the thread that leads when nobody else does."""
        self._thread = threading.Thread(target=self._background, name="rayjup-lane", daemon=True)
        self._thread.start()

    def unpark(self) -> None:
        """Let the background thread watch again (cheap when it already does)."""
        if self._parked:
            self._parked = False
            try:
                self._wake.release()
            except RuntimeError:
                pass

    def _background(self) -> None:
        quiet = 0
        while not self.closed:
            if quiet >= _PARK_AFTER_TICKS and self._leader > 0:
                # A foreground thread has been waiting in poll for long: nothing to do for us.
                self._parked = True  # from here on, whoever makes the process busy wakes us
                if self._leader > 0 and not self.busy():
                    self._wake.acquire()
                    quiet = 0
                self._parked = False
            turns = self._turns
            self._wake.acquire(timeout=TICK_S if quiet < _PARK_AFTER_TICKS else 10 * TICK_S)
            if self.closed:
                return
            self.on_tick()
            if self._turns != turns:
                quiet = 0
            elif self._leader > 0:
                quiet += 1
            elif not self._wanted and self._lead.acquire(False):
                try:
                    self._leader = -1
                    while not self._wanted and not self.closed:
                        self.endless = True
                        if self.busy():  # asked after the flag is up: who makes us busy sees it
                            self.endless = False
                        self.poll(-1 if self.endless else TICK_S)
                        self.endless = False
                        self.on_tick()
                finally:
                    self._leader = 0
                    self._lead.release()
                    if self._waiters:
                        self._wake_waiters()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's descriptors without touching what they stand for."""
        self.closed = True
        self.endless = self.dispatching = self._sheltered = self._parked = False
        self.interrupted = None
        self._lead = threading.Lock()
        self._leader = 0
        self._waiters = []
        for item in self._watched.values():
            sock = getattr(item, "sock", None)
            if sock is not None:
                sock.close()
        self._watched = {}
        self._epoll.close()
        os.close(self._kick_fd)
        self._kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # its number must stay ours

    def close(self) -> None:
        """Stop the background thread and close the descriptors."""
        self.closed = True
        self.lower_shield()
        self.kick()
        self.unpark()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        self._epoll.close()
        os.close(self._kick_fd)


_ENGINE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DELICATE = tuple(os.path.join(_ENGINE, part, "") for part in ("runtime", "ownership", "lane", "objects"))
_SAFE = os.path.join(
    _ENGINE, "runtime", "arguments.py"
)  # pickles: runs the user's code, and owes nothing yet


def _is_delicate(frame: Any) -> bool:
    """Whether an exception raised in ``frame`` could leave a call half sent, or a lock taken."""
    while frame is not None:
        if frame.f_code in (deliver.__code__, Reactor.lead.__code__):
            return False  # lead() shelters itself where it has to
        file = frame.f_code.co_filename
        if file.startswith(_DELICATE):
            return bool(file != _SAFE)
        frame = frame.f_back
    return False
