"""A cluster as it was: leases and bundles that are out when a new scheduler takes over from a lost one.

Nodes say what runs on them when they come back, and that is booked before anything else is granted
there. A placement group whose bundles lie on nodes that are not back yet keeps its places until they
are, or are given up; nothing is placed anew for it before that.
"""

from __future__ import annotations

from rayjup.engine.leases import _messages as m
from rayjup.engine.leases._book import Book, Lease
from rayjup.engine.leases._groups import Group
from rayjup.engine.leases._queues import ShapeQueue
from rayjup.engine.leases._resources import UNIT, Amounts, Bundle, GpuShares, Node, Pool
from rayjup.engine.leases._shapes import Shape

Expected = dict[tuple[bytes, int], GpuShares]  # group and index of a bundle → its GPUs


def shares_of(gpu_ids: tuple[tuple[int, float], ...]) -> GpuShares:
    """Shares of GPUs as whole numbers."""
    return tuple((index, round(share * UNIT)) for index, share in gpu_ids)


class Returning:
    """What is known to lie on nodes that are not back yet.

    Parameters
    ----------
    book
        Of the scheduler.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._expected: dict[str, Expected] = {}  # by node

    def expect(self, group: Group, places: tuple[m.Place | None, ...]) -> bool:
        """Note where the bundles of ``group`` lie; whether any of them lies anywhere."""
        for index, place in enumerate(places):
            if place is not None:
                node_id, gpu_ids = place
                self._expected.setdefault(node_id, {})[(group.id, index)] = shares_of(gpu_ids)
        return any(place is not None for place in places)

    def waits(self, group: Group) -> bool:
        """Whether bundles of ``group`` lie on nodes that are not back yet."""
        return any(group.id == owner for expected in self._expected.values() for owner, _ in expected)

    def bundles_back(self, node: Node) -> list[Group]:
        """Reserve what lay on ``node`` again; the groups of which something did."""
        groups: dict[Group, None] = {}
        for (group_id, index), shares in self._expected.pop(node.key, {}).items():
            group = self._book.groups.get(group_id)
            if group is not None and group.bundles[index] is None:
                self._book.reserve_again(group, index, node, shares)
                groups[group] = None
        return list(groups)

    def given_up(self, node_id: str) -> dict[Group, list[int]]:
        """A node does not come back: the bundles that were lost with it, by group."""
        lost: dict[Group, list[int]] = {}
        for group_id, index in sorted(self._expected.pop(node_id, {})):
            group = self._book.groups.get(group_id)
            if group is not None:
                lost.setdefault(group, []).append(index)
        return lost

    def lease_back(self, held: m.Held, queue: ShapeQueue, node: Node) -> bool:
        """Book a lease that is out; False where its placement group has no place on ``node`` any more."""
        if held.lease_id in self._book.leases:
            return True
        shares = shares_of(held.gpu_ids)
        pool = self._pool(held.shape, queue.amounts, shares, node)
        if pool is None:
            return False
        lease = Lease(held.lease_id, held.client, "", queue, pool, shares)
        self._book.enter_lease(lease)
        self._book.lend(lease, held.blocked)
        return True

    def _pool(self, shape: Shape, amounts: Amounts, shares: GpuShares, node: Node) -> Pool | None:
        if shape.group is None:
            return node
        group = self._book.groups.get(shape.group)
        if group is None:
            return None
        mine = [
            bundle
            for bundle in group.bundles
            if bundle is not None and bundle.on is node and shape.bundle in (-1, bundle.index)
        ]
        with_gpus = [b for b in mine if all(index in b.now.slots for index, _ in shares)]
        fitting: list[Bundle] = [b for b in with_gpus if b.now.fits(amounts)]
        return next(iter(fitting or with_gpus or mine), None)
