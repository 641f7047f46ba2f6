"""Which node may start a task now: from counts and bytes, without knowing the cluster. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rayjup.data.compute import ActorPoolStrategy, TaskPoolStrategy
from rayjup.data.execution.nodes import BarrierNode, Node


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Parameters
    ----------
    cpus
        Tasks that can run at the same time.
    memory
        Bytes that blocks on their way may take.
    """

    cpus: float
    memory: float


def choose(
    nodes: Sequence[Node], limits: Limits, able: Callable[[Node], bool] = lambda node: True
) -> Node | None:
    """The node that should start a task next; None: wait.

    Nodes near the end come first, so that blocks leave. A node whose output would exceed the memory waits,
    unless
    nothing at all runs (there must be progress), or its blocks are what a barrier waits for: those go to
    the object
    store, which moves to disk what it cannot hold.
    """
    running = sum(len(n.running) for n in nodes)
    held = sum(n.buffered for n in nodes)
    flight = sum(expected_bytes(n) * len(n.running) for n in nodes)
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        if node.stopped or not node.waiting() or not room(node, limits) or not able(node):
            continue
        if running == 0:
            return node
        if isinstance(node, BarrierNode) or _feeds_barrier(nodes, position):
            return node
        if held + flight + expected_bytes(node) <= limits.memory:
            return node
    return None


def _feeds_barrier(nodes: Sequence[Node], position: int) -> bool:
    """True if the blocks of the node go straight to a barrier."""
    node = nodes[position]
    return any(isinstance(n, BarrierNode) and node in n.inputs for n in nodes[position + 1 :])


def expected_bytes(node: Node) -> float:
    """What a task of the node is likely to yield."""
    if node.counts.finished and node.counts.bytes:
        return node.counts.bytes / node.counts.finished
    return 0.0


def room(node: Node, limits: Limits) -> bool:
    """True if the node may have one more task running."""
    if isinstance(node.compute, ActorPoolStrategy):
        return True  # its pool says so
    if node.compute.size is not None:
        return len(node.running) < node.compute.size
    cpus = node.remote.num_cpus if node.remote.num_cpus is not None else 1.0
    at_once = limits.cpus / cpus if cpus else 4 * limits.cpus
    return len(node.running) < max(2, int(2 * at_once))


@dataclass(frozen=True)
class PoolState:
    """A pool of actors, as :func:`resize` sees it."""

    actors: int
    busy: int  # actors with at least one call
    calls: int  # calls on their way
    waiting: int  # tasks that no actor has been given
    inputs_open: bool


def resize(
    pool: PoolState, strategy: ActorPoolStrategy, cpus: float, up_at: float, max_step: int | None = None
) -> int:
    """How many actors to add (positive) or to remove (negative)."""
    least = strategy.min_size
    most = min(strategy.max_size, max(least, cpus))
    if not pool.inputs_open and not pool.waiting:
        return pool.busy - pool.actors  # nothing is left for those that are idle
    if pool.actors < strategy.initial_size and pool.calls + pool.waiting:
        return int(strategy.initial_size - pool.actors)
    if pool.actors < least:
        return int(least - pool.actors)
    load = (pool.calls + pool.waiting) / max(1, pool.actors)
    if pool.waiting and load >= up_at and pool.actors < most:
        step = min(int(most - pool.actors), pool.waiting)
        return min(step, max_step) if max_step else max(1, step)
    return 0


__all__ = ["Limits", "PoolState", "TaskPoolStrategy", "choose", "expected_bytes", "resize", "room"]
