"""The books: pools and their sums, leases, clients; and what returns when one of them goes.

Nothing is decided here. Whatever gained room is put in ``freed`` for the scheduler to look at.
"""

from __future__ import annotations

from random import Random

from rayjup.engine.leases._groups import Group, Plan
from rayjup.engine.leases._messages import Grant, Instruction, Revoke
from rayjup.engine.leases._placement import Domain
from rayjup.engine.leases._queues import Request, ShapeQueue
from rayjup.engine.leases._reclaim import Holdings
from rayjup.engine.leases._resources import UNIT, Amounts, Bundle, GpuShares, Node, Pool


class Lease:
    """A granted lease."""

    __slots__ = ("blocked", "client", "id", "pool", "queue", "request_id", "shares")

    def __init__(
        self, id: str, client: str, request_id: str, queue: ShapeQueue, pool: Pool, shares: GpuShares
    ) -> None:
        self.id = id
        self.client = client
        self.request_id = request_id
        self.queue = queue
        self.pool = pool
        self.shares = shares
        self.blocked = False

    @property
    def pinned(self) -> bool:
        return self.queue.shape.kind == "actor"


class Client:
    """What belongs to a client, so that it can go with it."""

    __slots__ = ("groups", "leases", "requests")

    def __init__(self) -> None:
        self.leases: dict[str, None] = {}
        self.requests: dict[str, None] = {}
        self.groups: dict[bytes, None] = {}


