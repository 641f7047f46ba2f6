"""Runs that go on where they stopped: ids of rows that are written already are remembered and passed over.

Set ``DataContext.get_current().checkpoint_config`` before the dataset is made. A write then notes the ids of
the rows of each finished task in ``checkpoint_path``, and a later run of the same program leaves these rows
out right after reading.
"""

from __future__ import annotations

import abc
import os
import posixpath
import uuid
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from rayjup.data.datasource.datasink import Datasink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rayjup.data.context import DataContext
    from rayjup.data.datasource.datasink import TaskContext, WriteResult
    from rayjup.data.datasource.partitioning import PathPartitionFilter
    from rayjup.data.logical.base import Op

__all__ = [
    "CheckpointBackend",
    "CheckpointConfig",
    "CheckpointFilter",
    "CheckpointManager",
    "IdColumnCheckpointManager",
    "NumpyArrayBasedCheckpointFilter",
    "resumed",
]


class CheckpointBackend(Enum):
    """What kind of storage holds the notes."""

    CLOUD_OBJECT_STORAGE = "CLOUD_OBJECT_STORAGE"
    FILE_STORAGE = "FILE_STORAGE"


class CheckpointConfig:
    """How to remember which rows are done.

    Parameters
    ----------
    id_column
        The column with ids; each row has one of its own, from reading to writing.
    checkpoint_path
        The directory with the notes; by default ``ray_data_checkpoint`` below
        ``RAY_DATA_CHECKPOINT_PATH_BUCKET`` in the environment.
    delete_checkpoint_on_success
        Whether to remove the notes when all is written.
    override_filesystem, override_backend
        The filesystem and the kind of storage, instead of those that the path means.
    write_num_threads, checkpoint_path_partition_filter
        How many files are read and written at a time, and which of them are loaded.
    checkpoint_filter_cls, checkpoint_manager_cls
        Classes of one's own instead of those below.

    Examples
    --------
    >>> from rayjup.data.checkpoint import CheckpointConfig
    >>> CheckpointConfig("id", "/tmp/notes").backend
    <CheckpointBackend.FILE_STORAGE: 'FILE_STORAGE'>
    """

    DEFAULT_CHECKPOINT_PATH_BUCKET_ENV_VAR = "RAY_DATA_CHECKPOINT_PATH_BUCKET"
    DEFAULT_CHECKPOINT_PATH_DIR = "ray_data_checkpoint"

    def __init__(
        self,
        id_column: str | None = None,
        checkpoint_path: str | None = None,
        *,
        delete_checkpoint_on_success: bool = True,
        override_filesystem: pafs.FileSystem | None = None,
        override_backend: CheckpointBackend | None = None,
        write_num_threads: int = 3,
        checkpoint_path_partition_filter: PathPartitionFilter | None = None,
        checkpoint_filter_cls: type[CheckpointFilter] | None = None,
        checkpoint_manager_cls: type[CheckpointManager] | None = None,
    ) -> None:
        from rayjup.data.datasource.paths import resolve

        if not isinstance(id_column, str) or not id_column:
            raise ValueError(f"id_column is the name of the column with ids, not {id_column!r}.")
        if checkpoint_path is None:
            base = os.environ.get(self.DEFAULT_CHECKPOINT_PATH_BUCKET_ENV_VAR)
            if not base:
                raise ValueError(
                    "CheckpointConfig needs a checkpoint_path, or "
                    f"{self.DEFAULT_CHECKPOINT_PATH_BUCKET_ENV_VAR} in the environment."
                )
            checkpoint_path = posixpath.join(base, self.DEFAULT_CHECKPOINT_PATH_DIR)
        if write_num_threads < 1:
            raise ValueError(f"write_num_threads={write_num_threads} is not a positive number.")
        self.id_column = id_column
        self.checkpoint_path = checkpoint_path
        self.filesystem, self.checkpoint_path_unwrapped = resolve(checkpoint_path, override_filesystem)
        local = isinstance(self.filesystem, pafs.LocalFileSystem)
        kind = CheckpointBackend.FILE_STORAGE if local else CheckpointBackend.CLOUD_OBJECT_STORAGE
        self.backend = override_backend if override_backend is not None else kind
        self.delete_checkpoint_on_success = delete_checkpoint_on_success
        self.write_num_threads = write_num_threads
        self.checkpoint_path_partition_filter = checkpoint_path_partition_filter
        self.checkpoint_filter_cls = checkpoint_filter_cls or NumpyArrayBasedCheckpointFilter
        self.checkpoint_manager_cls = checkpoint_manager_cls or IdColumnCheckpointManager

    def write_ids(self, table: pa.Table) -> None:
        """Note the rows of a block as done: in one file, which is there as a whole or not at all."""
        from pyarrow import parquet

        if self.id_column not in table.column_names:
            raise ValueError(
                f"The rows that were written have no column {self.id_column!r}; it has to stay until then. "
                f"The columns are {', '.join(table.column_names)}."
            )
        if not table.num_rows:
            return
        self.filesystem.create_dir(self.checkpoint_path_unwrapped, recursive=True)
        name = f"{uuid.uuid4().hex}.parquet"
        target = posixpath.join(self.checkpoint_path_unwrapped, name)
        pending = posixpath.join(self.checkpoint_path_unwrapped, f".{name}.pending")
        parquet.write_table(table.select([self.id_column]), pending, filesystem=self.filesystem)
        self.filesystem.move(pending, target)

    def clear(self) -> None:
        """Remove all notes."""
        info = self.filesystem.get_file_info(self.checkpoint_path_unwrapped)
        if info.type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.checkpoint_path_unwrapped)


