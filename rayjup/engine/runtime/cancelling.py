"""Cancelling many calls at once, such as all that a cell of a notebook has made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rayjup.engine.runtime.tasks import _cancelled_early

if TYPE_CHECKING:
    from rayjup.engine.runtime.pools import Task
    from rayjup.engine.runtime.tasks import Tasks


def cancel_all(tasks: Tasks, calls: Sequence[Task]) -> list[Task]:
    """Cancel ``calls`` with what they have called; those of them that were not answered yet.

    Each for itself, ten thousand that wait for a lease would take a second: whoever waits is woken after
    every one.
    """
    withdrawn: list[Task] = []
    with tasks.lock:
        calls = [task for task in calls if task.refs]
        wanted = {task.seq for task in calls}
        for pool in tasks.pools.values():
            found = [task for task in pool.backlog if task.seq in wanted]
            if not found:
                continue
            kept = [task for task in pool.backlog if task.seq not in wanted]
            pool.backlog.clear()
            pool.backlog.extend(kept)
            withdrawn += found
            if not pool.dirty:  # fewer leases are wanted now
                pool.dirty = True
                tasks._dirty_pools.append(pool)
    errors = {task.name: _cancelled_early(task) for task in withdrawn}
    for task in withdrawn:
        task.cancelled = True
        tasks.fail(task, errors[task.name])
    for task in calls:
        if task.refs:  # with an executor, or waiting for its arguments
            tasks.cancel(task.refs[0], False, True)
    tasks.runtime.reactor.kick()
    return list(calls)
