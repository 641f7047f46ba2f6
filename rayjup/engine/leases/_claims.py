"""Nobody waits forever: capacity is kept for whoever has been overtaken too often.

Small requests may pass a large one that does not fit yet; that keeps the cluster busy. But after
``limit`` of them the large one gets a claim on a place: what becomes free there is saved for it.
There is at most one claim per resource name, that of the oldest who waits for it, so claims never
wait for each other.
"""

from __future__ import annotations

from rayjup.engine.leases._groups import Group
from rayjup.engine.leases._queues import ShapeQueue
from rayjup.engine.leases._resources import Amounts, Pool

Owner = ShapeQueue | Group

OVERTAKE_LIMIT = 32


class Claims:
    """Who has a claim, and on which pools."""

    __slots__ = ("_pools", "limit")

    def __init__(self, limit: int = OVERTAKE_LIMIT) -> None:
        self.limit = limit
        self._pools: dict[Owner, list[Pool]] = {}

    def __contains__(self, owner: Owner) -> bool:
        return owner in self._pools

    def __bool__(self) -> bool:
        return bool(self._pools)

    def pools(self, owner: Owner) -> list[Pool]:
        """The pools on which something is kept for ``owner``."""
        return self._pools.get(owner, [])

    def taken_names(self) -> set[str]:
        """The resource names somebody has a claim for."""
        names: set[str] = set()
        for owner, pools in self._pools.items():
            for pool in pools:
                names.update(name for part in pool.claims[owner] for name in part)
        return names

    def add(self, owner: Owner, parts: list[tuple[Pool, Amounts]]) -> None:
        """Keep each of the amounts on its pool for ``owner``."""
        for pool, amounts in parts:
            pool.claims.setdefault(owner, []).append(amounts)
        self._pools[owner] = list(dict.fromkeys(pool for pool, _ in parts))

    def drop(self, owner: Owner) -> list[Pool]:
        """Forget the claim of ``owner``; gives the pools that are open to others again."""
        pools = self._pools.pop(owner, [])
        for pool in pools:
            del pool.claims[owner]
        return pools


def nearest(pools: list[Pool], amounts: Amounts) -> Pool | None:
    """The pool on which ``amounts`` will fit soonest: where the least has to be given back.

    Only pools that get there by the end of tasks count: actors and bundles may stay forever.
    """

    def lacking(pool: Pool) -> tuple[float, int]:
        free = pool.now.free
        return sum(max(0, need - free.get(name, 0)) / need for name, need in amounts.items()), pool.rank

    return min((pool for pool in pools if pool.ever.fits(amounts)), key=lacking, default=None)
