"""What waits: one queue per shape, its clients in turn; among shapes, the oldest request first.

Tasks that call tasks form trees, and a process is taken up by every parent that waits for its children.
Taking the clients of a tree in turn would open its whole breadth before anything is finished, a process
for each node. So a tree (a *family*) takes its turn as one client does, and within it the deepest calls come
first: then about as many processes are taken up as the tree is deep. Every sixty-fourth time its oldest
request comes first, so that a branch without end does not hold up the others for ever.
"""

from __future__ import annotations

import bisect
import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable

from rayjup.engine.leases._resources import Amounts, Pool, from_units, to_units
from rayjup.engine.leases._shapes import Conditions, Labels, NodeAffinity, Shape

_OLDEST_EVERY = 64

Place = tuple[str, object] | None  # where a queue waits: at a node, at a group, or (None) anywhere


class Request:
    """Leases asked for and not granted yet."""

    __slots__ = ("client", "client_node", "depth", "family", "id", "locality", "queue", "remaining", "seq")

    def __init__(
        self,
        id: str,
        client: str,
        client_node: str | None,
        queue: ShapeQueue,
        remaining: int,
        locality: dict[str, int] | None,
        seq: int,
        family: str,
        depth: int,
    ) -> None:
        self.id = id
        self.client = client
        self.client_node = client_node
        self.queue = queue
        self.remaining = remaining
        self.locality = locality
        self.seq = seq
        self.family = family
        self.depth = depth


class Family:
    """Requests of one tree of calls, by how deep in it their clients are."""

    __slots__ = ("_by_age", "_levels", "_turn", "remaining")

    def __init__(self) -> None:
        self.remaining = 0
        self._levels: dict[int, OrderedDict[str, deque[Request]]] = {}
        self._by_age: list[tuple[int, Request]] = []
        self._turn = 0

    def push(self, request: Request) -> None:
        level: OrderedDict[str, deque[Request]] = self._levels.setdefault(request.depth, OrderedDict())
        level.setdefault(request.client, deque()).append(request)
        heapq.heappush(self._by_age, (request.seq, request))
        self.remaining += request.remaining

    def next(self) -> Request:
        """The request whose turn it is: of the deepest level, or now and then the oldest."""
        if len(self._levels) > 1 and self._turn % _OLDEST_EVERY == _OLDEST_EVERY - 1:
            while not self._by_age[0][1].remaining:
                heapq.heappop(self._by_age)
            return self._by_age[0][1]
        waiting = next(iter(self._levels[max(self._levels)].values()))
        while not waiting[0].remaining:
            waiting.popleft()
        return waiting[0]

    def granted(self, request: Request) -> None:
        self._turn += 1
        self.tidy(request)
        level = self._levels.get(request.depth)
        if level is not None and request.client in level:
            level.move_to_end(request.client)

    def tidy(self, request: Request) -> None:
        """Forget a client of which nothing is wanted any more."""
        level = self._levels.get(request.depth)
        if level is None or request.client not in level:
            return
        waiting = level[request.client]
        while waiting and not waiting[0].remaining:
            waiting.popleft()
        if not any(other.remaining for other in waiting):
            del level[request.client]
            if not level:
                del self._levels[request.depth]
        while self._by_age and not self._by_age[0][1].remaining:
            heapq.heappop(self._by_age)

    def requests(self) -> list[Request]:
        return [
            request
            for level in self._levels.values()
            for waiting in level.values()
            for request in waiting
            if request.remaining
        ]


