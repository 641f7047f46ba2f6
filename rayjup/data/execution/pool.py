"""A pool of actors that grows while work waits and shrinks when there is none left."""

from __future__ import annotations

from typing import Any

from rayjup.data.compute import ActorPoolStrategy
from rayjup.data.context import DataContext
from rayjup.data.execution.nodes import Task, TaskNode
from rayjup.data.execution.policy import PoolState, resize


class ActorPool:
    """The actors of one node.

    Parameters
    ----------
    node
        Whose tasks they run.
    backend
        Makes and ends them.
    cpus
        CPUs of the cluster.
    options
        What each actor asks for.
    """

    def __init__(
        self, node: TaskNode, backend: Any, cpus: float, options: dict[str, Any], context: DataContext
    ) -> None:
        assert isinstance(node.compute, ActorPoolStrategy)
        self.node, self.backend, self.cpus, self.options = node, backend, cpus, options
        self.strategy: ActorPoolStrategy = node.compute
        self.flight = (
            self.strategy.max_tasks_in_flight_per_actor
            or context.max_tasks_in_flight_per_actor
            or max(2, 2 * self.strategy.max_concurrent_calls_per_actor)
        )
        self._up_at = context.autoscaling_config.actor_pool_util_upscaling_threshold
        self._step = context.autoscaling_config.actor_pool_max_upscaling_delta
        self.calls: dict[Any, int] = {}

    def adapt(self) -> None:
        """Add or remove actors."""
        node = self.node
        state = PoolState(
            actors=len(self.calls),
            busy=sum(1 for n in self.calls.values() if n),
            calls=sum(self.calls.values()),
            waiting=node.waiting() if not node.stopped else 0,
            inputs_open=bool(node.open) and not node.stopped,
        )
        if not state.actors and not state.waiting:
            return  # nothing to do yet
        change = resize(state, self.strategy, self.cpus, self._up_at, self._step)
        for _ in range(change):
            threads = self.strategy.max_concurrent_calls_per_actor
            self.calls[self.backend.make_actor(node.work, dict(self.options), threads)] = 0
        node.counts.peak_actors = max(node.counts.peak_actors, len(self.calls))
        for actor in [a for a, n in self.calls.items() if not n][: max(0, -change)]:
            del self.calls[actor]
            self.backend.end_actor(actor)

    def free(self) -> Any:
        """The actor that should get the next call; None: all have enough."""
        if not self.calls:
            return None
        actor = min(self.calls, key=lambda a: self.calls[a])
        return actor if self.calls[actor] < self.flight else None

    def start(self, task: Task, actor: Any, skip: int = 0) -> Any:
        """Give a task to an actor; ``skip`` blocks of it are known already."""
        task.actor = actor
        self.calls[actor] += 1
        return self.backend.start_on(actor, task, skip)

    def ended(self, task: Task) -> None:
        """A task has ended."""
        if task.actor in self.calls:
            self.calls[task.actor] -= 1

    def close(self) -> None:
        """End all actors."""
        for actor in self.calls:
            self.backend.end_actor(actor)
        self.calls.clear()
