"""The state of the ``LeaseScheduler`` as plain data: what the state API shows."""

from __future__ import annotations

from typing import Any

from rayjup.engine.leases._book import Book
from rayjup.engine.leases._groups import Group
from rayjup.engine.leases._queues import Waiting
from rayjup.engine.leases._resources import UNIT, Pool, from_units


def snapshot(book: Book, waiting: Waiting, pending: dict[bytes, Group]) -> dict[str, Any]:
    """Nodes, leases, placement groups and demand; JSON-able, ids of groups as hexadecimal digits."""
    return {
        "nodes": {
            node.key: {
                **_pool(node),
                "labels": dict(node.labels),
                "draining": node.draining,
                "bundles": [[bundle.group_id.hex(), bundle.index] for bundle in node.bundles],
            }
            for node in book.nodes.pools.values()
        },
        "available": {name: amount / UNIT for name, amount in book.free.items() if amount},
        "total": from_units(book.total),
        "leases": [
            {
                "lease_id": lease.id,
                "client": lease.client,
                "request_id": lease.request_id,
                "node_id": lease.pool.node.key,
                "kind": lease.queue.shape.kind,
                "resources": lease.queue.resources,
                "gpu_ids": [[index, amount / UNIT] for index, amount in lease.shares],
                "group": lease.queue.shape.group.hex() if lease.queue.shape.group else None,
                "blocked": lease.blocked,
            }
            for lease in book.leases.values()
        ],
        "demand": [
            {
                "resources": queue.resources,
                "count": queue.remaining,
                "kind": queue.shape.kind,
                "strategy": type(queue.shape.strategy).__name__,
                "group": queue.shape.group.hex() if queue.shape.group else None,
                "infeasible": queue.infeasible[1] if queue.infeasible else None,
            }
            for queue in waiting.all()
        ],
        "groups": {
            group.id.hex(): {
                "client": group.client,
                "strategy": group.strategy,
                "detached": group.detached,
                "state": "PENDING" if group.id in pending else "CREATED",
                "bundles": [
                    {
                        "resources": from_units(wanted),
                        "node_id": bundle.on.key if bundle else None,
                        **({"leases": len(bundle.leases)} if bundle else {}),
                    }
                    for wanted, bundle in zip(group.wanted, group.bundles, strict=True)
                ],
            }
            for group in book.groups.values()
        },
    }


def _pool(pool: Pool) -> dict[str, Any]:
    return {
        "resources_total": from_units(pool.total),
        "resources_available": {name: max(0, pool.now.free.get(name, 0)) / UNIT for name in pool.total},
        "utilization": pool.utilization / 1_000_000,
        "leases": len(pool.leases),
    }
