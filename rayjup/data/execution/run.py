"""A plan run: here or on the cluster, whichever suits it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from rayjup.data.block.bundle import Bundle
from rayjup.data.compute import ActorPoolStrategy
from rayjup.data.context import DataContext
from rayjup.data.execution.local import LocalRun
from rayjup.data.execution.nodes import Node, SourceNode, TaskNode
from rayjup.data.execution.policy import Limits
from rayjup.data.logical.base import Op
from rayjup.data.logical.rules import optimize
from rayjup.data.physical.placement import runs_here
from rayjup.data.stats import RunStats

_MIB = 1 << 20
_START_S = 2.0
"""A cluster is started for the rest of a slow chain only if that would take longer than this."""


def run(
    op: Op, context: DataContext, merge: bool = False, name: str = ""
) -> tuple[Iterator[Bundle], RunStats]:
    """Run a plan.

    Parameters
    ----------
    op
        The plan as it was written.
    context
        Settings.
    merge
        Small tables are put together (for results that are kept).

    Returns
    -------
    blocks, stats
        An iterator; nothing runs before it is asked. Statistics, which fill while it runs.
    """
    stats = RunStats(name)
    return _run(op, context, merge, stats), stats


def _run(op: Op, context: DataContext, merge: bool, stats: RunStats) -> Iterator[Bundle]:
    import rayjup

    began = time.perf_counter()
    for make in context.custom_execution_callback_classes:
        callback = make()
        stats.callbacks.append(callback)
        _notify(callback, "before_execution_starts", stats)
    try:
        plan = optimize(op)
        connected = rayjup.is_initialized()
        store = rayjup.cluster_resources().get("object_store_memory") if connected else None
        if runs_here(plan, context, store):
            yield from _run_here(plan, context, merge, stats, connected)
        else:
            yield from ClusterRun(context, stats).run(plan)
    except GeneratorExit:
        raise
    except BaseException as error:
        for callback in stats.callbacks:
            _notify(callback, "after_execution_fails", stats, error)
        raise
    else:
        for callback in stats.callbacks:
            _notify(callback, "after_execution_succeeds", stats)
    finally:
        stats.total_s = time.perf_counter() - began
        stats.finish()


def _notify(callback: Any, method: str, *args: Any) -> None:
    function = getattr(callback, method, None)
    if function is not None:
        function(*args)


def _run_here(
    plan: Op, context: DataContext, merge: bool, stats: RunStats, connected: bool
) -> Iterator[Bundle]:
    cpus = _cpus() if connected else os.cpu_count() or 1

    def hand_over(inputs: list[Any], chain: Any) -> Iterator[Any]:
        for bundle in ClusterRun(context, stats).rest(inputs, chain):
            yield bundle.table()

    local = LocalRun(context, cpus, hand_over, 0.15 if connected else _START_S, merge)
    stats.local = local.counts
    for table in local.tables(plan):
        stats.here(table)
        yield Bundle(table)


def _cpus() -> int:
    import rayjup

    return max(1, int(rayjup.cluster_resources().get("CPU", 1)))


class ClusterRun:
    """One run on the cluster, which is started where there is none.

    Parameters
    ----------
    context
        Settings.
    stats
        Filled while it runs.
    """

    def __init__(self, context: DataContext, stats: RunStats) -> None:
        import rayjup

        if not rayjup.is_initialized():
            rayjup.init()
        self.context, self.stats = context, stats
        resources = rayjup.cluster_resources()
        options = context.execution_options
        limit, excluded = options.resource_limits, options.exclude_resources
        free = min(resources.get("CPU", 1), limit.cpu) - excluded.cpu
        self.cpus = max(1, int(free))
        self._none_free = free < 1
        store = min(
            resources.get("object_store_memory", 1024 * _MIB), limit.object_store_memory or float("inf")
        )
        self.memory = max(64 * _MIB, (store - excluded.object_store_memory) * 0.4)
        target = context.target_max_block_size or 128 * _MIB
        self.block_bytes = int(max(_MIB, min(target, store / 16))) if target > _MIB else target

    def run(self, plan: Op) -> Iterator[Bundle]:
        """The blocks of a plan."""
        from rayjup.data.physical.planner import Planner

        return self._run(Planner(self.context, self.cpus, self.block_bytes).node(plan))

    def rest(self, inputs: list[Any], chain: Any) -> Iterator[Bundle]:
        """What a chain makes of tables and read tasks."""
        from rayjup.data.physical.planner import Planner
        from rayjup.data.physical.steps import SizeStep
        from rayjup.data.physical.works import StageWork

        planner = Planner(self.context, self.cpus, self.block_bytes)
        work = StageWork([*chain.steps(), SizeStep(self.block_bytes)], chain.name)
        if all(hasattr(item, "num_rows") for item in inputs):
            splittable = all(s.by_row for s in work.steps)
            bundles = [Bundle(t) for t in inputs]
            source = SourceNode("InputData", planner.spread(bundles) if splittable else bundles)
            node = TaskNode(work, [source], compute=chain.compute, remote=chain.remote)
        else:
            node = TaskNode(work, [], inputs, chain.compute, chain.remote)
        return self._run(node)

    def _run(self, root: Node) -> Iterator[Bundle]:
        from rayjup.data.execution.remote import Backend
        from rayjup.data.execution.runner import Runner, ordered

        nodes = ordered(root)
        pools = [n for n in nodes if isinstance(n, TaskNode) and isinstance(n.compute, ActorPoolStrategy)]
        tasks = [n for n in nodes if not isinstance(n, SourceNode) and n not in pools]
        held = sum(
            n.compute.min_size * (n.remote.num_cpus if n.remote.num_cpus is not None else 0.0)
            for n in pools
            if isinstance(n.compute, ActorPoolStrategy)
        )
        helper = 0.0 if self._none_free or held >= self.cpus else None
        share = self._actor_share(pools, bool(tasks), held)

        def options(node: TaskNode) -> dict[str, Any]:
            asked = _asked(node)
            if "num_cpus" not in asked:
                asked["num_cpus"] = 0 if asked.get("num_gpus") else share
            return asked

        runner = Runner(
            root,
            Backend(self.context, helper),
            Limits(self.cpus, self.memory),
            self.context,
            options,
            self.stats.progress if self.context.enable_progress_bars else None,
        )
        self.stats.nodes += [n for n in nodes if not isinstance(n, SourceNode)]
        return iter(runner)

    def _actor_share(self, pools: list[TaskNode], tasks: bool, held: float) -> float:
        """CPUs of an actor that asks for none: a whole one where there is room, less where tasks need
        some, too."""
        actors = sum(
            n.compute.min_size
            for n in pools
            if isinstance(n.compute, ActorPoolStrategy) and n.remote.num_cpus is None
        )
        if not actors:
            return 1.0
        free = self.cpus - held - (1 if tasks else 0)
        return 1.0 if free >= actors else max(0.01, round(max(0.1, free) / actors, 2))


def _asked(node: TaskNode) -> dict[str, Any]:
    asked = node.remote.options()
    make = asked.pop("_fn", None)
    if make is not None:
        asked.update(make())
    return asked
