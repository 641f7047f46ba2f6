"""What is known of a block without looking into it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa


class CustomOpStats:
    """Base class of what an operator of one's own reports per task."""


@dataclass
class TaskExecWorkerStats:
    """Measured in the process that ran a task."""

    task_wall_time_s: float
    max_uss_bytes: int | None = None
    custom_op_stats: list[CustomOpStats] = field(default_factory=list)


@dataclass
class BlockExecStats:
    """How a block came about: times in seconds."""

    task_idx: int | None = None
    node_id: str = ""
    start_time_s: float | None = None
    end_time_s: float | None = None
    wall_time_s: float | None = None
    block_transform_time_s: float | None = 0
    input_prep_time_s: float | None = None
    function_body_time_s: float | None = None
    output_build_time_s: float | None = None
    stage_time_s: tuple[float, ...] | None = None
    block_ser_time_s: float | None = None
    cpu_time_s: float | None = None

    @staticmethod
    def builder() -> _ExecStatsBuilder:
        """A builder that starts measuring now."""
        return _ExecStatsBuilder()


class _ExecStatsBuilder:
    """Measures from when it is made to ``build``."""

    def __init__(self) -> None:
        self._wall, self._cpu, self._began = time.perf_counter(), time.process_time(), time.time()

    def build(self, **more: Any) -> BlockExecStats:
        return BlockExecStats(
            start_time_s=self._began,
            end_time_s=time.time(),
            wall_time_s=time.perf_counter() - self._wall,
            cpu_time_s=time.process_time() - self._cpu,
            **more,
        )


@dataclass
class BlockStats:
    """Rows, bytes and times of a block; ``None`` where not known."""

    num_rows: int | None
    size_bytes: int | None
    exec_stats: BlockExecStats | None
    task_exec_stats: TaskExecWorkerStats | None = None


@dataclass
class BlockMetadata(BlockStats):
    """What is known of a block; readers give it before the block exists.

    Parameters
    ----------
    num_rows, size_bytes
        Rows, and bytes in memory; ``None``: not known.
    exec_stats, task_exec_stats
        How it came about.
    input_files
        The files it was read from.
    """

    input_files: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.input_files = tuple(self.input_files) if self.input_files else ()

    def to_stats(self) -> BlockStats:
        """The part that says nothing of files."""
        return BlockStats(**{f.name: getattr(self, f.name) for f in fields(BlockStats)})


@dataclass
class BlockMetadataWithSchema(BlockMetadata):
    """:class:`BlockMetadata` and the schema of the block."""

    schema: pa.Schema | None = None

    @staticmethod
    def from_metadata(metadata: BlockMetadata, schema: pa.Schema | None = None) -> BlockMetadataWithSchema:
        """Add a schema to what is known."""
        known = {f.name: getattr(metadata, f.name) for f in fields(BlockMetadata)}
        return BlockMetadataWithSchema(**known, schema=schema)

    @staticmethod
    def from_block(
        block: Any,
        block_exec_stats: BlockExecStats | None = None,
        task_exec_stats: TaskExecWorkerStats | None = None,
    ) -> BlockMetadataWithSchema:
        """What can be seen of a block."""
        from rayjup.data.block.accessor import BlockAccessor

        accessor = BlockAccessor.for_block(block)
        known = accessor.get_metadata(block_exec_stats=block_exec_stats, task_exec_stats=task_exec_stats)
        return BlockMetadataWithSchema.from_metadata(known, accessor.schema())

    @property
    def metadata(self) -> BlockMetadata:
        """Without the schema."""
        return BlockMetadata(**{f.name: getattr(self, f.name) for f in fields(BlockMetadata)})


def to_stats(metas: list[BlockMetadata]) -> list[BlockStats]:
    """The statistics of each."""
    return [meta.to_stats() for meta in metas]
