"""The end of an executor whose function may be called only so often (the option ``max_calls``).

It says so to its caller, on the connection on which its answers have gone: what it was sent and has
not answered by then it never runs, and the caller sends it elsewhere. So no call is lost and none
runs twice, whatever was under way. The process stays until nobody needs an object that it owns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import messages as m
from rayjup.engine.lane.peer import Peer

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor


class Limited:
    """A function after ``limit`` calls of which the executor ends."""

    def __init__(self, executor: Executor, function: Callable[..., Any], limit: int) -> None:
        self.executor = executor
        self.function = function
        self.limit = limit
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls >= self.limit and self.executor.running is not None:
            peer = self.executor.running[0]
            self.executor.errand = lambda: retire(self.executor, peer)
        return self.function(*args, **kwargs)


def retire(executor: Executor, caller: Peer) -> None:
    """Run nothing any more, and end once nobody needs what this process has."""
    runtime = executor.runtime
    executor.settle()
    runtime.link.send(("retired",))
    caller.send((m.RETIRED,))

    def something_to_do() -> bool:
        return bool(executor.queue) or executor.exit_code is not None or may_end()

    def may_end() -> bool:
        return not executor.is_needed() and not any(peer.unsent for peer in runtime.peers.values())

    while executor.exit_code is None:
        while executor.queue:  # sent before our message arrived, or by one who had not heard
            executor.queue.popleft()[0].send((m.RETIRED,))
        if may_end():
            executor.exit_code = 0
        else:
            runtime.reactor.lead(something_to_do)
