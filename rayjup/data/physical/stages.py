"""Steps of operators, and which operators run together in one task or actor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.compute import TASKS, ActorPoolStrategy, TaskPoolStrategy
from rayjup.data.kernels.shuffling import gather
from rayjup.data.logical.base import NOTHING, Op, Remote
from rayjup.data.logical.columns import Columns, FilterExpr, WithColumns
from rayjup.data.logical.groups import MapGroups
from rayjup.data.logical.maps import MapLike
from rayjup.data.logical.rearrange import Repartition, Sample
from rayjup.data.logical.sources import InputBlocks, Read
from rayjup.data.logical.write import Write
from rayjup.data.physical.functions import joined, step_for
from rayjup.data.physical.placement import expression_classes
from rayjup.data.physical.running import task_index
from rayjup.data.physical.steps import Blocks, ColumnStep, RowsStep, Step


@dataclass
class SampleStep(Step):
    """Each row with some probability."""

    fraction: float
    seed: int | None
    name: str = "Sample"

    def run(self, blocks: Blocks) -> Blocks:
        seed = None if self.seed is None else [self.seed, task_index.get()]
        rng = np.random.default_rng(seed)
        for block in blocks:
            yield gather(block, np.flatnonzero(rng.random(block.num_rows) < self.fraction))


@dataclass
class WriteStep(Step):
    """Blocks given to a sink; one row with what it returned comes out."""

    sink: Any
    write_uuid: str
    name: str = "Write"

    @property
    def by_row(self) -> bool:
        return False

    def run(self, blocks: Blocks) -> Blocks:
        from rayjup.data.block.convert import from_values
        from rayjup.data.datasource.datasink import TaskContext

        rows = size = 0

        def counted() -> Blocks:
            nonlocal rows, size
            for block in blocks:
                rows += block.num_rows
                size += block.nbytes
                yield block

        context = TaskContext(task_index.get(), self.name, kwargs={"write_uuid": self.write_uuid})
        returned = self.sink.write(counted(), context)
        import cloudpickle

        value = pa.array([cloudpickle.dumps(returned)], pa.binary())
        yield pa.table(
            {
                "num_rows": from_values([rows], "num_rows"),
                "size_bytes": pa.array([size]),
                "write_return": value,
            }
        )


def is_step(op: Op) -> bool:
    """True if the operator works block by block."""
    if isinstance(op, MapGroups):
        return False
    if isinstance(op, Repartition):
        return op.target_rows is not None and not op.strict and not op.shuffle and op.keys is None
    return isinstance(op, (MapLike, Columns, FilterExpr, Sample, Write))


def step_of(op: Op) -> Step:
    """The step that does what the operator says."""
    if isinstance(op, MapLike):
        return step_for(op)
    if isinstance(op, Sample):
        return SampleStep(op.fraction, op.seed)
    if isinstance(op, Write):
        return WriteStep(op.sink, op.write_uuid, op.name)
    if isinstance(op, Repartition):
        assert op.target_rows is not None
        return RowsStep(op.target_rows)
    return ColumnStep(op, op.name)


@dataclass
class Chain:
    """Operators that run together: ``ops`` in order, on the rows of ``base`` (a source, or any other
    operator)."""

    base: Op
    ops: list[Op] = field(default_factory=list)
    compute: TaskPoolStrategy | ActorPoolStrategy = TASKS
    remote: Remote = NOTHING

    @property
    def name(self) -> str:
        """As shown in statistics."""
        names = [op.name for op in self.ops]
        if isinstance(self.base, Read):
            names.insert(0, self.base.name)
        return "->".join(names) or self.base.name

    def steps(self) -> list[Step]:
        """The steps of the operators."""
        return joined([step_of(op) for op in self.ops])


def needs(op: Op) -> tuple[TaskPoolStrategy | ActorPoolStrategy, Remote]:
    """What an operator asks for: the way of running it, and resources."""
    compute: Any = TaskPoolStrategy()
    remote = getattr(op, "remote", None) or Remote()
    if isinstance(op, MapLike):
        compute, remote = op.function.compute, op.function.remote
        if op.function.remote_fn is not None:
            remote = Remote(
                remote.num_cpus,
                remote.num_gpus,
                remote.memory,
                (*remote.more, ("_fn", op.function.remote_fn)),
            )
    elif isinstance(op, WithColumns):
        if op.compute is not None:
            compute = op.compute
        elif expression_classes(op):
            compute = ActorPoolStrategy()
    elif isinstance(op, (Read, Write)):
        compute = TaskPoolStrategy(op.size)
    if remote.plain:
        remote = NOTHING
    return compute, remote


def _plain(compute: Any, remote: Remote) -> bool:
    return compute == TaskPoolStrategy() and remote == NOTHING


def chain_of(op: Op) -> Chain:
    """The longest chain that ends with the operator and whose members go together.

    Members that ask for nothing special join any other, except where these ask for GPUs; others join only
    their like.
    """
    ops: list[Op] = []
    compute: Any = TaskPoolStrategy()
    remote = NOTHING
    current = op
    while is_step(current):
        asked = needs(current)
        joined = _join((compute, remote), asked) if ops else asked
        if joined is None:
            break
        compute, remote = joined
        ops.append(current)
        current = current.inputs[0]
    if isinstance(current, Read) and ops:
        joined = _join((compute, remote), needs(current))
        if joined is None:
            return Chain(current, ops[::-1], compute, remote)
        compute, remote = joined
        return Chain(current, ops[::-1], compute, remote)
    if isinstance(current, (Read, InputBlocks)) and not ops:
        compute, remote = needs(current)
    return Chain(current, ops[::-1], compute, remote)


def reads_apart(chain: Chain) -> bool:
    """True if the chain's source must be read in tasks of its own."""
    return (
        isinstance(chain.base, Read)
        and bool(chain.ops)
        and _join((chain.compute, chain.remote), needs(chain.base)) is None
    )


def _join(one: tuple[Any, Remote], other: tuple[Any, Remote]) -> tuple[Any, Remote] | None:
    if one == other:
        return one
    if _plain(*one) and not other[1].num_gpus:
        return other
    if _plain(*other) and not one[1].num_gpus:
        return one
    return None
