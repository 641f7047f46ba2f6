"""The account of a node's shared memory: who gets room, and what goes to disk for it.

Processes reserve room in steps and return what they don't need. When it is full, the agent first has all
of them return what they keep unused, then asks the owners of the oldest objects to move these to disk.
Who waits is served in turn; who cannot be served within a while writes to disk at once.

Nothing here touches the event loop or the disk but through what the constructor is given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Message = tuple[Any, ...]
Post = Callable[[str, Message], None]

TRIM_S = 2.0  # longest wait for processes to return room
SPILLING_TRIM_S = 0.25  # the same where the disk is a way out
WAIT_S = 10.0  # longest wait of a request; then it goes to disk at once
ANSWER_S = 2.0  # longest silence of owners that were asked to move objects …
DISK_BYTES_PER_S = 50e6  # … and what they may take on top, by the size of these
AHEAD = 0.1  # share of the capacity that is made free at a time …
AHEAD_BYTES = 256 << 20  # … but no more than so much


@dataclass
class Request:
    """Somebody waits for room."""

    client: str
    number: int
    nbytes: int


@dataclass
class Counts:
    """What has happened since the node started."""

    spilled_bytes: int = 0
    spilled_objects: int = 0


@dataclass(frozen=True)
class Stored:
    """A file in the store's directory, as listed."""

    name: str
    size: int
    since: float  # when it got its name

    @property
    def owner(self) -> str:
        """The client whose object it is."""
        return self.name.split("-", 1)[0]


@dataclass
class _Episode:
    """From the first request that did not fit to the last that was answered."""

    untrimmed: set[str] | None = None  # clients that have not returned their spare room yet
    asked: dict[str, int] = field(default_factory=dict)  # being moved: file -> size
    tried: set[str] = field(default_factory=set)  # asked for already
    shown: set[str] = field(default_factory=set)  # values of some process lie in them
    turn: int = 0  # counts what is waited for, so that old timers do nothing
    trim: int = 0  # the turn in which processes were asked for their spare room