class ShapeQueue:
    """All requests of one shape."""

    __slots__ = (
        "_by_age",
        "alternatives",
        "amounts",
        "clients",
        "families",
        "infeasible",
        "number",
        "overtaken",
        "place",
        "remaining",
        "shape",
        "soft_conditions",
        "target",
    )

    def __init__(self, shape: Shape, number: int) -> None:
        self.shape = shape
        self.number = number
        self.amounts: Amounts = to_units(dict(shape.resources))
        self.families: OrderedDict[str, Family] = OrderedDict()
        self.clients: dict[str, int] = {}  # those who wait, and for how many requests
        self._by_age: list[tuple[int, Request]] = []
        self.remaining = 0
        self.overtaken = 0
        self.infeasible: tuple[dict[str, float], str] | None = None  # what was told, if it is
        strategy = shape.strategy
        # Conditions on labels, of which one has to be met; the earlier the better.
        self.alternatives: tuple[Conditions, ...] = ((),)
        if isinstance(strategy, Labels):
            self.alternatives = (strategy.hard, *strategy.fallbacks)
        self.soft_conditions = strategy.soft if isinstance(strategy, Labels) else ()
        self.target = strategy.node_id if isinstance(strategy, NodeAffinity) else None
        self.place: Place = None
        if shape.group is not None:
            self.place = ("group", shape.group)
        elif isinstance(strategy, NodeAffinity) and not strategy.soft:
            self.place = ("node", strategy.node_id)

    def welcome(self, pool: Pool) -> bool:
        """Whether the labels of ``pool`` meet one of the alternatives."""
        return any(pool.accepts(conditions) for conditions in self.alternatives)

    @property
    def resources(self) -> dict[str, float]:
        """A fresh dictionary of what a lease of this shape holds."""
        return from_units(self.amounts)

    def push(self, request: Request) -> None:
        family = self.families.get(request.family)
        if family is None:
            family = self.families[request.family] = Family()
        family.push(request)
        self.clients[request.client] = self.clients.get(request.client, 0) + 1
        heapq.heappush(self._by_age, (request.seq, request))
        self.remaining += request.remaining

    def next(self) -> Request:
        """The request whose turn it is, of the family that was served longest ago."""
        return next(iter(self.families.values())).next()

    def granted(self, request: Request) -> None:
        """Note that one lease of ``request``, which was next, has been granted."""
        request.remaining -= 1
        self.remaining -= 1
        self.overtaken = 0
        family = self.families[request.family]
        family.remaining -= 1
        family.granted(request)
        if family.remaining:
            self.families.move_to_end(request.family)
        else:
            del self.families[request.family]
        self._tidy(request)

    def shrink(self, request: Request, keep: int) -> None:
        """Forget all but ``keep`` leases of a request."""
        dropped = max(0, request.remaining - keep)
        if not dropped:
            return
        request.remaining -= dropped
        self.remaining -= dropped
        family = self.families.get(request.family)
        if family is not None:
            family.remaining -= dropped
            family.tidy(request)
            if not family.remaining:
                del self.families[request.family]
        self._tidy(request)

    def _tidy(self, request: Request) -> None:
        if not request.remaining:
            left = self.clients[request.client] - 1
            if left:
                self.clients[request.client] = left
            else:
                del self.clients[request.client]

    def age(self) -> int:
        """The number of the oldest request that waits (the smaller the older)."""
        while not self._by_age[0][1].remaining:
            heapq.heappop(self._by_age)
        return self._by_age[0][0]

    def requests(self) -> list[Request]:
        """All requests that wait."""
        return [request for family in self.families.values() for request in family.requests()]


class Waiting:
    """The queues in which somebody waits, oldest first, by the place where they wait."""

    __slots__ = ("_ages", "_at", "names")

    def __init__(self) -> None:
        self._ages: dict[ShapeQueue, int] = {}
        self._at: dict[Place, list[tuple[int, int, ShapeQueue]]] = {}
        self.names: dict[str, int] = {}  # how many of them want a resource of this name

    def __contains__(self, queue: ShapeQueue) -> bool:
        return queue in self._ages

    def __bool__(self) -> bool:
        return bool(self._ages)

    def all(self) -> list[ShapeQueue]:
        return sorted(self._ages, key=lambda queue: (self._ages[queue], queue.number))

    def at(self, place: Place) -> list[tuple[int, int, ShapeQueue]]:
        """Age, number and queue of those who wait at a place, oldest first. Not to be changed."""
        return self._at.get(place, [])

    def nodes(self, keys: Iterable[str]) -> list[Place]:
        """Those of some nodes at which somebody waits."""
        if len(self._at) == (None in self._at):
            return []
        places: list[Place] = [("node", key) for key in keys]
        return [place for place in places if place in self._at]

    def older(self, seq: int, place: Place) -> list[ShapeQueue]:
        """The queues at a place in which somebody waits longer than since ``seq``."""
        row = self._at.get(place)
        if not row or row[0][0] >= seq:
            return []
        return [queue for _, _, queue in row[: bisect.bisect_left(row, (seq,))]]

    def update(self, queue: ShapeQueue) -> None:
        """Put ``queue`` where it belongs after it changed."""
        old = self._ages.get(queue)
        new = queue.age() if queue.remaining else None
        if old == new:
            return
        row = self._at.setdefault(queue.place, [])
        if old is not None:
            del row[bisect.bisect_left(row, (old, queue.number))]
            del self._ages[queue]
        if new is not None:
            bisect.insort(row, (new, queue.number, queue))
            self._ages[queue] = new
        if (old is None) != (new is None):
            for name in queue.amounts:
                self.names[name] = self.names.get(name, 0) + (1 if old is None else -1)
        if not row:
            del self._at[queue.place]