class Book:
    """All pools, leases, requests and groups of a cluster."""

    def __init__(self, seed: int, first: int = 0) -> None:
        self._random = Random(seed)
        self.nodes: Domain[Node] = Domain()
        self.groups: dict[bytes, Group] = {}
        self.leases: dict[str, Lease] = {}
        self.requests: dict[str, Request] = {}
        self.clients: dict[str, Client] = {}
        self.holdings = Holdings()
        self.total: Amounts = {}
        self.free: Amounts = {}  # debts of a node do not make what is free on others less
        self.freed: dict[Pool, None] = {}
        self.out: list[Instruction] = []
        self._numbers = first

    def number(self) -> int:
        """1, 2, 3, ..."""
        self._numbers += 1
        return self._numbers

    def client(self, name: str) -> Client:
        found = self.clients.get(name)
        if found is None:
            found = self.clients[name] = Client()
        return found

    def tidy_client(self, name: str) -> None:
        """Forget a client to whom nothing belongs."""
        found = self.clients.get(name)
        if found is not None and not (found.leases or found.requests or found.groups):
            del self.clients[name]

    # -- pools ---------------------------------------------------------------------------------

    def alive(self, pool: Pool) -> bool:
        if isinstance(pool, Bundle):
            group = self.groups.get(pool.group_id)
            return group is not None and group.bundles[pool.index] is pool
        return self.nodes.pools.get(pool.key) is pool

    def gained(self, pool: Pool) -> None:
        """Note that ``pool`` may have room for somebody who waits."""
        if isinstance(pool, Bundle):
            group = self.groups.get(pool.group_id)
            if group is not None:
                group.domain.changed(pool)
        elif isinstance(pool, Node):
            self.nodes.changed(pool)
        self.freed[pool] = None

    def add_node(self, node_id: str, total: Amounts, labels: dict[str, str]) -> Node:
        # Among equals the choice is random, so that clusters do not fill up in alphabetical order.
        rank = (self._random.getrandbits(40) << 64) + self.number()
        node = Node(node_id, total, labels, rank)
        self.nodes.add(node)
        self._sum(node, 1)
        self.gained(node)
        return node

    def drop_node(self, node: Node) -> None:
        self._sum(node, -1)
        self.nodes.remove(node)

    def supply(self, node: Node, total: Amounts) -> None:
        in_use = [(self.leases[lease].shares, self.leases[lease].pinned) for lease in node.leases]
        in_use += [(bundle.shares, True) for bundle in node.bundles]
        self._sum(node, -1)
        node.supply(total, in_use)
        self._sum(node, 1)
        self.gained(node)

    def _sum(self, node: Node, sign: int) -> None:
        for name, amount in node.total.items():
            self.total[name] = self.total.get(name, 0) + sign * amount
            if not self.total[name]:
                del self.total[name]
        for name, amount in node.now.free.items():
            self.free[name] = self.free.get(name, 0) + sign * max(0, amount)

    def _book(self, pool: Pool, amounts: Amounts, shares: GpuShares, sign: int, pinned: bool) -> None:
        if isinstance(pool, Node) and self.alive(pool):
            for name, amount in amounts.items():
                self._shift(name, pool.now.free.get(name, 0), sign * amount)
        pool.book(amounts, shares, sign, pinned)
        if sign > 0 and self.alive(pool):
            self.gained(pool)

    def _shift(self, name: str, old: int, change: int) -> None:
        self.free[name] = self.free.get(name, 0) + max(0, old + change) - max(0, old)

    # -- leases --------------------------------------------------------------------------------

    def open_lease(self, queue: ShapeQueue, request: Request, pool: Pool) -> None:
        """Grant a lease on ``pool``, where it fits."""
        shares = pool.now.choose_gpus(queue.amounts.get("GPU", 0))
        assert shares is not None, f"{queue.shape} granted on {pool.key} without room for it"
        lease = Lease(f"l{self.number():x}", request.client, request.id, queue, pool, shares)
        self.enter_lease(lease)
        gpu_ids = tuple((index, amount / UNIT) for index, amount in shares)
        self.out.append(
            Grant(request.id, request.client, lease.id, pool.node.key, queue.resources, gpu_ids, queue.shape)
        )

    def enter_lease(self, lease: Lease) -> None:
        """Write down a lease, without asking whether there is room for it."""
        queue, pool = lease.queue, lease.pool
        self._book(pool, queue.amounts, lease.shares, -1, lease.pinned)
        pool.leases[lease.id] = None
        self.leases[lease.id] = lease
        self.client(lease.client).leases[lease.id] = None
        if not lease.pinned:
            self.holdings.add(lease.client, queue.shape, pool)
        elif not queue.amounts:
            pool.actors += 1

    def close_lease(self, lease: Lease) -> None:
        """Take a lease back: everything it holds is free again."""
        self.lend(lease, False)
        pool = lease.pool
        del self.leases[lease.id]
        del pool.leases[lease.id]
        if not lease.pinned:
            self.holdings.remove(lease.client, lease.queue.shape, pool)
        elif not lease.queue.amounts:
            pool.actors -= 1
        self._book(pool, lease.queue.amounts, lease.shares, 1, lease.pinned)
        del self.clients[lease.client].leases[lease.id]
        self.tidy_client(lease.client)

    def revoke(self, lease: Lease, reason: str) -> None:
        self.out.append(Revoke(lease.id, lease.client, lease.pool.node.key, reason))
        self.close_lease(lease)

    def lend(self, lease: Lease, blocked: bool) -> None:
        """Lend out the CPUs of a lease, or take them back."""
        if lease.blocked is blocked:
            return
        lease.blocked = blocked
        cpus = lease.queue.amounts.get("CPU", 0) * (1 if blocked else -1)
        pool = lease.pool
        if isinstance(pool, Node) and self.alive(pool):
            self._shift("CPU", pool.now.free.get("CPU", 0), cpus)
        pool.lend(cpus)
        if cpus > 0:
            self.gained(pool)

    # -- groups --------------------------------------------------------------------------------

    def reserve(self, group: Group, plan: Plan) -> None:
        """Reserve bundles where ``plan`` says, which has to fit."""
        # In the order in which it was tried out: whole GPUs before shares of one.
        for index in sorted(plan, key=lambda i: (-group.wanted[i].get("GPU", 0), i)):
            node, amounts = plan[index], group.wanted[index]
            shares = node.now.choose_gpus(amounts.get("GPU", 0))
            assert shares is not None and node.now.fits(amounts), f"bundle {index} does not fit {node.key}"
            self.reserve_again(group, index, node, shares)

    def reserve_again(self, group: Group, index: int, node: Node, shares: GpuShares) -> None:
        """Reserve one bundle on a node, without asking whether there is room for it."""
        amounts = group.wanted[index]
        self._book(node, amounts, shares, -1, True)
        bundle = Bundle(group.id, index, node, amounts, shares, self.number())
        node.bundles[bundle] = None
        group.bundles[index] = bundle
        group.domain.add(bundle)
        self.gained(bundle)

    def unreserve(self, group: Group, bundle: Bundle, reason: str) -> None:
        """Give a bundle back to its node, ending the leases in it."""
        group.bundles[bundle.index] = None
        group.domain.remove(bundle)
        for lease_id in list(bundle.leases):
            self.revoke(self.leases[lease_id], reason)
        del bundle.on.bundles[bundle]
        self._book(bundle.on, bundle.total, bundle.shares, 1, True)