class CheckpointManager(abc.ABC):
    """Loads what is known of finished rows.

    Parameters
    ----------
    checkpoint_config, data_context
        The settings.
    """

    def __init__(self, checkpoint_config: CheckpointConfig, data_context: DataContext) -> None:
        self.checkpoint_config, self.data_context = checkpoint_config, data_context

    @abc.abstractmethod
    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: pafs.FileSystem | None = None
    ) -> tuple[Any, int]:
        """A reference to what the filter needs, and its bytes; ``(None, 0)`` where there is nothing."""


class IdColumnCheckpointManager(CheckpointManager):
    """Loads ids as one sorted array."""

    def ids(self) -> np.ndarray | None:
        """The ids, in order; ``None`` where there are none."""
        from pyarrow import parquet

        config = self.checkpoint_config
        info = config.filesystem.get_file_info(config.checkpoint_path_unwrapped)
        if info.type != pafs.FileType.Directory:
            return None
        selector = pafs.FileSelector(config.checkpoint_path_unwrapped, recursive=True)
        paths = sorted(
            found.path
            for found in config.filesystem.get_file_info(selector)
            if found.path.endswith(".parquet") and not found.base_name.startswith(".")
        )
        if config.checkpoint_path_partition_filter is not None:
            paths = config.checkpoint_path_partition_filter(paths)
        if not paths:
            return None

        def load(path: str) -> pa.ChunkedArray:
            table = parquet.read_table(path, columns=[config.id_column], filesystem=config.filesystem)
            return table.column(config.id_column)

        with ThreadPoolExecutor(config.write_num_threads) as pool:
            columns = list(pool.map(load, paths))
        joined = pa.chunked_array([chunk for column in columns for chunk in column.chunks])
        if joined.null_count:
            raise ValueError(f"The notes in {config.checkpoint_path} hold rows without an id.")
        unique = pc.unique(joined)
        return pc.take(unique, pc.sort_indices(unique)).to_numpy(zero_copy_only=False)

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: pafs.FileSystem | None = None
    ) -> tuple[Any, int]:
        """A reference to the sorted ids, and their bytes."""
        found = self.ids()
        if found is None:
            return None, 0
        import rayjup

        return rayjup.put(found), found.nbytes


