"""Which pool next: indexes that give the best one for a kind of request in about O(log pools).

There is one index per kind of request (amounts, conditions on labels, order of preference), made
when first needed. Each is a heap by score. A grant makes a pool's score worse, which the heap may
learn late: an entry that looks too good is corrected when it comes to the top. A release makes it
better, which the heap has to be told: pools that gained something are written to a log, and an
index reads what is new in it before it answers. So neither grants nor releases cost anything per
index, and an index nobody asks costs nothing at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator
from enum import Enum
from typing import Generic, TypeVar

from rayjup.engine.leases._resources import Amounts, Pool
from rayjup.engine.leases._shapes import Conditions

_P = TypeVar("_P", bound=Pool)
Score = tuple[int, int, int, int]

MAX_INDEXES = 64  # of a domain; the one unused for longest is dropped and made again when needed


class Order(Enum):
    """What makes a pool better than another. All scores only get worse by a grant."""

    UTILIZATION = "least utilized"
    LEASES = "fewest leases"
    ACTORS = "fewest actors that hold nothing"


def score(pool: Pool, order: Order) -> Score:
    """Lower is better; the rank makes scores of two pools differ always."""
    # A node without CPUs (that of a driver outside the cluster) comes last for what needs none.
    bare = 0 if pool.total.get("CPU") else 1
    if order is Order.UTILIZATION:
        return bare, pool.utilization, len(pool.leases), pool.rank
    if order is Order.LEASES:
        return bare, len(pool.leases), pool.utilization, pool.rank
    return bare, pool.actors, len(pool.leases), pool.rank


class Domain(Generic[_P]):
    """A set of pools among which one is chosen: all nodes, or the bundles of one group."""

    __slots__ = ("_indexes", "epoch", "log", "pools")

    def __init__(self) -> None:
        self.pools: dict[str, _P] = {}
        self.log: list[_P] = []
        self.epoch = 0
        self._indexes: dict[tuple[object, ...], PoolIndex[_P]] = {}

    def add(self, pool: _P) -> None:
        self.pools[pool.key] = pool
        self.changed(pool)

    def remove(self, pool: _P) -> None:
        if self.pools.pop(pool.key, None) is not None:
            self.changed(pool)

    def changed(self, pool: _P) -> None:
        """Note that ``pool`` has more room than before, or came, went or changed."""
        self.log.append(pool)
        if len(self.log) > 4 * len(self.pools) + 1024:
            # Reading so much is dearer than starting anew, which is what a new epoch asks for.
            self.log.clear()
            self.epoch += 1

    def index(self, amounts: Amounts, conditions: Conditions, order: Order) -> PoolIndex[_P]:
        key = (tuple(sorted(amounts.items())), conditions, order)
        index = self._indexes.pop(key, None)
        if index is None:
            if len(self._indexes) >= MAX_INDEXES:
                del self._indexes[next(iter(self._indexes))]
            index = PoolIndex(self, amounts, conditions, order)
        self._indexes[key] = index  # at the end: used last
        return index


class PoolIndex(Generic[_P]):
    """The pools of a domain that can serve one kind of request, best first."""

    __slots__ = (
        "_amounts",
        "_conditions",
        "_cursor",
        "_domain",
        "_entries",
        "_epoch",
        "_heap",
        "_order",
        "eligible",
    )

    def __init__(self, domain: Domain[_P], amounts: Amounts, conditions: Conditions, order: Order) -> None:
        self._domain = domain
        self._amounts = amounts
        self._conditions = conditions
        self._order = order
        self._heap: list[tuple[Score, _P]] = []
        self._entries: dict[_P, Score] = {}  # the one entry of each pool in the heap that counts
        self.eligible: dict[_P, None] = {}  # those that could serve it if nothing else ran there
        self._epoch = -1
        self._cursor = 0

    def feasible(self) -> bool:
        """Whether any pool could serve the request if nothing else ran there."""
        self._read_log()
        return bool(self.eligible)

    def candidates(self) -> list[_P]:
        """All pools that could serve the request if nothing else ran there."""
        self._read_log()
        return list(self.eligible)

    def best(self) -> _P | None:
        """The best pool that has room now."""
        self._read_log()
        return self._top()

    def in_order(self) -> Generator[_P, None, None]:
        """The pools that have room now, best first. Close the iterator when done with it."""
        self._read_log()
        taken: list[_P] = []
        try:
            while (pool := self._top()) is not None:
                heapq.heappop(self._heap)
                del self._entries[pool]
                taken.append(pool)
                yield pool
        finally:
            for pool in taken:
                self._enter(pool)

    def _top(self) -> _P | None:
        heap, entries, amounts = self._heap, self._entries, self._amounts
        while heap:
            written, pool = heap[0]
            if entries.get(pool) is not written:
                heapq.heappop(heap)
            elif not pool.now.fits(amounts) or (pool.claims and not pool.allows(amounts, None)):
                heapq.heappop(heap)
                del entries[pool]  # it comes back through the log when it gains something
            else:
                current = score(pool, self._order)
                if current == written:
                    return pool
                heapq.heapreplace(heap, (current, pool))
                entries[pool] = current
        return None

    def _enter(self, pool: _P) -> None:
        current = score(pool, self._order)
        if self._entries.get(pool) != current:
            self._entries[pool] = current
            heapq.heappush(self._heap, (current, pool))

    def _read_log(self) -> None:
        domain = self._domain
        if self._epoch != domain.epoch:
            self._epoch = domain.epoch
            self._heap.clear()
            self._entries.clear()
            self.eligible.clear()
            news = list(domain.pools.values())
        elif self._cursor < len(domain.log):
            news = domain.log[self._cursor :]
        else:
            return
        self._cursor = len(domain.log)
        for pool in news:
            if domain.pools.get(pool.key) is pool and pool.accepts(self._conditions):
                if pool.now.fits(self._amounts):
                    self.eligible[pool] = None
                    self._enter(pool)
                    continue
                if pool.hosts(self._amounts):
                    self.eligible[pool] = None
                else:
                    self.eligible.pop(pool, None)
            else:
                self.eligible.pop(pool, None)
            self._entries.pop(pool, None)
