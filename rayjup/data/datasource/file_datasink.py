"""Sinks made of files: one file per block, or one per row."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext, WriteResult
from rayjup.data.datasource.filename import FilenameProvider
from rayjup.data.datasource.paths import only_here, resolve
from rayjup.data.datasource.savemode import SaveMode


class _FileDatasink(Datasink[None]):
    """What both kinds share.

    Parameters
    ----------
    path
        The directory.
    filesystem
        A filesystem of pyarrow or fsspec; by default the path decides.
    try_create_dir
        Whether to make the directory.
    open_stream_args
        For ``FileSystem.open_output_stream``, such as ``{"compression": "gzip"}``.
    filename_provider
        Names the files.
    dataset_uuid
        Put first in the names.
    file_format
        The extension.
    mode
        What to do where files exist: ``append``, ``overwrite``, ``ignore`` or ``error``.
    """

    def __init__(
        self,
        path: str,
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        dataset_uuid: str | None = None,
        file_format: str | None = None,
        mode: SaveMode = SaveMode.APPEND,
    ) -> None:
        self.unresolved_path = path
        self.filesystem, self.path = resolve(path, filesystem)
        self.try_create_dir = try_create_dir
        self.open_stream_args = dict(open_stream_args or {})
        self.filename_provider = filename_provider or FilenameProvider(dataset_uuid, file_format)
        self.dataset_uuid = dataset_uuid
        self.file_format = file_format
        self.mode = SaveMode(mode)
        self.has_created_dir = False
        self._skip = False
        self._write_uuid = uuid.uuid4().hex

    def open_output_stream(self, path: str) -> Any:
        """An open file to write to; compressed where the arguments or its name say so."""
        args = dict(self.open_stream_args)
        compression = args.pop("compression", None)
        if compression is None and path.endswith(".gz"):
            compression = "gzip"
        return self.filesystem.open_output_stream(path, compression=compression, **args)

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Make or empty the directory, as the mode says."""
        found = self.filesystem.get_file_info(self.path)
        exists = found.type != pafs.FileType.NotFound
        if exists and self.mode is SaveMode.ERROR:
            raise ValueError(
                f"{self.unresolved_path} exists already, and mode='error' says not to write then. "
                "Use mode='overwrite', 'append' or 'ignore', or another path."
            )
        if exists and self.mode is SaveMode.IGNORE:
            self._skip = True
            return
        if found.type == pafs.FileType.File:
            raise ValueError(f"{self.unresolved_path} is a file; the dataset needs a directory.")
        if exists and self.mode is SaveMode.OVERWRITE:
            self.filesystem.delete_dir_contents(self.path)
        if self.try_create_dir and not exists:
            self.filesystem.create_dir(self.path, recursive=True)
            self.has_created_dir = True

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Write the blocks of a task."""
        if self._skip:
            return
        for number, block in enumerate(blocks):
            accessor = BlockAccessor.for_block(block)
            if accessor.num_rows():
                self.write_block(accessor, number, ctx)

    def write_block(self, block: BlockAccessor, block_index: int, ctx: TaskContext) -> None:
        """Write one block."""
        raise NotImplementedError(f"{type(self).__name__} must define write_block")

    def on_write_complete(self, write_result: WriteResult[None]) -> None:
        """Take the directory away again where nothing was written."""
        if self.has_created_dir and write_result.num_rows == 0 and not self._skip:
            self.filesystem.delete_dir(self.path)

    @property
    def supports_distributed_writes(self) -> bool:
        """Whether any node may write; not where the path says ``local://``."""
        return not only_here(self.unresolved_path)

    def _uuid(self, ctx: TaskContext) -> str:
        return ctx.kwargs.get("write_uuid", self._write_uuid)

    def _target(self, name: str) -> str:
        return posixpath.join(self.path, name)


class BlockBasedFileDatasink(_FileDatasink):
    """A sink that writes one file per block. Subclasses define ``write_block_to_file``.

    Parameters
    ----------
    path
        The directory.
    min_rows_per_file
        How many rows a file has at least, as far as there are so many.
    **file_datasink_kwargs
        ``filesystem``, ``try_create_dir``, ``open_stream_args``, ``filename_provider``, ``dataset_uuid``,
        ``file_format``, ``mode``.
    """

    def __init__(
        self, path: str, *, min_rows_per_file: int | None = None, **file_datasink_kwargs: Any
    ) -> None:
        super().__init__(path, **file_datasink_kwargs)
        if min_rows_per_file is not None and min_rows_per_file < 1:
            raise ValueError(f"min_rows_per_file={min_rows_per_file} is not a positive number.")
        self._min_rows_per_file = min_rows_per_file

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block to an open file."""
        raise NotImplementedError(f"{type(self).__name__} must define write_block_to_file(block, file)")

    def write_block(self, block: BlockAccessor, block_index: int, ctx: TaskContext) -> None:
        """Write a block to a file of its own."""
        name = self.filename_provider.get_filename_for_block(
            block.to_arrow(), self._uuid(ctx), ctx.task_idx, block_index
        )
        with self.open_output_stream(self._target(name)) as file:
            self.write_block_to_file(block, file)

    @property
    def min_rows_per_write(self) -> int | None:
        """The rows that a file has at least."""
        return self._min_rows_per_file


class RowBasedFileDatasink(_FileDatasink):
    """A sink that writes one file per row. Subclasses define ``write_row_to_file``.

    Parameters
    ----------
    path
        The directory.
    filesystem, try_create_dir, open_stream_args, filename_provider, dataset_uuid, file_format, mode
        As for ``BlockBasedFileDatasink``.
    """

    def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
        """Write a row to an open file."""
        raise NotImplementedError(f"{type(self).__name__} must define write_row_to_file(row, file)")

    def write_block(self, block: BlockAccessor, block_index: int, ctx: TaskContext) -> None:
        """Write each row of a block to a file of its own."""
        for row_index, row in enumerate(block.iter_rows(public_row_format=False)):
            name = self.filename_provider.get_filename_for_row(
                row, self._uuid(ctx), ctx.task_idx, block_index, row_index
            )
            with self.open_output_stream(self._target(name)) as file:
                self.write_row_to_file(row, file)
