"""What becomes of a connection in a child that the process forks.

The child inherits descriptors, locks (taken by threads it has not got) and refs, and must touch
none of the parent's: no byte on its connections, no change to its epoll, no file of its objects.
So right after the fork the child's copy is closed without a word to anybody. Using it is an error
that says so; ``init()`` gives the child a connection of its own.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from rayjup.base.exceptions import RaySystemError
from rayjup.engine.lane import messages as m
from rayjup.engine.ownership import object_ref
from rayjup.engine.ownership.object_ref import PENDING

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_runtimes: weakref.WeakSet[Runtime] = weakref.WeakSet()
_watching = False


def watch(runtime: Runtime) -> None:
    """See to it that forked children leave this runtime alone."""
    global _watching
    _runtimes.add(runtime)
    if not _watching:
        _watching = True
        os.register_at_fork(after_in_child=_in_child)


def error() -> RaySystemError:
    """What a forked child is told that uses its parent's connection."""
    return RaySystemError(
        "this process was forked from one that is connected to rayjup; a connection cannot be "
        "shared. Call rayjup.init() here for one of its own (address='auto' joins the running cluster), use "
        "rayjup tasks instead of fork, or multiprocessing's 'spawn'."
    )


def _in_child() -> None:
    for runtime in list(_runtimes):
        _runtimes.discard(runtime)
        if not runtime.closed:
            _abandon(runtime)


def _abandon(runtime: Runtime) -> None:
    runtime.closed = True
    object_ref.set_runtime(None)
    runtime.lock = runtime.tasks.lock = runtime.actors.lock = threading.RLock()
    runtime.exports.lock = threading.RLock()
    runtime.store.abandon()
    runtime.reactor.abandon()
    lost = error()
    tasks, actors = runtime.tasks, runtime.actors
    calls = [*tasks.inflight.values(), *tasks.waiting.values()]
    for pool in tasks.pools.values():
        calls += pool.backlog
    for client in actors.clients.values():
        calls += [*client.queue, *client.late.values()]
    refs = [ref for call in calls for ref in call.refs or ()]
    refs += [ref for ref, _ in runtime.exports.fetches.values()]
    refs += runtime.exports.borrowed.values()
    for ref in refs:
        if ref._kind == PENDING:  # nobody is told: who waits is a thread of the parent
            ref._kind, ref._data, ref._waiters = m.ERROR, lost, None
    for call in calls:
        if call.stream is not None:
            call.stream.finished = True
