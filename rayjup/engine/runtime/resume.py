"""What a process says when its cluster has another head: what it holds, and what it still waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayjup.engine.runtime.actor_calls import DEAD, RESTARTING

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime


def head_back(runtime: Runtime) -> None:
    """Tell the head which leases this process uses, and ask again for what has not come."""
    tasks, link = runtime.tasks, runtime.link
    with runtime.lock:
        pools = list(tasks._pools_by_id.values())
        link.send(("resumed", [(p.id, p.shape, p.received, [lease.id for lease in p.leases]) for p in pools]))
        for pool in pools:
            pool.wanted = 0  # the head that was asked is no more
            if pool.backlog and not pool.dirty:
                pool.dirty = True
                tasks._dirty_pools.append(pool)
        tasks._ask_for_leases()
    for client in list(runtime.actors.clients.values()):
        if client.state == DEAD or not client.created:
            continue
        if client.peer is None and client.inflight:
            # Its process ended, and what the head had to say of that was lost with it.
            runtime.actors.on_state(client.actor_id, RESTARTING, "", None)
        link.send(("actor_watch", client.actor_id))
    runtime.groups.watch_again()
