"""The accounts: how much of what is free where.

Amounts are whole numbers of 1/10000, so that a million grants and releases leave no rounding
error. GPUs are also kept by index: a request for less than one gets a share of one GPU, whole
ones get GPUs nobody shares.
"""

from __future__ import annotations

from collections.abc import Mapping

from rayjup.engine.leases._shapes import Conditions, matches

UNIT = 10_000  # of an amount of 1.0
FULL = 1_000_000  # utilization of a pool of which some resource is used up

Amounts = dict[str, int]
GpuShares = tuple[tuple[int, int], ...]


def to_units(resources: Mapping[str, float]) -> Amounts:
    """Amounts as whole numbers, without those that are 0."""
    exact = {name: round(amount * UNIT) for name, amount in resources.items()}
    return {name: amount for name, amount in exact.items() if amount}


def from_units(amounts: Amounts) -> dict[str, float]:
    """Amounts as people write them."""
    return {name: amount / UNIT for name, amount in amounts.items()}


def summed(parts: list[Amounts]) -> Amounts:
    """The sum of several amounts."""
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def gpu_slots(units: int) -> dict[int, int]:
    """A fresh GPU of full capacity per whole unit, and one for the rest, if any."""
    whole, rest = divmod(units, UNIT)
    slots = dict.fromkeys(range(whole), UNIT)
    if rest:
        slots[whole] = rest
    return slots


class Ledger:
    """What is free: amounts by name, and of GPUs also by index."""

    __slots__ = ("free", "slots")

    def __init__(self, free: Amounts, slots: dict[int, int]) -> None:
        self.free = free
        self.slots = slots

    def copy(self) -> Ledger:
        """The same amounts, to be changed on trial."""
        return Ledger(dict(self.free), dict(self.slots))

    def fits(self, amounts: Amounts) -> bool:
        """Whether all of ``amounts`` is free."""
        free = self.free
        for name, amount in amounts.items():
            if free.get(name, 0) < amount:
                return False
        return "GPU" not in amounts or self.choose_gpus(amounts["GPU"]) is not None

    def take(self, amounts: Amounts) -> GpuShares:
        """Take ``amounts``, which have to fit; gives the shares of GPUs that were chosen."""
        shares = self.choose_gpus(amounts.get("GPU", 0))
        assert shares is not None, f"no GPUs left for {amounts}: {self.slots}"
        self.book(amounts, shares, -1)
        return shares

    def book(self, amounts: Amounts, shares: GpuShares, sign: int) -> None:
        """Take (-1) or give back (+1) without asking whether it fits."""
        free = self.free
        for name, amount in amounts.items():
            free[name] = free.get(name, 0) + sign * amount
        for index, amount in shares:
            # A GPU that was withdrawn while in use does not come back.
            if index in self.slots:
                self.slots[index] += sign * amount

    def choose_gpus(self, units: int) -> GpuShares | None:
        """Which GPUs to take ``units`` from; None where they cannot be had in that form."""
        if not units:
            return ()
        whole, rest = divmod(units, UNIT)
        chosen: list[tuple[int, int]] = []
        partial: tuple[int, int] | None = None  # (free, index): the fullest GPU that still has room
        for index, left in self.slots.items():
            if left >= UNIT and len(chosen) < whole:
                chosen.append((index, UNIT))
            elif rest and left >= rest and (partial is None or (left, index) < partial):
                partial = (left, index)
        if len(chosen) < whole or (rest and partial is None):
            return None
        if partial is not None:
            chosen.append((partial[1], rest))
        return tuple(chosen)


