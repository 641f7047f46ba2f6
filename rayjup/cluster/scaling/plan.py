"""How many nodes of which type to start, and which to end: a pure function of what is there and what waits.

What waits is put into boxes: first into what existing nodes have left, then into nodes that are
starting, then into new ones. For a new one the type is chosen that would be used best by what waits,
without taking GPUs for what needs none. Nothing here has a clock or does anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rayjup.cluster.scaling.settings import NodeType, ScalingSettings
from rayjup.engine.leases import UNIT, Conditions, Ledger, gpu_slots, matches, to_units

_FLOOR = 5  # so many nodes may be starting at once in any case
_NOT_ASKED_FOR = ("memory", "object_store_memory")  # offered by all nodes; does not make one fit better

Amounts = dict[str, int]


@dataclass(frozen=True)
class Up:
    """A node of the cluster.

    ``type`` is "" for nodes that nobody here has started (the head's, and those added by hand);
    ``idle_s`` is None while something runs or lies there.
    """

    node_id: str
    type: str
    total: Mapping[str, float]
    free: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)
    gpus: Mapping[int, int] | None = None  # what is left of each, in units; None: as if evenly free
    idle_s: float | None = None
    draining: bool = False


@dataclass(frozen=True)
class Wanted:
    """So many times these resources, each on one node that meets one of ``labels``."""

    resources: Mapping[str, float]
    count: int = 1
    labels: tuple[Conditions, ...] = ((),)


@dataclass(frozen=True)
class WantedGroup:
    """Bundles of a placement group that lie nowhere yet; ``nodes`` have others of the same group."""

    strategy: str
    bundles: tuple[Mapping[str, float], ...]
    labels: tuple[Conditions, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Situation:
    """What is there and what waits. ``starting``: nodes on their way, by type."""

    nodes: tuple[Up, ...] = ()
    starting: Mapping[str, int] = field(default_factory=dict)
    demand: tuple[Wanted, ...] = ()
    groups: tuple[WantedGroup, ...] = ()
    requested: tuple[Wanted, ...] = ()


@dataclass(frozen=True)
class Unmet:
    """What no node that may be had can serve, and why."""

    resources: Mapping[str, float]
    count: int
    why: str


@dataclass(frozen=True)
class Decision:
    """What to do. ``missing`` are nodes that are wanted beyond those started now, by type."""

    start: Mapping[str, int] = field(default_factory=dict)
    stop: tuple[str, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    unmet: tuple[Unmet, ...] = ()


def decide(settings: ScalingSettings, now: Situation) -> Decision:
    """What to start and what to end.

    Parameters
    ----------
    settings
        Types and limits.
    now
        What is there and what waits.
    """
    world = _World(settings, now)
    world.reach_least()
    world.serve_requested(now.requested)
    for group in now.groups:
        world.serve_group(group)
    for wanted in sorted(now.demand, key=lambda w: _size(to_units(w.resources)), reverse=True):
        world.serve(wanted)
    start = world.paced()
    missing = {
        name: count - start.get(name, 0) for name, count in world.new.items() if count > start.get(name, 0)
    }
    return Decision(start, world.to_end(), missing, tuple(world.unmet))


class _Box:
    """A node as far as it is not used: one that is there, one that is starting, or one to be started."""

    __slots__ = ("key", "kind", "labels", "room", "total")

    def __init__(
        self, key: str, kind: str, labels: Mapping[str, str], room: Ledger, total: Mapping[str, float]
    ) -> None:
        self.key = key
        self.kind = kind
        self.labels = labels
        self.room = room
        self.total = total

    def welcomes(self, labels: Iterable[Conditions]) -> bool:
        return any(matches(self.labels, conditions) for conditions in labels)

    def put(self, amounts: Amounts, most: int) -> int:
        """Put it in as often as it fits, ``most`` times at most; how often that was."""
        gpus = amounts.get("GPU", 0)
        if gpus and gpus % UNIT:  # shares of GPUs do not add up to whole ones: they are tried out
            done = 0
            while done < most and self.room.fits(amounts):
                self.room.take(amounts)
                done += 1
            return done
        times = most
        for name, amount in amounts.items():
            times = min(times, max(0, self.room.free.get(name, 0)) // amount)
        if gpus:
            times = min(times, sum(left >= UNIT for left in self.room.slots.values()) // (gpus // UNIT))
        for name, amount in amounts.items() if times else ():
            self.room.free[name] -= times * amount
        for _ in range(times if gpus else 0):
            for index, share in self.room.choose_gpus(gpus) or ():
                self.room.slots[index] -= share
        return times


def _empty(resources: Mapping[str, float]) -> Ledger:
    units = to_units(resources)
    return Ledger(units, gpu_slots(units.get("GPU", 0)))


def _left(node: Up) -> Ledger:
    free = to_units(node.free)
    slots = dict(node.gpus) if node.gpus is not None else gpu_slots(free.get("GPU", 0))
    return Ledger(free, slots)


def _size(amounts: Amounts) -> tuple[int, int]:
    return (
        amounts.get("GPU", 0),
        sum(amount for name, amount in amounts.items() if name not in _NOT_ASKED_FOR),
    )


class _World:
    """The cluster as it would be."""

    def __init__(self, settings: ScalingSettings, now: Situation) -> None:
        self._settings = settings
        self._now = now
        self.new: dict[str, int] = {}
        self.unmet: list[Unmet] = []
        self._kept: set[str] = set()  # nodes that request_resources needs
        self._boxes = [
            _Box(node.node_id, node.type, node.labels, _left(node), node.total)
            for node in now.nodes
            if not node.draining
        ]
        self._before = {node.node_id: to_units(node.free) for node in now.nodes}
        self._fresh: list[_Box] = []  # nodes that are starting, or are to be
        for name, count in now.starting.items():
            kind = settings.type(name)
            for _ in range(count if kind is not None else 0):
                self._fresh.append(self._make(kind))  # type: ignore[arg-type]  # not None here
        self._count: dict[str, int] = dict(now.starting)
        for node in now.nodes:
            if node.type:  # those that leave take their place until they are gone
                self._count[node.type] = self._count.get(node.type, 0) + 1

    def _make(self, kind: NodeType) -> _Box:
        return _Box("", kind.name, kind.all_labels, _empty(kind.resources), kind.resources)

    def _may_have(self, kind: NodeType) -> bool:
        return (
            kind.name not in self._settings.barred
            and self._count.get(kind.name, 0) < kind.max_workers
            and sum(self._count.values()) < self._settings.max_workers
        )

    def _open(self, kind: NodeType) -> _Box:
        self._count[kind.name] = self._count.get(kind.name, 0) + 1
        self.new[kind.name] = self.new.get(kind.name, 0) + 1
        box = self._make(kind)
        self._fresh.append(box)
        return box

    def reach_least(self) -> None:
        """As many of each type as there have to be."""
        leaving = {node.node_id for node in self._now.nodes if node.draining}
        for kind in self._settings.types:
            staying = sum(n.type == kind.name and n.node_id not in leaving for n in self._now.nodes)
            there = staying + self._now.starting.get(kind.name, 0)
            for _ in range(kind.min_workers - there):
                if self._may_have(kind):
                    self._open(kind)

    def serve_requested(self, requested: tuple[Wanted, ...]) -> None:
        """What the cluster has to be able to hold, whatever runs there now."""
        if not requested:
            return
        boxes, fresh = self._boxes, self._fresh
        totals = {node.node_id: node for node in self._now.nodes}
        self._boxes = [_Box(b.key, b.kind, b.labels, _empty(totals[b.key].total), b.total) for b in boxes]
        self._fresh = [_Box(b.key, b.kind, b.labels, _empty(b.total), b.total) for b in fresh]
        before = len(self._fresh)
        whole = {box.key: dict(box.room.free) for box in self._boxes}
        for wanted in sorted(requested, key=lambda w: _size(to_units(w.resources)), reverse=True):
            self.serve(wanted)
        self._kept = {box.key for box in self._boxes if box.room.free != whole[box.key]}
        # What was opened for it is empty: what waits may use it, too.
        opened = [_Box("", b.kind, b.labels, _empty(b.total), b.total) for b in self._fresh[before:]]
        self._boxes, self._fresh = boxes, fresh + opened

    def serve(self, wanted: Wanted) -> None:
        """Find places for leases of one kind."""
        amounts = to_units(wanted.resources)
        left = wanted.count
        for box in (*self._boxes, *self._fresh):
            if not left:
                return
            if box.welcomes(wanted.labels):
                left -= box.put(amounts, left)
        while left:
            kind = self._best(amounts, wanted.labels, left)
            if kind is None:
                self.unmet.append(Unmet(wanted.resources, left, self._why(amounts, wanted.labels)))
                return
            left -= self._open(kind).put(amounts, left)

    def _best(self, amounts: Amounts, labels: Iterable[Conditions], count: int) -> NodeType | None:
        """The type of which one more node would be used best; None where none is possible."""
        best: tuple[tuple[float, ...], NodeType] | None = None
        for number, kind in enumerate(self._settings.types):
            if not self._may_have(kind) or not any(matches(kind.all_labels, each) for each in labels):
                continue
            box = self._make(kind)
            whole = dict(box.room.free)
            if not box.put(amounts, count):
                continue
            counted = [name for name in whole if name not in _NOT_ASKED_FOR and whole[name]]
            used = [1 - box.room.free[name] / whole[name] for name in counted]
            spare_gpus = "GPU" in counted and not amounts.get("GPU", 0)
            score = (-float(spare_gpus), sum(used) / len(used) if used else 0.0, -float(number))
            if best is None or score > best[0]:
                best = (score, kind)
        return best[1] if best is not None else None

    def _why(self, amounts: Amounts, labels: Iterable[Conditions]) -> str:
        types = self._settings.types
        fits = [kind for kind in types if self._make(kind).put(amounts, 1)]
        if not fits:
            return "no type of node is large enough"
        fits = [kind for kind in fits if any(matches(kind.all_labels, each) for each in labels)]
        if not fits:
            return "no type of node that is large enough has the labels"
        if all(kind.name in self._settings.barred for kind in fits):
            return f"{fits[0].name} could not be had just now; it will be tried again"
        full = [kind for kind in fits if self._count.get(kind.name, 0) >= kind.max_workers]
        if len(full) == len(fits):
            names = ", ".join(f"{kind.name} (max_workers {kind.max_workers})" for kind in full)
            return f"as many nodes as there may be are there already: {names}"
        return f"the cluster may have {self._settings.max_workers} worker nodes at most"

    def serve_group(self, group: WantedGroup) -> None:
        """Find places for the bundles of a group, as its strategy wants them."""
        labels = group.labels or ((),) * len(group.bundles)
        parts = sorted(
            zip(map(to_units, group.bundles), labels, strict=True), key=lambda p: _size(p[0]), reverse=True
        )
        if group.strategy == "STRICT_PACK":
            self._on_one(group, parts)
            return
        apart = group.strategy in ("STRICT_SPREAD", "SPREAD")
        used: set[int] = {id(box) for box in self._boxes if box.key in group.nodes}
        for amounts, conditions in parts:
            box = self._place_for(amounts, conditions, used if apart else set())
            if box is None and group.strategy == "SPREAD":
                box = self._place_for(amounts, conditions, set())
            if box is None:
                why = self._why(amounts, (conditions,))
                resources = {name: amount / UNIT for name, amount in amounts.items()}
                self.unmet.append(Unmet(resources, 1, why))
            else:
                used.add(id(box))

    def _place_for(self, amounts: Amounts, conditions: Conditions, without: set[int]) -> _Box | None:
        for box in (*self._boxes, *self._fresh):
            if id(box) not in without and box.welcomes((conditions,)) and box.put(amounts, 1):
                return box
        kind = self._best(amounts, (conditions,), 1)
        if kind is None:
            return None
        box = self._open(kind)
        box.put(amounts, 1)
        return box

    def _on_one(self, group: WantedGroup, parts: list[tuple[Amounts, Conditions]]) -> None:
        def takes(box: _Box) -> bool:
            room = box.room.copy()
            for amounts, conditions in parts:
                if not box.welcomes((conditions,)) or not room.fits(amounts):
                    return False
                room.take(amounts)
            box.room = room
            return True

        for box in (*self._boxes, *self._fresh):
            if (not group.nodes or box.key in group.nodes) and takes(box):
                return
        if not group.nodes:
            for kind in sorted(self._settings.types, key=lambda k: _size(to_units(k.resources))):
                if self._may_have(kind) and takes(self._make(kind)):
                    takes(self._open(kind))
                    return
        total: dict[str, float] = {}
        for amounts, _ in parts:
            for name, amount in amounts.items():
                total[name] = total.get(name, 0.0) + amount / UNIT
        self.unmet.append(Unmet(total, 1, "no node that may be had is large enough for all of it"))

    def paced(self) -> dict[str, int]:
        """Of the nodes that are wanted those that may start now."""
        there = sum(bool(node.type) for node in self._now.nodes)
        may = max(_FLOOR, math.ceil(self._settings.upscaling_speed * there))
        may -= sum(self._now.starting.values())
        start: dict[str, int] = {}
        for name, count in self.new.items():
            kind = self._settings.type(name)
            assert kind is not None
            now = min(count, max(0, may))
            if now:
                start[name] = now
                may -= now
        return start

    def to_end(self) -> tuple[str, ...]:
        """The nodes that have done nothing for too long, those that have done so longest first."""
        ends: list[str] = []
        counts = {kind.name: 0 for kind in self._settings.types}
        for node in self._now.nodes:
            if node.type in counts and not node.draining:
                counts[node.type] += 1
        used = {box.key for box in self._boxes if box.key and self._was_given(box)}
        idle = [n for n in self._now.nodes if n.type in counts and n.idle_s is not None and not n.draining]
        for node in sorted(idle, key=lambda n: -(n.idle_s or 0.0)):
            kind = self._settings.type(node.type)
            assert kind is not None and node.idle_s is not None
            allowed = (
                kind.idle_timeout_s if kind.idle_timeout_s is not None else self._settings.idle_timeout_s
            )
            surplus = counts[node.type] > max(kind.min_workers, 0)
            over = counts[node.type] > kind.max_workers or sum(counts.values()) > self._settings.max_workers
            if node.node_id in self._kept or node.node_id in used:
                continue
            if surplus and (over or node.idle_s >= allowed):
                counts[node.type] -= 1
                ends.append(node.node_id)
        return tuple(ends)

    def _was_given(self, box: _Box) -> bool:
        return box.room.free != self._before[box.key]
