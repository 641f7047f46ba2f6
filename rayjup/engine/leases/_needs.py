"""What the nodes have left and what waits, as plain data: what decides how many nodes there should be."""

from __future__ import annotations

from typing import Any

from rayjup.engine.leases._book import Book
from rayjup.engine.leases._groups import Group
from rayjup.engine.leases._queues import Waiting
from rayjup.engine.leases._resources import from_units
from rayjup.engine.leases._shapes import NodeAffinity


def needs(book: Book, waiting: Waiting, pending: dict[bytes, Group]) -> dict[str, Any]:
    """Nodes, waiting leases that another node could serve, and groups with bundles that lie nowhere.

    Costs as much as there are nodes and kinds of requests, not leases. Left out is what waits for a
    bundle of its group, or for one node and no other: more nodes would be of no use to it.
    """
    return {
        "nodes": {
            node.key: {
                "total": from_units(node.total),
                "free": from_units(node.now.free),
                "gpus": dict(node.now.slots),
                "labels": dict(node.labels),
                "leases": len(node.leases),
                "bundles": len(node.bundles),
                "draining": node.draining,
            }
            for node in book.nodes.pools.values()
        },
        "demand": [
            {
                "resources": queue.resources,
                "count": queue.remaining,
                "labels": [list(conditions) for conditions in queue.alternatives],
                "spread": type(queue.shape.strategy).__name__ == "Spread",
            }
            for queue in waiting.all()
            if queue.shape.group is None and not _bound(queue.shape.strategy)
        ],
        "groups": [
            {
                "strategy": group.strategy,
                "bundles": [from_units(amounts) for amounts in group.missing().values()],
                "labels": [list(group.conditions(index)) for index in group.missing()],
                "nodes": [node.key for node in group.used_nodes()],
            }
            for group in pending.values()
        ],
    }


def _bound(strategy: object) -> bool:
    return isinstance(strategy, NodeAffinity) and not strategy.soft
