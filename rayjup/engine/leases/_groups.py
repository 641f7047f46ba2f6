"""Placement groups: bundles of resources that are reserved all at once or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from rayjup.engine.leases._messages import GroupRequested, GroupStrategy
from rayjup.engine.leases._placement import Domain, Order
from rayjup.engine.leases._resources import Amounts, Bundle, Ledger, Node, gpu_slots, summed, to_units
from rayjup.engine.leases._shapes import Conditions

Plan = dict[int, Node]  # index of a bundle → where it goes
Signature = tuple[tuple[str, int], ...]


class Group:
    """A placement group and where its bundles lie (None: not reserved yet, or lost)."""

    __slots__ = (
        "bundles",
        "client",
        "detached",
        "domain",
        "id",
        "labels",
        "names",
        "overtaken",
        "preferred_node",
        "seq",
        "strategy",
        "wanted",
    )

    def __init__(self, asked: GroupRequested, seq: int) -> None:
        self.id = asked.group_id
        self.client = asked.client
        self.wanted = [to_units(bundle) for bundle in asked.bundles]
        self.names = frozenset(name for amounts in self.wanted for name in amounts)
        self.strategy: GroupStrategy = asked.strategy
        self.detached = asked.detached
        self.labels = asked.labels
        self.preferred_node = asked.preferred_node
        self.seq = seq
        self.overtaken = 0
        self.bundles: list[Bundle | None] = [None] * len(asked.bundles)
        self.domain: Domain[Bundle] = Domain()

    def conditions(self, index: int) -> Conditions:
        """What is asked of the labels of a bundle's node."""
        return self.labels[index] if self.labels else ()

    def missing(self) -> dict[int, Amounts]:
        """The bundles that are not reserved."""
        return {i: self.wanted[i] for i, bundle in enumerate(self.bundles) if bundle is None}

    def used_nodes(self) -> list[Node]:
        """The nodes on which bundles of this group lie, each once."""
        return list(dict.fromkeys(bundle.on for bundle in self.bundles if bundle is not None))


class Supply:
    """Where a plan may put bundles: nodes in order of preference, and what is free on each."""

    def in_order(self, amounts: Amounts) -> Iterator[Node]:
        """The nodes on which ``amounts`` would fit, best first."""
        raise NotImplementedError

    def room(self, node: Node) -> Ledger:
        """What is free on a node, as a copy."""
        raise NotImplementedError


class FreeNow(Supply):
    """What is free now and not kept for others than ``owner``."""

    def __init__(self, nodes: Domain[Node], owner: object, kept: list[Node]) -> None:
        self._nodes = nodes
        self._owner = owner
        self._kept = kept

    def in_order(self, amounts: Amounts) -> Iterator[Node]:
        # An index does not know for whom a node is kept, so those kept for the owner come extra.
        for node in self._kept:
            if node.accepts(()) and node.room(self._owner).fits(amounts):
                yield node
        source = self._nodes.index(amounts, (), Order.UTILIZATION).in_order()
        try:
            for node in source:
                if node not in self._kept:
                    yield node
        finally:
            source.close()

    def room(self, node: Node) -> Ledger:
        return node.room(self._owner)


class Listed(Supply):
    """What a function says of each of some nodes; used where all of them have to be looked at."""

    def __init__(self, nodes: list[Node], room: Callable[[Node], Ledger]) -> None:
        self._nodes = nodes
        self._room = room

    def in_order(self, amounts: Amounts) -> Iterator[Node]:
        return (node for node in self._nodes if self._room(node).fits(amounts))

    def room(self, node: Node) -> Ledger:
        return self._room(node).copy()


def whole_room(node: Node) -> Ledger:
    """All of a node, as if it were empty."""
    return Ledger(dict(node.total), gpu_slots(node.total.get("GPU", 0)))


def plan(group: Group, supply: Supply) -> Plan | None:
    """Where to put the bundles that are not reserved, or None if they do not all fit.

    Bundles of the group that are reserved stay where they are. STRICT_PACK and
    STRICT_SPREAD find a place whenever there is one; PACK and SPREAD try their preference first and
    then any nodes, largest bundle first, which can miss a place only where bundles of different
    kinds have to share nodes that are nearly full.
    """
    strategy, missing, used = group.strategy, group.missing(), group.used_nodes()
    shelf = _Shelf(supply, group)
    order = sorted(missing, key=lambda i: (-missing[i].get("GPU", 0), -sum(missing[i].values()), i))
    try:
        if strategy == "STRICT_SPREAD":
            return _match(missing, order, used, shelf)
        if strategy == "SPREAD":
            return _spread(missing, order, used, shelf)
        packed = _on_one(missing, order, used, shelf)
        if packed is not None or strategy == "STRICT_PACK":
            return packed
        return _pack(missing, order, used, shelf)
    finally:
        shelf.close()


