"""How many parts: from bytes and CPUs."""

from __future__ import annotations

from rayjup.data.context import DataContext
from rayjup.data.logical.sources import Read

_MIB = 1 << 20
_DEFAULT_MIN_BLOCKS = 200  # Ray's; only another value says that somebody wants so many


def read_parallelism(op: Read, cpus: int, functions: bool, context: DataContext) -> int:
    """In how many tasks to read.

    Little data is one block, unless functions follow: these get a block per CPU. Much data is read in
    blocks of the
    target size, at least two per CPU.
    """
    if op.num_blocks:
        return op.num_blocks
    if context.read_op_min_num_blocks != _DEFAULT_MIN_BLOCKS:
        return max(1, context.read_op_min_num_blocks)
    return parts_for(op.estimated_bytes(), cpus, functions, context)


def parts_for(size: int | None, cpus: int, functions: bool, context: DataContext) -> int:
    """The number of parts for so many bytes (None: not known)."""
    target = context.target_max_block_size or 128 * _MIB
    if size is None:
        return 2 * cpus
    by_size = -(-size // target)
    if functions:
        return max(by_size, cpus if size < 8 * _MIB else 4 * cpus)
    if size < 8 * _MIB:
        return 1
    return max(by_size, min(2 * cpus, -(-size // (16 * _MIB))))
