"""Nodes of a cluster run for the operators of a plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rayjup.data.block.bundle import Bundle
from rayjup.data.compute import ActorPoolStrategy
from rayjup.data.context import DataContext
from rayjup.data.execution.exchange import ExchangeNode, RandomizeNode, RepartitionNode, SortNode, ZipNode
from rayjup.data.execution.nodes import LimitNode, MixNode, Node, SourceNode, TaskNode, UnionNode
from rayjup.data.kernels import shuffling
from rayjup.data.kernels.sorting import SortKey
from rayjup.data.logical.base import Op
from rayjup.data.logical.combine import Join, Mix, MixStoppingCondition, Union, Zip
from rayjup.data.logical.estimate import source_bytes
from rayjup.data.logical.groups import Aggregate, GroupWindow, MapGroups
from rayjup.data.logical.maps import MapLike
from rayjup.data.logical.rearrange import Limit, RandomizeBlocks, RandomShuffle, Repartition, Sort
from rayjup.data.logical.sources import InputBlocks, Read
from rayjup.data.logical.write import Write
from rayjup.data.physical import stages
from rayjup.data.physical.sizes import parts_for, read_parallelism
from rayjup.data.physical.steps import LimitStep, PartialStep, SizeStep, SortStep, Step
from rayjup.data.physical.works import (
    AggregateReduce,
    CombineReduce,
    HashPartition,
    JoinReduce,
    RandomPartition,
    ShuffleReduce,
    StageWork,
    StepsReduce,
)
from rayjup.data.physical.works import Reduce as Reduce


class Planner:
    """Makes nodes of operators.

    Parameters
    ----------
    context
        Settings.
    cpus
        CPUs of the cluster.
    block_bytes
        The size that blocks should have at most.
    """

    def __init__(self, context: DataContext, cpus: int, block_bytes: int) -> None:
        self.context, self.cpus, self.block_bytes = context, max(1, cpus), block_bytes

    def node(self, op: Op, extra: list[Step] | None = None) -> Node:
        """The node whose blocks are the operator's; ``extra`` steps are done in its tasks, if it has some."""
        if stages.is_step(op) or isinstance(op, (Read, InputBlocks)):
            return self._chain(stages.chain_of(op), extra or [])
        made = _NODES[type(op)](self, op)
        return self._after(made, extra)

    def _after(self, node: Node, extra: list[Step] | None) -> Node:
        if not extra:
            return node
        return TaskNode(StageWork(extra, "->".join(s.name for s in extra)), [node])

    # ------------------------------------------------------------------------------------------ chains

    def _chain(self, chain: stages.Chain, extra: list[Step]) -> Node:
        last = chain.ops[-1] if chain.ops else None
        if isinstance(last, Write) and (last.sink.min_rows_per_write or last.sink.min_bytes_per_write):
            before = self.node(last.inputs[0])
            work = StageWork([stages.step_of(last)], last.name)
            return TaskNode(
                work,
                [before],
                compute=chain.compute,
                remote=chain.remote,
                min_rows=last.sink.min_rows_per_write,
                min_bytes=last.sink.min_bytes_per_write,
            )
        steps = [*chain.steps(), *extra]
        functions = any(isinstance(op, MapLike) for op in chain.ops)
        if isinstance(chain.base, InputBlocks) and not steps:
            return SourceNode(chain.base.name, list(chain.base.bundles))
        sized = [*steps, SizeStep(self.block_bytes)]
        name = "->".join([chain.name, *(s.name for s in extra)])
        work = StageWork(sized, name)
        if isinstance(chain.base, Read) and not stages.reads_apart(chain):
            count = read_parallelism(chain.base, self.cpus, functions, self.context)
            reads = chain.base.tasks(count)
            if not reads:
                return SourceNode(name, [])
            return TaskNode(work, [], reads, chain.compute, chain.remote)
        if isinstance(chain.base, InputBlocks):
            below: Node = SourceNode(chain.base.name, self.spread(list(chain.base.bundles)))
        else:
            below = self.node(chain.base)
        return TaskNode(work, [below], compute=chain.compute, remote=chain.remote)

    def spread(self, bundles: list[Bundle]) -> list[Bundle]:
        """Local blocks cut so that each CPU has work."""
        out: list[Bundle] = []
        wanted = 2 * self.cpus
        few = len(bundles) < wanted
        for bundle in bundles:
            if not bundle.is_local:
                out.append(bundle)
                continue
            table = bundle.table()
            parts = -(-table.nbytes // self.block_bytes)
            if few:
                parts = max(parts, -(-wanted // len(bundles)))
            parts = max(1, min(parts, table.num_rows))
            out += [bundle] if parts == 1 else [Bundle(t) for t in shuffling.split_evenly(table, parts)]
        return out

    def parts(self, op: Op) -> int:
        """In how many parts an exchange cuts the rows of an operator."""
        size = source_bytes(op)
        if size is not None and size < self.block_bytes // 2:
            return 1
        return parts_for(None if size is None else size * 2, self.cpus, False, self.context)

    # ------------------------------------------------------------------------------------------ operators

    def _limit(self, op: Op) -> Node:
        assert isinstance(op, Limit)
        child = op.inputs[0]
        extra: list[Step] = [LimitStep(op.n)] if stages.is_step(child) or isinstance(child, Read) else []
        return LimitNode(op.n, self.node(child, extra))

    def _union(self, op: Op) -> Node:
        return UnionNode([self.node(child) for child in op.inputs])

    def _zip(self, op: Op) -> Node:
        return ZipNode([self.node(child) for child in op.inputs])

    def _mix(self, op: Op) -> Node:
        assert isinstance(op, Mix)
        shortest = op.stop is MixStoppingCondition.STOP_ON_SHORTEST
        return MixNode([self.node(child) for child in op.inputs], list(op.weights), shortest)

    def _sort(self, op: Op) -> Node:
        assert isinstance(op, Sort)
        cuts = list(op.boundaries) if op.boundaries is not None else None

        def count(total: int) -> int:
            return 1 if total < self.block_bytes // 2 else max(self.cpus, -(-total * 2 // self.block_bytes))

        return SortNode(op.name, self.node(op.inputs[0]), op.key, count, self.block_bytes, cuts)

    def _shuffle(self, op: Op) -> Node:
        assert isinstance(op, RandomShuffle)
        seed = op.seed if op.seed is not None else random.randrange(2**31)
        parts = op.num_blocks or self.parts(op.inputs[0])
        reduce = ShuffleReduce(seed, None if op.num_blocks else self.block_bytes)
        return ExchangeNode(
            "RandomShuffle", [self.node(op.inputs[0])], [RandomPartition(seed, parts)], reduce
        )

    def _randomize(self, op: Op) -> Node:
        assert isinstance(op, RandomizeBlocks)
        return RandomizeNode(self.node(op.inputs[0]), op.seed)

    def _repartition(self, op: Op) -> Node:
        assert isinstance(op, Repartition)
        if op.keys:
            parts = op.num_blocks or self.parts(op.inputs[0])
            steps: list[Step] = [SortStep(SortKey.of(op.keys))] if op.sort else []
            return ExchangeNode(
                op.name, [self.node(op.inputs[0])], [HashPartition(op.keys, parts)], StepsReduce(steps)
            )
        if op.shuffle and op.num_blocks:
            return self._shuffle(RandomShuffle(op.inputs, None, op.num_blocks))
        return RepartitionNode(self.node(op.inputs[0]), op.num_blocks or 1, op.target_rows)

    def _aggregate(self, op: Op) -> Node:
        assert isinstance(op, Aggregate)
        child = op.inputs[0]
        parts = 1 if not op.keys else (op.num_partitions or self.parts(child))
        if (
            any(hasattr(agg, "to_polars") and not hasattr(agg, "partial_polars") for agg in op.aggs)
            and op.keys
        ):
            whole = AggregateReduce(op.keys, op.aggs, self.block_bytes, op.name)
            return self._ordered(
                ExchangeNode(op.name, [self.node(child)], [HashPartition(op.keys, parts)], whole), op, parts
            )
        partial: list[Step] = [PartialStep(op.keys, op.aggs)]
        below = self.node(child, partial)
        reduce = CombineReduce(op.keys, op.aggs, self.block_bytes, op.name)
        return self._ordered(
            ExchangeNode(op.name, [below], [HashPartition(op.keys, parts)], reduce), op, parts
        )

    def _ordered(self, node: Node, op: Aggregate, parts: int) -> Node:
        """Groups in order of their keys, also over several parts."""
        if parts == 1:
            return node
        key = SortKey.of(op.keys)
        return SortNode(
            f"Sort[{', '.join(op.keys)}]", node, key, lambda total: self._few(total), self.block_bytes
        )

    def _few(self, total: int) -> int:
        return max(1, -(-total // self.block_bytes))

    def _map_groups(self, op: Op) -> Node:
        assert isinstance(op, MapGroups)
        from rayjup.data.physical.functions import step_for

        child = op.inputs[0]
        step = step_for(op)
        compute = op.function.compute
        parts = (op.num_partitions or max(self.parts(child), self.cpus)) if op.keys else 1
        if isinstance(compute, ActorPoolStrategy):
            gathered = StepsReduce([], None, "GroupBy")
            below = ExchangeNode("GroupBy", [self.node(child)], [HashPartition(op.keys, parts)], gathered)
            return TaskNode(
                StageWork([step, SizeStep(self.block_bytes)], op.name),
                [below],
                compute=compute,
                remote=op.function.remote,
            )
        reduce = StepsReduce([step, SizeStep(self.block_bytes)], None, op.name)
        return ExchangeNode(
            op.name,
            [self.node(child)],
            [HashPartition(op.keys, parts)],
            reduce,
            None if op.function.remote.plain else op.function.remote,
        )

    def _window(self, op: Op) -> Node:
        assert isinstance(op, GroupWindow)
        from rayjup.data.physical.windows import WindowStep

        parts = self.parts(op.inputs[0]) if op.keys else 1
        reduce = StepsReduce([WindowStep(op.keys, op.column, op.expr)], self.block_bytes, op.name)
        return ExchangeNode(op.name, [self.node(op.inputs[0])], [HashPartition(op.keys, parts)], reduce)

    def _join(self, op: Op) -> Node:
        assert isinstance(op, Join)
        parts = op.num_partitions or max(self.parts(child) for child in op.inputs)
        size = source_bytes(op)
        if size is not None and size < self.block_bytes // 2:
            parts = 1
        reduce: Any = JoinReduce(
            op.how,
            op.left_on,
            op.right_on,
            op.left_suffix,
            op.right_suffix,
            [],
            max_bytes=self.block_bytes,
            name=op.name,
        )
        return ExchangeNode(
            op.name,
            [self.node(child) for child in op.inputs],
            [HashPartition(op.left_on, parts), HashPartition(op.right_on, parts)],
            reduce,
        )


_NODES: dict[type[Op], Callable[[Planner, Op], Node]] = {
    Limit: Planner._limit,
    Union: Planner._union,
    Zip: Planner._zip,
    Mix: Planner._mix,
    Sort: Planner._sort,
    RandomShuffle: Planner._shuffle,
    RandomizeBlocks: Planner._randomize,
    Repartition: Planner._repartition,
    Aggregate: Planner._aggregate,
    MapGroups: Planner._map_groups,
    GroupWindow: Planner._window,
    Join: Planner._join,
}