class _Shelf:
    """Candidates of a supply, fetched once per kind of bundle, and the rooms tried out so far."""

    def __init__(self, supply: Supply, group: Group) -> None:
        self._supply = supply
        self._group = group
        self._fetched: dict[Signature, list[Node]] = {}
        self._sources: dict[Signature, Iterator[Node]] = {}
        self.rooms: dict[Node, Ledger] = {}

    def welcome(self, node: Node, index: int) -> bool:
        """Whether the labels of ``node`` are such as a bundle wants."""
        return not self._group.labels or node.accepts(self._group.conditions(index))

    def homes(self, index: int) -> Iterator[Node]:
        """Nodes on which a bundle would fit if nothing of this plan were there."""
        for node in self.candidates(self._group.wanted[index]):
            if self.welcome(node, index):
                yield node

    def candidates(self, amounts: Amounts) -> Iterator[Node]:
        """Nodes on which ``amounts`` would fit if nothing of this plan were there."""
        key = tuple(sorted(amounts.items()))
        fetched = self._fetched.setdefault(key, [])
        if key not in self._sources:
            self._sources[key] = self._supply.in_order(amounts)
        position = 0
        while True:
            if position == len(fetched):
                node = next(self._sources[key], None)
                if node is None:
                    return
                fetched.append(node)
            yield fetched[position]
            position += 1

    def put(self, node: Node, index: int) -> bool:
        """Take a bundle's amounts from the room of ``node`` in this plan, if it may lie there and fits."""
        amounts = self._group.wanted[index]
        if not self.welcome(node, index):
            return False
        room = self.rooms.get(node)
        if room is None:
            room = self._supply.room(node)
        if not room.fits(amounts):
            return False
        room.take(amounts)
        self.rooms[node] = room
        return True

    def holds_all(self, node: Node, order: list[int]) -> bool:
        room = self._supply.room(node)
        for index in order:
            amounts = self._group.wanted[index]
            if not self.welcome(node, index) or not room.fits(amounts):
                return False
            room.take(amounts)
        return True

    def preferred(self) -> Iterator[Node]:
        """The node the group prefers, if that is there."""
        wish = self._group.preferred_node
        if wish is not None:
            yield from (node for node in self.candidates({}) if node.key == wish)

    def close(self) -> None:
        for source in self._sources.values():
            close = getattr(source, "close", None)
            if close is not None:
                close()


def _on_one(missing: dict[int, Amounts], order: list[int], used: list[Node], shelf: _Shelf) -> Plan | None:
    if len(used) > 1:
        return None
    parts = [missing[i] for i in order]
    # What one node has to have at least. Shares of GPUs do not add up to whole ones, so of those
    # only the largest part counts here; the node is then tried out.
    least = summed(parts)
    if "GPU" in least:
        least["GPU"] = max(part.get("GPU", 0) for part in parts)
    for node in used or chain(shelf.preferred(), shelf.candidates(least)):
        if node.accepts(()) and shelf.holds_all(node, order):
            return dict.fromkeys(order, node)
    return None


def _pack(missing: dict[int, Amounts], order: list[int], used: list[Node], shelf: _Shelf) -> Plan | None:
    result: Plan = {}
    opened = dict.fromkeys(node for node in used if node.accepts(()))
    for i in order:
        home = next((node for node in opened if shelf.put(node, i)), None)
        if home is None:
            home = next((node for node in shelf.homes(i) if shelf.put(node, i)), None)
        if home is None:
            return None
        opened[home] = None
        result[i] = home
    return result


def _spread(missing: dict[int, Amounts], order: list[int], used: list[Node], shelf: _Shelf) -> Plan | None:
    result: Plan = {}
    load = dict.fromkeys((node for node in used if node.accepts(())), 1)
    for i in order:
        fresh = (node for node in shelf.homes(i) if node not in load)
        home = next((node for node in fresh if shelf.put(node, i)), None)
        if home is None:
            lightest = sorted(load, key=lambda node: (load[node], node.rank))
            home = next((node for node in lightest if shelf.put(node, i)), None)
        if home is None:
            return None
        load[home] = load.get(home, 0) + 1
        result[i] = home
    return result


def _match(missing: dict[int, Amounts], order: list[int], used: list[Node], shelf: _Shelf) -> Plan | None:
    """Each bundle on a node of its own: a matching, found by augmenting paths.

    No bundle needs more choices than there are bundles, because the others occupy one node each.
    """
    taken = set(used)
    choices: dict[int, list[Node]] = {}
    for i in order:
        choices[i] = []
        for node in shelf.homes(i):
            if node not in taken:
                choices[i].append(node)
                if len(choices[i]) == len(missing):
                    break
    holder: dict[Node, int] = {}

    def seat(i: int) -> bool:
        # Breadth first, so that a chain of moves costs no recursion.
        came_from: dict[Node, int] = {}
        frontier = [i]
        while frontier:
            bundle = frontier.pop(0)
            for node in choices[bundle]:
                if node in came_from:
                    continue
                came_from[node] = bundle
                if node in holder:
                    frontier.append(holder[node])
                    continue
                free: Node | None = node
                while free is not None:
                    mover = came_from[free]
                    left = next((n for n, b in holder.items() if b == mover), None) if mover != i else None
                    if left is not None:
                        del holder[left]
                    holder[free] = mover
                    free = left
                return True
        return False

    if not all(seat(i) for i in order):
        return None
    return {i: node for node, i in holder.items()}