class Room:
    """The account of one node.

    Parameters
    ----------
    capacity
        Bytes of shared memory that objects may take.
    post
        ``post(client, message)`` sends to a process, of this node or another.
    clients
        The processes of this node.
    later
        ``later(seconds, function)`` calls the function then.
    listed
        The files that could be moved, and the bytes of all files in the store.
    spill
        First fields of the message that asks an owner to move files; None: objects don't go to disk.
    evict
        ``evict(nbytes, shown)`` gives up copies of objects of other hosts, but those in the files ``shown``;
        the bytes that gave.
    """

    def __init__(
        self,
        capacity: int,
        post: Post,
        clients: Callable[[], Iterable[str]],
        later: Callable[[float, Callable[[], None]], object],
        listed: Callable[[], tuple[list[Stored], int]],
        spill: Message | None,
        evict: Callable[[int, set[str]], int] = lambda nbytes, shown: 0,
    ) -> None:
        self.capacity = capacity
        self.used = 0
        self.counts = Counts()
        self.held: dict[str, int] = {}  # by client: room for what is no object, part of ``used``
        self.uncounted = False  # a process was killed: what it had reserved is not known
        self._post = post
        self._clients = clients
        self._later = later
        self._listed = listed
        self._spill = spill
        self._evict = evict
        self._waiting: deque[Request] = deque()
        self._episode = _Episode()

    # -- requests

    def reserve(self, client: str, number: int, nbytes: int, urgent: bool) -> None:
        """A process wants room; it is answered with what it got: all or nothing."""
        request = Request(client, number, nbytes)
        if not self._waiting and self.used + nbytes <= self.capacity:
            self._answer(request, nbytes)
        elif not urgent or nbytes > self.capacity:
            self._answer(request, 0)
        else:
            self._waiting.append(request)
            self._later(WAIT_S, lambda: self._give_up(request))
            if len(self._waiting) == 1:
                self._trim()

    def freed(self, nbytes: int) -> None:
        """Room came back."""
        self.used -= nbytes
        self._serve()

    def hold(self, client: str, nbytes: int) -> None:
        """A process uses room it has reserved for something that is no object (negative: no longer)."""
        held = self.held.get(client, 0) + nbytes
        if held > 0:
            self.held[client] = held
        else:
            self.held.pop(client, None)

    def left(self, client: str, nbytes: int) -> None:
        """A process is gone, and ``nbytes`` of its files were removed; what else it had is not known."""
        self.used -= nbytes + self.held.pop(client, 0)
        self.uncounted = True
        self._waiting = deque(r for r in self._waiting if r.client != client)
        episode = self._episode
        if episode.untrimmed is not None:
            self.trimmed(client, episode.trim, 0, ())
        for name in [n for n in episode.asked if n.startswith(client)]:
            self.moved(name, 0, 0)
        self._serve()

    def _answer(self, request: Request, granted: int) -> None:
        self.used += granted
        self._post(request.client, ("answer", request.number, True, granted))

    def _serve(self) -> None:
        waiting = self._waiting
        while waiting and self.used + waiting[0].nbytes <= self.capacity:
            request = waiting.popleft()
            self._answer(request, request.nbytes)
        if not waiting and (self._episode.tried or self._episode.trim):
            self._end()

    def _give_up(self, request: Request) -> None:
        if any(r is request for r in self._waiting):
            self._waiting = deque(r for r in self._waiting if r is not request)
            self._answer(request, 0)
            self._serve()

    def _end(self) -> None:
        self._episode = _Episode(turn=self._episode.turn + 1, asked=self._episode.asked)

    # -- what processes keep unused

    def _trim(self) -> None:
        episode = self._episode
        clients = episode.untrimmed = set(self._clients())
        episode.turn += 1
        turn = episode.turn
        episode.trim = turn
        for client in clients:
            self._post(client, ("store_trim", turn))

        def give_up() -> None:
            if self._episode is episode and episode.trim == turn and episode.untrimmed is not None:
                self._end_trim(complete=False)

        self._later(TRIM_S if self._spill is None else SPILLING_TRIM_S, give_up)

    def trimmed(self, client: str, trim: int, nbytes: int, shown: Iterable[str]) -> None:
        """A process has returned its spare room, and says in which files values of it lie."""
        self.used -= nbytes
        episode = self._episode
        if episode.untrimmed is None or trim != episode.trim:
            self._serve()
            return
        episode.shown.update(shown)
        episode.untrimmed.discard(client)
        if not episode.untrimmed:
            self._end_trim(complete=True)
        else:
            self._serve()

    def _end_trim(self, complete: bool) -> None:
        self._episode.untrimmed = None
        if complete and self.uncounted:  # nobody has anything reserved now but what lies there
            self.uncounted = False
            self.used = self._listed()[1] + sum(self.held.values())
        self._serve()
        if self._waiting:
            self._move_oldest()

    # -- to disk

    def _move_oldest(self) -> None:
        """Have the oldest objects moved; who still waits when there are none is told to use the disk."""
        episode = self._episode
        needed = self.used + sum(r.nbytes for r in self._waiting) - self.capacity
        evicted = self._evict(needed, episode.shown) if needed > 0 else 0
        if evicted:
            self.used -= evicted
            self._serve()
            if not self._waiting:
                return
        files: list[Stored] = []
        if self._spill is not None:
            not_these = episode.tried | episode.shown | set(episode.asked)
            files = [f for f in self._listed()[0] if f.name not in not_these]
            files.sort(key=lambda file: file.since)
        needed = self.used + sum(r.nbytes for r in self._waiting) - self.capacity
        needed = max(needed, min(int(AHEAD * self.capacity), AHEAD_BYTES)) - sum(episode.asked.values())
        by_owner: dict[str, list[str]] = {}
        for file in files:
            if needed <= 0:
                break
            needed -= file.size
            episode.asked[file.name] = file.size
            episode.tried.add(file.name)
            by_owner.setdefault(file.owner, []).append(file.name)
        if not by_owner and not episode.asked:
            for request in self._waiting:
                self._answer(request, 0)
            self._waiting.clear()
            self._end()
            return
        assert self._spill is not None
        for owner, names in by_owner.items():
            self._post(owner, (*self._spill, names))
        self._expect_progress()

    def _expect_progress(self) -> None:
        episode = self._episode
        episode.turn += 1
        turn = episode.turn

        def give_up() -> None:
            if self._episode is episode and episode.turn == turn:
                episode.asked.clear()  # those that come all the same are counted when they come
                self._move_oldest()

        self._later(ANSWER_S + max(episode.asked.values()) / DISK_BYTES_PER_S, give_up)

    def moved(self, name: str, freed: int, written: int) -> None:
        """An owner has moved a file to disk, or could not (zeros)."""
        self.used -= freed
        if freed:
            self.counts.spilled_bytes += written
            self.counts.spilled_objects += 1
        episode = self._episode
        known = episode.asked.pop(name, None)
        self._serve()
        if not self._waiting or known is None or self._episode is not episode:
            return
        if episode.asked:
            self._expect_progress()
        elif episode.untrimmed is None:
            self._move_oldest()
