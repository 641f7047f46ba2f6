"""``LeaseScheduler``: who gets which lease, as a pure state machine.

What holds after every event: nothing that waits could be granted with what is free, unless that is
being kept for somebody who was overtaken too often. So only what an event frees has to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rayjup.engine.leases import _messages as m
from rayjup.engine.leases._book import Book
from rayjup.engine.leases._claims import OVERTAKE_LIMIT, Claims, Owner, nearest
from rayjup.engine.leases._groups import FreeNow, Group, Listed, plan
from rayjup.engine.leases._infeasible import group_obstacle, obstacle
from rayjup.engine.leases._needs import needs
from rayjup.engine.leases._placement import Order
from rayjup.engine.leases._queues import Request, ShapeQueue, Waiting
from rayjup.engine.leases._resources import FULL, UNIT, Amounts, Bundle, Node, Pool, from_units, to_units
from rayjup.engine.leases._returning import Returning
from rayjup.engine.leases._shapes import Conditions, Shape, Spread
from rayjup.engine.leases._snapshot import snapshot

QUEUES_KEPT = 4096  # of shapes nobody waits for, before they are thrown away


class LeaseScheduler:
    """Grants leases by availability, data locality and strategy.

    Parameters
    ----------
    seed
        Decides among nodes that are equally good.
    spread_threshold
        Up to which utilization (0 to 1) nodes near the data or the client are preferred.
    overtake_limit
        By how many younger requests one may be overtaken before capacity is kept for it; or by one
        per node, if that is more.
    first
        Where numbers begin; leases of a scheduler before this one may still be out.
    """

    def __init__(
        self,
        seed: int = 0,
        spread_threshold: float = 0.5,
        overtake_limit: int = OVERTAKE_LIMIT,
        first: int = 0,
    ) -> None:
        self._book = Book(seed, first)
        self._returning = Returning(self._book)
        self._threshold = round(spread_threshold * FULL)
        self._waiting = Waiting()
        self._claims = Claims(overtake_limit)
        self._queues: dict[Shape, ShapeQueue] = {}
        self._queue_limit = QUEUES_KEPT
        self._pending: dict[bytes, Group] = {}  # groups that are not placed (wholly), oldest first
        self._news: dict[ShapeQueue, None] = {}  # in which something waits since this event
        self._shaken = False  # nodes or groups changed: what was possible may not be any more
        self._handlers: dict[type, Callable[[Any], None]] = {
            m.NodeJoined: self._node_joined,
            m.NodeLeft: self._node_left,
            m.NodeSupply: self._node_supply,
            m.NodeDraining: self._node_draining,
            m.Requested: self._requested,
            m.Cancelled: self._cancelled,
            m.Released: self._released,
            m.Blocked: self._blocked,
            m.Unblocked: self._unblocked,
            m.ClientGone: self._client_gone,
            m.GroupRequested: self._group_requested,
            m.GroupRemoved: self._group_removed,
            m.NodeReturned: self._node_returned,
            m.NodeMissing: self._node_missing,
            m.GroupReturned: self._group_returned,
        }

    def handle(self, event: m.Event) -> list[m.Instruction]:
        """What to do about ``event``.

        Raises
        ------
        TypeError
            For something that is no event.
        ValueError
            For a request or group whose id is in use.
        """
        handler = self._handlers.get(type(event))
        if handler is None:
            raise TypeError(f"not an event of the lease scheduler: {event!r}")
        out = self._book.out = []
        handler(event)
        self._settle()
        return out

    def available(self) -> dict[str, float]:
        """What is free in the whole cluster (bundles of placement groups are not)."""
        return {name: amount for name, amount in from_units(self._book.free).items() if amount}

    def total(self) -> dict[str, float]:
        """What the whole cluster has."""
        return from_units(self._book.total)

    def obstacle(self, waiting: str | bytes) -> str:
        """Why a request (or group) can never be served as the cluster is; "" if it can, or does not wait."""
        if isinstance(waiting, bytes):
            group = self._pending.get(waiting)
            possible, text = self._group_obstacle(group) if group is not None else (True, "")
            return "" if possible else text
        request = self._book.requests.get(waiting)
        if request is None or request.queue.infeasible is None:
            return ""
        return obstacle(request.queue, self._book)[1]

    def needs(self) -> dict[str, Any]:
        """What nodes have left and what waits for others, for whoever adds and removes nodes."""
        return needs(self._book, self._waiting, self._pending)

    def snapshot(self) -> dict[str, Any]:
        """Nodes, leases, groups and demand as plain data, for the state API."""
        return snapshot(self._book, self._waiting, self._pending)

    # -- events ----------------------------------------------------------------------------------

    def _node_joined(self, event: m.NodeJoined) -> None:
        if event.node_id in self._book.nodes.pools:
            self._node_left(m.NodeLeft(event.node_id))
        self._book.add_node(event.node_id, to_units(event.total), dict(event.labels))
        self._shaken = True

    def _node_left(self, event: m.NodeLeft) -> None:
        node = self._book.nodes.pools.get(event.node_id)
        if node is None:
            return
        self._drop_claims_on(node)
        self._book.drop_node(node)
        reason = f"node {node.key} left the cluster"
        lost: dict[Group, list[int]] = {}
        for bundle in list(node.bundles):
            group = self._book.groups[bundle.group_id]
            self._drop_claims_on(bundle)
            self._book.unreserve(group, bundle, reason)
            lost.setdefault(group, []).append(bundle.index)
        for lease_id in list(node.leases):
            self._book.revoke(self._book.leases[lease_id], reason)
        for group, indexes in lost.items():
            self._book.out.append(m.GroupLost(group.id, sorted(indexes)))
            self._pending[group.id] = group
            self._place_group(group, True)
        self._shake()

    def _node_supply(self, event: m.NodeSupply) -> None:
        node = self._book.nodes.pools.get(event.node_id)
        if node is not None:
            self._drop_claims_on(node)
            self._book.supply(node, to_units(event.total))
            self._shake()

    def _node_draining(self, event: m.NodeDraining) -> None:
        node = self._book.nodes.pools.get(event.node_id)
        if node is not None and node.draining != event.draining:
            node.draining = event.draining
            self._drop_claims_on(node)
            self._book.nodes.changed(node)
            self._shake()
            self._shaken = self._shaken or not event.draining

    def _requested(self, event: m.Requested) -> None:
        book = self._book
        if event.request_id in book.requests:
            raise ValueError(f"request id {event.request_id!r} is in use: give each request one of its own")
        if event.count <= 0:
            return
        queue = self._queue(event.shape)
        request = Request(
            event.request_id,
            event.client,
            event.client_node,
            queue,
            event.count,
            event.locality,
            book.number(),
            event.family or event.client,
            event.depth,
        )
        book.requests[request.id] = request
        book.client(request.client).requests[request.id] = None
        queue.push(request)
        if queue in self._waiting:
            self._waiting.update(queue)
            if queue.infeasible is not None:
                self._tell_infeasible(queue, [request])
            return
        self._serve_anywhere(queue)
        if queue.remaining:
            self._waiting.update(queue)
            self._news[queue] = None

    def _queue(self, shape: Shape) -> ShapeQueue:
        queue = self._queues.get(shape)
        if queue is None:
            queue = self._queues[shape] = ShapeQueue(shape, self._book.number())
        return queue

    def _cancelled(self, event: m.Cancelled) -> None:
        request = self._book.requests.get(event.request_id)
        if request is not None:
            # It was not asked for leases while it waited for such itself.
            self._book.holdings.waits_no_more(request.client, request.queue.shape)
            self._shrink(request, max(0, event.keep))

    def _released(self, event: m.Released) -> None:
        lease = self._book.leases.get(event.lease_id)
        if lease is not None:
            self._book.close_lease(lease)
            self._tidy_queue(lease.queue)

    def _blocked(self, event: m.Blocked) -> None:
        lease = self._book.leases.get(event.lease_id)
        if lease is not None:
            self._book.lend(lease, True)

    def _unblocked(self, event: m.Unblocked) -> None:
        lease = self._book.leases.get(event.lease_id)
        if lease is not None:
            self._book.lend(lease, False)

    def _client_gone(self, event: m.ClientGone) -> None:
        client = self._book.clients.get(event.client)
        if client is None:
            return
        for request_id in list(client.requests):
            self._shrink(self._book.requests[request_id], 0)
        for lease_id in list(client.leases):
            lease = self._book.leases[lease_id]
            self._book.revoke(lease, f"client {event.client} is gone")
            self._tidy_queue(lease.queue)
        for group_id in list(client.groups):
            if not self._book.groups[group_id].detached:
                self._group_removed(m.GroupRemoved(group_id))
        self._book.clients.pop(event.client, None)

    def _group_requested(self, event: m.GroupRequested) -> None:
        book = self._book
        if event.group_id in book.groups:
            raise ValueError(
                f"placement group {event.group_id.hex()} exists already: give each an id of its own"
            )
        group = Group(event, book.number())
        book.groups[group.id] = self._pending[group.id] = group
        book.client(group.client).groups[group.id] = None
        self._place_group(group, True)
        self._shaken = True

    def _group_removed(self, event: m.GroupRemoved) -> None:
        group = self._book.groups.get(event.group_id)
        if group is None:
            return
        reason = f"placement group {group.id.hex()} was removed"
        for bundle in group.bundles:
            if bundle is not None:
                self._drop_claims_on(bundle)
                self._book.unreserve(group, bundle, reason)
        del self._book.groups[group.id]
        self._pending.pop(group.id, None)
        self._open_again(self._claims.drop(group))
        owner = self._book.clients.get(group.client)
        if owner is not None:
            owner.groups.pop(group.id, None)
            self._book.tidy_client(group.client)
        self._shaken = True

    # -- after the loss of another scheduler -------------------------------------------------------

    def places(self, group_id: bytes) -> list[m.Place | None]:
        """Where the bundles of a group lie, as :class:`GroupReturned` takes it."""
        group = self._book.groups.get(group_id)
        return [
            (bundle.on.key, tuple((i, amount / UNIT) for i, amount in bundle.shares)) if bundle else None
            for bundle in (group.bundles if group is not None else ())
        ]

    def _group_returned(self, event: m.GroupReturned) -> None:
        book, asked = self._book, event.asked
        if asked.group_id in book.groups:
            raise ValueError(f"placement group {asked.group_id.hex()} is back already")
        if not self._returning.expect(group := Group(asked, book.number()), event.places):
            self._group_requested(asked)
            return
        book.groups[group.id] = group
        book.client(group.client).groups[group.id] = None
        self._shaken = True

    def _node_returned(self, event: m.NodeReturned) -> None:
        if event.node_id in self._book.nodes.pools:
            self._node_left(m.NodeLeft(event.node_id))
        node = self._book.add_node(event.node_id, to_units(event.total), dict(event.labels))
        groups = self._returning.bundles_back(node)
        # Large ones first: where any bundle of a group will do, the small ones find room beside them.
        for held in sorted(event.held, key=lambda h: -sum(amount for _, amount in h.shape.resources)):
            if not self._returning.lease_back(held, self._queue(held.shape), node):
                reason = "its placement group is gone"
                self._book.out.append(m.Revoke(held.lease_id, held.client, node.key, reason))
        self._place_rest(groups)
        self._shake()

    def _node_missing(self, event: m.NodeMissing) -> None:
        lost = self._returning.given_up(event.node_id)
        for group, indexes in lost.items():
            self._book.out.append(m.GroupLost(group.id, indexes))
        self._place_rest(lost)
        self._shake()

    def _place_rest(self, groups: Iterable[Group]) -> None:
        """Have those bundles placed that did not come back, once all have that do."""
        for group in groups:
            if group.missing() and not self._returning.waits(group) and group.id not in self._pending:
                self._pending[group.id] = group
                self._place_group(group, True)

    # -- granting --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Give what became free to those who wait, then tell those who go on waiting."""
        book = self._book
        while book.freed:
            pool = next(iter(book.freed))
            del book.freed[pool]
            if book.alive(pool):
                self._serve(pool)
        if self._shaken:
            self._shaken = False
            for queue in self._waiting.all():
                if (queue.infeasible is None) != self._feasible(queue):
                    self._news[queue] = None
        for queue in self._news:
            if queue in self._waiting:
                self._tell(queue)
        self._news.clear()
        self._ask_again()

    def _shake(self) -> None:
        """Nodes changed for the worse: who was bound to one softly may go elsewhere now."""
        self._shaken = True
        for _, _, queue in list(self._waiting.at(None)):
            if queue.target is not None and queue in self._waiting:
                self._serve_anywhere(queue)
                self._waiting.update(queue)

    def _serve(self, pool: Pool) -> None:
        """Give what is free on ``pool`` to those who wait, oldest first."""
        if isinstance(pool, Bundle):
            waiting = list(self._waiting.at(("group", pool.group_id)))
        else:
            waiting = [*self._waiting.at(None), *self._waiting.at(("node", pool.key))]
            waiting.sort()
        groups = list(self._pending.values()) if isinstance(pool, Node) else []
        for age, _, queue in waiting:
            while groups and groups[0].seq < age:
                self._place_group(groups.pop(0), False)
            while queue.remaining and self._usable(queue, pool):
                self._grant(queue, queue.next(), pool)
        for group in groups:
            self._place_group(group, False)

    def _serve_anywhere(self, queue: ShapeQueue) -> None:
        while queue.remaining:
            request = queue.next()
            pool = self._find(queue, request)
            if pool is None:
                break
            self._grant(queue, request, pool)

    def _grant(self, queue: ShapeQueue, request: Request, pool: Pool) -> None:
        book = self._book
        book.open_lease(queue, request, pool)
        queue.granted(request)
        queue.infeasible = None
        if not request.remaining:
            self._forget(request)
        if queue in self._waiting:
            self._waiting.update(queue)
        if queue in self._claims:
            self._open_again(self._claims.drop(queue))
        if self._waiting or self._pending:
            self._overtake(request.seq, queue, pool)

    def _usable(self, queue: ShapeQueue, pool: Pool) -> bool:
        return (
            pool.now.fits(queue.amounts)
            and self._may_use(queue, pool)
            and (not pool.claims or pool.allows(queue.amounts, queue))
        )

    def _may_use(self, queue: ShapeQueue, pool: Pool) -> bool:
        """Whether ``pool`` is one of those the shape may be granted on, full or not."""
        if isinstance(pool, Bundle):
            shape = queue.shape
            return pool.group_id == shape.group and shape.bundle in (-1, pool.index)
        if queue.shape.group is not None or not queue.welcome(pool):
            return False
        if queue.target is None or queue.target == pool.key:
            return True
        return queue.place is None and self._target(queue) is None

    def _could_use(self, queue: ShapeQueue, pool: Pool) -> bool:
        """Whether the shape could be granted on ``pool`` if nothing else were there."""
        return self._may_use(queue, pool) and pool.hosts(queue.amounts)

    def _target(self, queue: ShapeQueue) -> Node | None:
        """The node a queue is bound to, if that can ever serve it."""
        node = self._book.nodes.pools.get(queue.target or "")
        return node if node is not None and node.accepts(()) and node.hosts(queue.amounts) else None

    def _find(self, queue: ShapeQueue, request: Request) -> Pool | None:
        """The best pool for ``request`` that has room now."""
        shape, amounts, nodes = queue.shape, queue.amounts, self._book.nodes
        if shape.group is not None:
            return self._find_in_group(queue, shape.group)
        if queue.target is not None:
            target = self._target(queue)
            if target is not None:
                return target if self._usable(queue, target) else None
            if queue.place is not None:
                return None
        if isinstance(shape.strategy, Spread):
            return nodes.index(amounts, (), Order.LEASES).best()
        if not amounts and shape.kind == "actor" and queue.alternatives == ((),):
            return nodes.index(amounts, (), Order.ACTORS).best()
        if queue.soft_conditions:
            both = queue.alternatives[0] + queue.soft_conditions
            preferred = nodes.index(amounts, both, Order.UTILIZATION).best()
            if preferred is not None:
                return preferred
        for conditions in queue.alternatives:
            best = nodes.index(amounts, conditions, Order.UTILIZATION).best()
            if best is not None:
                return self._nearer(queue, request, best, conditions)
        return None

    def _nearer(self, queue: ShapeQueue, request: Request, best: Node, conditions: Conditions) -> Node:
        """The node near the data or the client instead of ``best``, unless it is too busy for that."""
        nodes = self._book.nodes.pools
        near: list[str] = []
        if request.locality:
            near += sorted(request.locality, key=lambda key: (-(request.locality or {})[key], key))
        if request.client_node is not None:
            near.append(request.client_node)
        for key in near:
            node = nodes.get(key)
            # Equally busy is near enough: going elsewhere would gain nothing.
            if node is None or node.utilization >= max(self._threshold, best.utilization + 1):
                continue
            if node.accepts(conditions) and self._usable(queue, node):
                return node
        return best

    def _find_in_group(self, queue: ShapeQueue, group_id: bytes) -> Pool | None:
        group = self._book.groups.get(group_id)
        if group is None:
            return None
        index = queue.shape.bundle
        if index < 0:
            return group.domain.index(queue.amounts, (), Order.UTILIZATION).best()
        bundle = group.bundles[index] if index < len(group.bundles) else None
        return bundle if bundle is not None and self._usable(queue, bundle) else None

    # -- groups ----------------------------------------------------------------------------------

    def _place_group(self, group: Group, tell: bool) -> None:
        """Reserve all missing bundles of ``group`` if they fit; ``tell``: say so if they do not."""
        book = self._book
        missing = group.missing()
        needed: Amounts = {}
        for amounts in missing.values():
            for name, amount in amounts.items():
                needed[name] = needed.get(name, 0) + amount
        found = None
        # Trying out a plan is dear, so first the cheap question whether there is enough at all.
        if all(book.free.get(name, 0) >= amount for name, amount in needed.items()):
            kept = [pool for pool in self._claims.pools(group) if isinstance(pool, Node)]
            found = plan(group, FreeNow(book.nodes, group, kept))
        if found is None:
            if tell:
                possible, text = self._group_obstacle(group)
                book.out.append(m.GroupPending(group.id, text, possible))
                self._ask(group.names, None, len(missing), lambda pool: True, None, ())
            return
        del self._pending[group.id]
        group.overtaken = 0
        book.reserve(group, found)
        placed = [bundle.on.key for bundle in group.bundles if bundle is not None]
        book.out.append(m.GroupPlaced(group.id, group.client, placed))
        self._open_again(self._claims.drop(group))

    def _group_obstacle(self, group: Group) -> tuple[bool, str]:
        return group_obstacle(group, [n for n in self._book.nodes.pools.values() if n.accepts(())])

    # -- nobody waits forever ----------------------------------------------------------------------

    def _overtake(self, seq: int, queue: ShapeQueue, pool: Pool) -> None:
        """Note who, waiting longer than ``seq``, was passed by a grant on ``pool``."""
        unseen = set(queue.amounts)
        older: list[tuple[int, Owner]] = []
        if isinstance(pool, Bundle):
            places: tuple[Any, ...] = (("group", pool.group_id),)
        else:
            places = (None, ("node", pool.key))
            older += [(group.seq, group) for group in self._pending.values() if group.seq < seq]
        for place in places:
            older += [(other.age(), other) for other in self._waiting.older(seq, place)]
        older.sort(key=lambda pair: pair[0])
        for _, other in older:
            if other is queue:
                continue
            # Of all who wait for a resource only the oldest counts: its turn comes, then the next.
            names = unseen.intersection(other.names if isinstance(other, Group) else other.amounts)
            if not names:
                continue
            if isinstance(other, ShapeQueue) and not self._could_use(other, pool):
                continue
            unseen -= names
            other.overtaken += 1
            # Finding a place to keep looks at all nodes; on large clusters that has to be rarer.
            limit = max(self._claims.limit, len(self._book.nodes.pools))
            if other.overtaken >= limit and other not in self._claims:
                self._claim(other)
            if not unseen:
                break

    def _claim(self, owner: Owner) -> None:
        """Keep a place for ``owner``, if there is one that will become free."""
        names = owner.names if isinstance(owner, Group) else set(owner.amounts)
        if not names.isdisjoint(self._claims.taken_names()):
            return
        parts: list[tuple[Pool, Amounts]] = []
        if isinstance(owner, Group):
            nodes = sorted(self._book.nodes.pools.values(), key=lambda n: (n.utilization, n.rank))
            supply = Listed([n for n in nodes if n.accepts(())], lambda node: node.ever)
            found = plan(owner, supply)
            parts = [(node, owner.wanted[index]) for index, node in (found or {}).items()]
        else:
            pool = nearest(self._candidates(owner), owner.amounts)
            parts = [(pool, owner.amounts)] if pool is not None else []
        if parts:
            self._claims.add(owner, parts)
        else:
            owner.overtaken = 0

    def _candidates(self, queue: ShapeQueue) -> list[Pool]:
        if queue.shape.group is not None:
            group = self._book.groups.get(queue.shape.group)
            return [b for b in group.bundles if b and self._may_use(queue, b)] if group else []
        target = self._target(queue) if queue.target is not None else None
        if target is not None:
            return [target]
        found: dict[Pool, None] = {}
        for conditions in queue.alternatives:
            index = self._book.nodes.index(queue.amounts, conditions, Order.UTILIZATION)
            found.update(dict.fromkeys(index.candidates()))
        return list(found)

    def _drop_claims_on(self, pool: Pool) -> None:
        for owner in list(pool.claims):
            assert isinstance(owner, (ShapeQueue, Group))
            self._open_again(self._claims.drop(owner))

    def _open_again(self, pools: list[Pool]) -> None:
        for pool in pools:
            if self._book.alive(pool):
                self._book.gained(pool)

    # -- telling those who wait ----------------------------------------------------------------------

    def _tell(self, queue: ShapeQueue) -> None:
        """Say so if ``queue`` waits in vain; else ask others for what they do not use."""
        if not self._feasible(queue):
            queue.infeasible = obstacle(queue, self._book)
            self._tell_infeasible(queue, queue.requests())
            return
        queue.infeasible = None
        self._ask(
            queue.amounts,
            queue.shape.group,
            queue.remaining,
            lambda pool: self._could_use(queue, pool),
            queue.shape,
            queue.clients,
        )

    def _tell_infeasible(self, queue: ShapeQueue, requests: list[Request]) -> None:
        missing, text = queue.infeasible or ({}, "")
        hopeless = queue.place is not None and queue.place[0] == "node"
        for request in requests:
            self._book.out.append(m.Infeasible(request.id, request.client, dict(missing), text, hopeless))

    def _feasible(self, queue: ShapeQueue) -> bool:
        shape = queue.shape
        if shape.group is not None:
            group = self._book.groups.get(shape.group)
            if group is None or shape.bundle >= len(group.wanted):
                return False
            wanted = group.wanted if shape.bundle < 0 else [group.wanted[shape.bundle]]
            return any(all(w.get(n, 0) >= a for n, a in queue.amounts.items()) for w in wanted)
        if queue.target is not None and (queue.place is not None or self._target(queue) is not None):
            return self._target(queue) is not None
        nodes = self._book.nodes
        return any(
            nodes.index(queue.amounts, conditions, Order.UTILIZATION).feasible()
            for conditions in queue.alternatives
        )

    def _ask(self, names: Any, where: bytes | None, wanted: int, suits: Any, but: Any, clients: Any) -> None:
        self._book.out += self._book.holdings.ask(names, where, wanted, suits, but, clients)

    def _ask_again(self) -> None:
        """Ask those whose leases changed since they were asked, if somebody still waits for them."""
        holdings = self._book.holdings
        changed = list(holdings.unsettled)
        holdings.unsettled.clear()
        if not (self._waiting or self._pending):
            return
        for key in changed:
            row = holdings[key]
            if row is None:
                continue
            wanted = 0
            if row.where is None:
                places: list[Any] = [None, *self._waiting.nodes(pool.key for pool in row.pools)]
                for group in self._pending.values():
                    if not group.names.isdisjoint(row.names):
                        wanted += len(group.missing())
            else:
                places = [("group", row.where)]
            for place in places:
                for _, _, queue in self._waiting.at(place):
                    if wanted >= row.count:
                        break
                    same = queue.shape == key[1] and key[0] in queue.clients
                    if same or queue.infeasible or not any(name in queue.amounts for name in row.names):
                        continue
                    # Of a holding so large some lease will do, and asking in vain does no harm.
                    large = len(row.pools) > 64
                    if large or any(self._could_use(queue, pool) for pool in row.pools):
                        wanted += queue.remaining
            if wanted:
                self._book.out.append(holdings.ask_one(key, row, wanted))

    # -- tidying -------------------------------------------------------------------------------------

    def _shrink(self, request: Request, keep: int) -> None:
        queue = request.queue
        queue.shrink(request, keep)
        self._waiting.update(queue)
        if not request.remaining:
            self._forget(request)
        if not queue.remaining:
            queue.overtaken = 0
            queue.infeasible = None
            self._open_again(self._claims.drop(queue))
            self._tidy_queue(queue)

    def _forget(self, request: Request) -> None:
        del self._book.requests[request.id]
        client = self._book.clients[request.client]
        del client.requests[request.id]
        self._book.tidy_client(request.client)

    def _tidy_queue(self, queue: ShapeQueue) -> None:
        """Queues of shapes nobody waits for are kept for a while only: shapes come and go."""
        if not queue.remaining and len(self._queues) > self._queue_limit:
            self._queues = {shape: q for shape, q in self._queues.items() if q.remaining}
            self._queue_limit = max(QUEUES_KEPT, 2 * len(self._queues))