class CheckpointFilter(abc.ABC):
    """Leaves out rows that are done.

    Parameters
    ----------
    config
        The settings.
    checkpoint_ref
        What the manager loaded.
    """

    def __init__(self, config: CheckpointConfig, checkpoint_ref: Any = None) -> None:
        self.ckpt_config, self.id_column = config, config.id_column

    @abc.abstractmethod
    def filter_rows_for_block(self, block: Any) -> Any:
        """The rows of a block that are still to be done."""


class NumpyArrayBasedCheckpointFilter(CheckpointFilter):
    """Looks ids up in a sorted array.

    Parameters
    ----------
    checkpoint_config
        The settings.
    checkpoint_ref
        A reference to the array, or the array itself.
    """

    def __init__(self, checkpoint_config: CheckpointConfig, checkpoint_ref: Any) -> None:
        super().__init__(checkpoint_config, checkpoint_ref)
        if isinstance(checkpoint_ref, np.ndarray):
            self._ids = checkpoint_ref
        else:
            import rayjup

            self._ids = rayjup.get(checkpoint_ref)

    def filter_rows_for_block(self, block: Any) -> pa.Table:
        """The rows whose ids are not in the array."""
        from rayjup.data.block.convert import to_table

        table = to_table(block)
        if not table.num_rows or not len(self._ids):
            return table
        if self.id_column not in table.column_names:
            raise ValueError(
                f"There is no column {self.id_column!r} with ids; the columns are "
                f"{', '.join(table.column_names)}."
            )
        ids = table.column(self.id_column).to_numpy()
        places = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        return table.filter(pa.array(self._ids[places] != ids))


class _NotingSink(Datasink[Any]):
    """A sink that notes the ids of what another one has written, task by task."""

    def __init__(self, sink: Any, config: CheckpointConfig) -> None:
        self.sink, self.config = sink, config

    def get_name(self) -> str:
        return self.sink.get_name()

    @property
    def _skip(self) -> bool:
        return getattr(self.sink, "_skip", False)

    @property
    def supports_distributed_writes(self) -> bool:
        return self.sink.supports_distributed_writes

    @property
    def min_rows_per_write(self) -> int | None:
        return self.sink.min_rows_per_write

    @property
    def min_bytes_per_write(self) -> int | None:
        return self.sink.min_bytes_per_write

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        self.sink.on_write_start(schema)

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> Any:
        from rayjup.data.block.unify import concat

        seen: list[pa.Table] = []

        def noted() -> Iterator[Any]:
            for block in blocks:
                if self.config.id_column in block.column_names:
                    seen.append(block.select([self.config.id_column]))
                elif block.num_rows:
                    self.config.write_ids(block)  # raises, and says which columns there are
                yield block

        result = self.sink.write(noted(), ctx)
        if seen:
            self.config.write_ids(concat(seen))
        return result

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        self.sink.on_write_complete(write_result)
        if self.config.delete_checkpoint_on_success:
            self.config.clear()

    def on_write_failed(self, error: Exception) -> None:
        self.sink.on_write_failed(error)


def resumed(plan: Op, sink: Any, context: DataContext) -> tuple[Op, Any]:
    """The plan without the rows that are done, and the sink that notes those that it writes.

    Parameters
    ----------
    plan, sink
        What is to be written, and where.
    context
        The settings, with a ``checkpoint_config``.
    """
    from rayjup.data.dataset import Dataset
    from rayjup.data.logical.base import rewrite

    config = context.checkpoint_config
    manager = config.checkpoint_manager_cls(checkpoint_config=config, data_context=context)
    if isinstance(manager, IdColumnCheckpointManager):
        known: Any = manager.ids()  # travels with the function; no cluster is needed for it
    else:
        known, _ = manager.load_checkpoint()
    noting = _NotingSink(sink, config)
    if known is None:
        return plan, noting
    chosen = config.checkpoint_filter_cls(config, known)

    def without_done(op: Op) -> Op:
        if op.inputs:
            return op
        source = Dataset(op, context)
        kept = source.map_batches(chosen.filter_rows_for_block, batch_size=None, batch_format="pyarrow")
        return kept._op

    return rewrite(plan, without_done), noting
