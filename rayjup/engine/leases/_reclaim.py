"""Whom to ask for idle leases when somebody waits.

Only clients know which of their leases are idle. A client is asked once per shape, and again only
when it has given back what it was asked for, or got another lease of that shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from rayjup.engine.leases._messages import Reclaim
from rayjup.engine.leases._resources import Bundle, Pool
from rayjup.engine.leases._shapes import Shape

Key = tuple[str, Shape]  # client and shape
Where = bytes | None  # the group in which a lease lies, or None


class Holding:
    """The leases of tasks of one shape that one client has."""

    __slots__ = ("asked", "count", "names", "pools", "where")

    def __init__(self, names: tuple[str, ...], where: Where) -> None:
        self.names = names
        self.where = where
        self.count = 0
        self.asked = 0
        self.pools: Counter[Pool] = Counter()


class Holdings:
    """Who holds leases of tasks, by the resources in them."""

    __slots__ = ("_by_name", "_rows", "unsettled")

    def __init__(self) -> None:
        self._rows: dict[Key, Holding] = {}
        self._by_name: dict[tuple[Where, str], dict[Key, None]] = {}
        self.unsettled: dict[Key, None] = {}  # changed since they were last asked

    def __getitem__(self, key: Key) -> Holding | None:
        return self._rows.get(key)

    def add(self, client: str, shape: Shape, pool: Pool) -> None:
        key = (client, shape)
        row = self._rows.get(key)
        if row is None:
            where = pool.group_id if isinstance(pool, Bundle) else None
            row = self._rows[key] = Holding(tuple(name for name, _ in shape.resources), where)
            for name in row.names:
                self._by_name.setdefault((where, name), {})[key] = None
        row.count += 1
        row.pools[pool] += 1
        # What it was asked for may be leases that it cannot give (their calls wait for others);
        # the new one it may have to spare.
        row.asked = 0
        self.unsettled[key] = None

    def remove(self, client: str, shape: Shape, pool: Pool) -> None:
        key = (client, shape)
        row = self._rows[key]
        row.count -= 1
        row.pools[pool] -= 1
        if not row.pools[pool]:
            del row.pools[pool]
        if not row.count:
            del self._rows[key]
            self.unsettled.pop(key, None)
            for name in row.names:
                holders = self._by_name[(row.where, name)]
                del holders[key]
                if not holders:
                    del self._by_name[(row.where, name)]
            return
        if row.asked:
            row.asked -= 1
        if not row.asked:
            self.unsettled[key] = None

    def waits_no_more(self, client: str, shape: Shape) -> None:
        """The client may be asked for leases of ``shape`` from now on."""
        if (client, shape) in self._rows:
            self.unsettled[(client, shape)] = None

    def ask(
        self,
        names: Iterable[str],
        where: Where,
        wanted: int,
        suits: Callable[[Pool], bool],
        but: Shape | None,
        but_clients: Iterable[str],
    ) -> list[Reclaim]:
        """Ask all who hold something of ``names`` on a pool that ``suits`` and were not asked yet.

        Those who wait themselves (``but_clients``) are not asked for leases of the shape ``but``
        they wait for.
        """
        asked = []
        spared = {(client, but) for client in but_clients} if but is not None else set()
        for name in names:
            for key in self._by_name.get((where, name), ()):
                row = self._rows[key]
                if row.asked or key in spared or not any(suits(pool) for pool in row.pools):
                    continue
                asked.append(self.ask_one(key, row, wanted))
        return asked

    def ask_one(self, key: Key, row: Holding, wanted: int) -> Reclaim:
        """Ask one client for up to ``wanted`` leases of a shape."""
        row.asked = min(row.count, wanted)
        self.unsettled.pop(key, None)
        return Reclaim(key[0], key[1], row.asked)
