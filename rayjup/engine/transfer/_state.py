"""What is pulled from where, and who is served: pure, without clock, threads or sockets.

A :class:`Pull` is one object on its way to this node, in chunks of equal size. It knows sources; each is
*ready*, *resting* until some time, or *gone*. Streams are opened to sources as :meth:`Pull.open_streams`
says; each takes one chunk after the other until there is none left or its source refuses. What a broken
stream had taken goes back. A source that is busy names others that have the object, or are getting it: so N
nodes that want the same object make a tree. :class:`Sends` is the source's half of that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

CHUNK = 4 << 20
STREAMS = 2  # to one source
MOST_STREAMS = 4  # of one pull
REST_S = 0.05  # after a refusal, and
FAILED_REST_S = 0.25  # after a failure; twice as long with each that follows, up to
LONGEST_REST_S = 4.0

# How a stream ends.
FINISHED = "finished"  # nothing is left to take
BUSY = "busy"  # the source serves others; they may be asked
GONE = "gone"  # the source has not got the object
FAILED = "failed"  # the connection was refused, cut or silent
LATER = "later"  # the source gets the object itself, and has not got the chunk yet

# What has become of a pull.
RUNNING, COMPLETE, LOST, UNREACHABLE = "running", "complete", "lost", "unreachable"


@dataclass
class Source:
    """A node that is said to have the object."""

    node: str
    streams: int = 0
    rests_until: float = 0.0
    failures: int = 0  # one after the other
    refusals: int = 0  # because it served others
    gone: bool = False


@dataclass
class Pull:
    """One object on its way to this node.

    Parameters
    ----------
    size
        Bytes of the object.
    now
        The time, as in all that follows: of any clock that does not go back.
    patience_s
        So long nothing may come while sources cannot be reached.
    """

    size: int
    now: float
    patience_s: float = 30.0
    chunk: int = CHUNK
    sources: dict[str, Source] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.count = max(1, -(-self.size // self.chunk))
        self.missing: deque[int] = deque(range(self.count))
        self.taken: dict[int, str] = {}
        self.done = bytearray(self.count)
        self.arrived = 0
        self.progress_at = self.now

    # -- what is known of sources

    def add_sources(self, nodes: Iterable[str]) -> None:
        """These nodes have the object, or are getting it; one that was thought gone may have it now."""
        for node in nodes:
            self.sources.setdefault(node, Source(node))

    def renew(self, node: str) -> None:
        """Somebody says anew that a node has the object."""
        source = self.sources.setdefault(node, Source(node))
        if source.gone:
            source.gone, source.failures, source.rests_until = False, 0, 0.0

    def open_streams(self, now: float) -> list[str]:
        """The nodes to which a stream is to be opened now, each as often as it is named."""
        out = []
        wanted = min(len(self.missing), MOST_STREAMS - self._streams())
        ready = [s for s in self.sources.values() if not s.gone and s.rests_until <= now]
        while wanted > 0:
            free = [s for s in ready if s.streams < STREAMS]
            if not free:
                break
            # Of equals the one that was heard of last: fewer know of it.
            source = min(reversed(free), key=lambda s: (s.streams, s.failures, s.refusals))
            source.streams += 1
            wanted -= 1
            out.append(source.node)
        return out

    def _streams(self) -> int:
        return sum(source.streams for source in self.sources.values())

    # -- chunks

    def take(self, node: str) -> int | None:
        """The next chunk for a stream to ``node``; None: the stream ends."""
        if not self.missing:
            return None
        index = self.missing.popleft()
        self.taken[index] = node
        return index

    def span(self, index: int) -> tuple[int, int]:
        """Offset and length of a chunk."""
        start = index * self.chunk
        return start, min(self.chunk, self.size - start)

    def received(self, index: int, now: float) -> None:
        """A chunk is there."""
        node = self.taken.pop(index)
        self.done[index] = 1
        self.arrived += 1
        self.progress_at = now
        self.sources[node].failures = 0

    def ended(
        self, node: str, how: str, now: float, index: int | None = None, others: Iterable[str] = ()
    ) -> None:
        """A stream has ended; ``index`` is the chunk that it had taken and did not bring."""
        source = self.sources[node]
        source.streams -= 1
        if index is not None:
            del self.taken[index]
            self.missing.appendleft(index)
        if how == GONE:
            source.gone = True
        elif how in (BUSY, LATER):
            source.rests_until = now + REST_S
            source.refusals += how == BUSY
            self.add_sources(others)
        elif how == FAILED:
            source.failures += 1
            rest = min(FAILED_REST_S * 2 ** (source.failures - 1), LONGEST_REST_S)
            source.rests_until = now + rest

    def has(self, offset: int, length: int) -> bool:
        """Whether a part of the object is there, to be served to others."""
        first, last = offset // self.chunk, (offset + max(length, 1) - 1) // self.chunk
        return last < self.count and all(self.done[first : last + 1])

    # -- the end

    def state(self, now: float) -> str:
        """What has become of it."""
        if self.arrived == self.count:
            return COMPLETE
        if self.taken or self._streams():
            return RUNNING
        if all(source.gone for source in self.sources.values()):
            return LOST
        if now - self.progress_at >= self.patience_s:
            return UNREACHABLE
        return RUNNING

    def look_again_at(self, now: float) -> float | None:
        """When something is to be done although nothing happens; None: streams are open, or it has ended."""
        if not self.missing:
            return None
        times = [s.rests_until for s in self.sources.values() if not s.gone and s.rests_until > now]
        if not self._streams() and any(not source.gone for source in self.sources.values()):
            times.append(max(now, self.progress_at + self.patience_s))
        return min(times, default=None)


class Sends:
    """Whom a source serves: few at a time per object, so that the others turn to these.

    Parameters
    ----------
    per_object
        Nodes that are served one object at a time.
    most
        Streams in all.
    """

    def __init__(self, per_object: int = 2, most: int = 32) -> None:
        self.per_object = per_object
        self.most = most
        self.streams = 0
        self._serving: dict[str, dict[str, int]] = {}  # object -> node -> streams
        self._served: dict[str, dict[str, None]] = {}  # object -> nodes, in the order of their coming

    def admit(self, name: str, node: str) -> bool:
        """Whether a stream of ``name`` to ``node`` may begin; it is then counted until :meth:`ended`."""
        serving = self._serving.setdefault(name, {})
        if self.streams >= self.most or (node not in serving and len(serving) >= self.per_object):
            if not serving:
                del self._serving[name]
            return False
        serving[node] = serving.get(node, 0) + 1
        self.streams += 1
        self._served.setdefault(name, {})[node] = None
        return True

    def ended(self, name: str, node: str) -> None:
        """A stream that was admitted has ended."""
        serving = self._serving[name]
        self.streams -= 1
        serving[node] -= 1
        if not serving[node]:
            del serving[node]
        if not serving:
            del self._serving[name]

    def others(self, name: str, asker: str, most: int = 8) -> list[str]:
        """Nodes that got the object from here before ``asker`` came, the last ones first."""
        known = list(self._served.get(name, ()))
        if asker in known:
            known = known[: known.index(asker)]
        return known[: -most - 1 : -1]

    def forget(self, name: str) -> None:
        """The object is not here any more."""
        self._served.pop(name, None)
