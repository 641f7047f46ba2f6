"""Tells a node that is short of memory whether calls would be made again if it ended their executor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime


def could_repeat(runtime: Runtime, node: str, token: int, lease_id: str) -> None:
    """Answer for the lease: True unless a call with it has no retries left."""
    with runtime.lock:
        tasks = [
            task
            for pool in runtime.tasks.pools.values()
            for lease in pool.leases
            if lease.id == lease_id
            for task in lease.inflight.values()
        ]
    runtime.link.send(("repeatable", node, token, all(task.retries for task in tasks)))