class Pool:
    """Something leases are drawn from: a node, or a bundle reserved on one.

    ``now`` is what is free. ``ever`` is what will be once all leases of tasks have ended, that is
    the total without actors and bundles: on it rests what is promised to those who wait long.
    """

    __slots__ = ("_utilization", "actors", "claims", "ever", "key", "leases", "now", "rank", "total")

    def __init__(self, key: str, total: Amounts, slots: dict[int, int], rank: int) -> None:
        self.key = key
        self.total = total
        self.now = Ledger(dict(total), dict(slots))
        self.ever = Ledger(dict(total), dict(slots))
        self.rank = rank
        self.leases: dict[str, None] = {}
        self.actors = 0
        self.claims: dict[object, list[Amounts]] = {}
        self._utilization = 0

    @property
    def node(self) -> Node:
        raise NotImplementedError

    def accepts(self, conditions: Conditions) -> bool:
        """Whether something new may be placed here that sets these conditions."""
        raise NotImplementedError

    def hosts(self, amounts: Amounts) -> bool:
        """Whether ``amounts`` would fit if nothing else were here."""
        total = self.total
        for name, amount in amounts.items():
            if total.get(name, 0) < amount:
                return False
        return "GPU" not in amounts or Ledger(total, self.all_slots()).fits({"GPU": amounts["GPU"]})

    def all_slots(self) -> dict[int, int]:
        """The GPUs of this pool by index, as if all of them were free."""
        return gpu_slots(self.total.get("GPU", 0))

    def book(self, amounts: Amounts, shares: GpuShares, sign: int, pinned: bool) -> None:
        """Take (-1) or give back (+1); ``pinned``: for something that does not end by itself."""
        self.now.book(amounts, shares, sign)
        if pinned:
            self.ever.book(amounts, shares, sign)
        self._utilization = -1

    def lend(self, cpus: int) -> None:
        """Give back (or with a negative number take) CPUs of a lease that stays."""
        self.now.free["CPU"] = self.now.free.get("CPU", 0) + cpus
        self._utilization = -1

    @property
    def utilization(self) -> int:
        """The used share of the resource that is used most, in millionths."""
        if self._utilization < 0:
            free = self.now.free
            self._utilization = max(
                ((whole - free[name]) * FULL // whole for name, whole in self.total.items()), default=0
            )
        return self._utilization

    def allows(self, amounts: Amounts, owner: object) -> bool:
        """Whether ``amounts``, which fit, may go to ``owner`` in view of what is kept for others."""
        left = self.room(owner)
        return left.fits(amounts)

    def room(self, owner: object) -> Ledger:
        """What is free here for ``owner``, as a copy: without what is kept for others."""
        left = self.now.copy()
        for holder, parts in self.claims.items():
            if holder is owner:
                continue
            for part in parts:
                for name, need in part.items():
                    if left.fits({name: need}):
                        left.take({name: need})
                        continue
                    # It is being saved up for: nobody else gets any of it.
                    left.free[name] = 0
                    if name == "GPU":
                        left.slots = {}
        return left


class Node(Pool):
    """A machine."""

    __slots__ = ("bundles", "draining", "labels")

    def __init__(self, node_id: str, total: Amounts, labels: dict[str, str], rank: int) -> None:
        super().__init__(node_id, total, gpu_slots(total.get("GPU", 0)), rank)
        self.labels = labels
        self.draining = False
        self.bundles: dict[Bundle, None] = {}

    @property
    def node(self) -> Node:
        return self

    def accepts(self, conditions: Conditions) -> bool:
        return not self.draining and (not conditions or matches(self.labels, conditions))

    def supply(self, total: Amounts, in_use: list[tuple[GpuShares, bool]]) -> None:
        """Offer ``total`` from now on; what is in use stays so, and is a debt if it is more.

        ``in_use``: the GPUs of each lease and bundle here, and whether it is pinned.
        """
        for ledger in (self.now, self.ever):
            for name in {*total, *self.total}:
                ledger.free[name] = ledger.free.get(name, 0) + total.get(name, 0) - self.total.get(name, 0)
            ledger.slots = gpu_slots(total.get("GPU", 0))
        for shares, pinned in in_use:
            self.book({}, shares, -1, pinned)
        self.total = total
        self._utilization = -1


class Bundle(Pool):
    """A part of a node, reserved for a placement group."""

    __slots__ = ("group_id", "index", "on", "shares")

    def __init__(
        self, group_id: bytes, index: int, on: Node, total: Amounts, shares: GpuShares, number: int
    ) -> None:
        # A bundle that is placed again is another pool: the number tells the two apart.
        super().__init__(f"{group_id.hex()}:{index}", total, dict(shares), (index << 64) + number)
        self.group_id = group_id
        self.index = index
        self.on = on
        self.shares = shares

    @property
    def node(self) -> Node:
        return self.on

    def accepts(self, conditions: Conditions) -> bool:
        return not conditions or matches(self.on.labels, conditions)

    def all_slots(self) -> dict[int, int]:
        return dict(self.shares)
