"""Why something cannot be placed, in words and numbers. Slow, and only asked when somebody is told."""

from __future__ import annotations

from rayjup.engine.leases._book import Book
from rayjup.engine.leases._groups import Group, Listed, plan, whole_room
from rayjup.engine.leases._queues import ShapeQueue
from rayjup.engine.leases._resources import UNIT, Amounts, Node, from_units, summed
from rayjup.engine.leases._shapes import Conditions


def obstacle(queue: ShapeQueue, book: Book) -> tuple[dict[str, float], str]:
    """By how much the best candidate falls short of what ``queue`` asks for, and why in words."""
    asked = describe(queue.amounts)
    if queue.shape.group is not None:
        group = book.groups.get(queue.shape.group)
        name = f"placement group {queue.shape.group.hex()}"
        if group is None:
            return {}, f"{name} does not exist, or was removed."
        if queue.shape.bundle >= len(group.wanted):
            return (
                {},
                f"{name} has {len(group.wanted)} bundles, so there is none of index {queue.shape.bundle}.",
            )
        bundles = group.wanted if queue.shape.bundle < 0 else [group.wanted[queue.shape.bundle]]
        missing = shortfall(queue.amounts, bundles)
        which = "any bundle" if queue.shape.bundle < 0 else f"bundle {queue.shape.bundle}"
        return missing, f"{asked} was asked for, which is more than {which} of {name} has."
    nodes: list[Node] = list(book.nodes.pools.values())
    if queue.place is not None:
        target = book.nodes.pools.get(queue.target or "")
        if target is None:
            return {}, f"node {queue.target}, to which the request is bound, is not in the cluster."
        if target.draining:
            return {}, f"node {queue.target}, to which the request is bound, is about to leave the cluster."
        nodes = [target]
    nodes = [node for node in nodes if not node.draining]
    if not nodes:
        return dict(from_units(queue.amounts)), f"{asked} was asked for, but the cluster has no nodes."
    fitting = [node for node in nodes if queue.welcome(node)]
    labels = " or ".join(map(conditions_text, queue.alternatives))
    if not fitting:
        return {}, f"no node has labels that meet {labels}."
    missing = shortfall(queue.amounts, [node.total for node in fitting])
    where = f"node {queue.target}" if queue.place is not None else f"any of {len(fitting)} node(s)"
    if labels:
        where += f" with labels that meet {labels}"
    if missing:
        lacking = ", ".join(f"{amount:g} {name}" for name, amount in missing.items())
        return missing, f"{asked} was asked for, which is {lacking} more than {where} has."
    return {}, f"{asked} was asked for, which {where} has only in parts, not together on one."


def group_obstacle(group: Group, nodes: list[Node]) -> tuple[bool, str]:
    """Whether ``group`` would fit if nothing else ran, and why it has to wait."""
    name = f"placement group {group.id.hex()} ({group.strategy}, {len(group.wanted)} bundles)"
    if plan(group, Listed(nodes, whole_room)) is not None:
        needed = describe(summed(list(group.missing().values())))
        return True, f"{name} waits for resources that are in use: {needed}."
    bundles = []
    for index, amounts in group.missing().items():
        labels = conditions_text(group.conditions(index))
        bundles.append(describe(amounts) + (f" on a node with {labels}" if labels else ""))
    return False, (
        f"{name} cannot be placed on the nodes the cluster has ({len(nodes)}), even if nothing else ran "
        f"there: it needs {', '.join(bundles)}."
    )


def shortfall(amounts: Amounts, totals: list[Amounts]) -> dict[str, float]:
    """By how much even the best of ``totals`` falls short, resource by resource."""
    best = {name: max((total.get(name, 0) for total in totals), default=0) for name in amounts}
    return {name: (need - best[name]) / UNIT for name, need in amounts.items() if best[name] < need}


def describe(amounts: Amounts) -> str:
    """Amounts in words."""
    return "{" + ", ".join(f"{name}: {amount / UNIT:g}" for name, amount in sorted(amounts.items())) + "}"


def conditions_text(conditions: Conditions) -> str:
    return ", ".join(f"{key}={condition}" for key, condition in conditions)
