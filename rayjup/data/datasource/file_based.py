"""Sources made of files: which files, in which task, with which further columns; one format each."""

from __future__ import annotations

import copy
import functools
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from rayjup.data.block.metadata import BlockMetadata
from rayjup.data.datasource.datasource import Datasource, ReadTask
from rayjup.data.datasource.partitioning import Partitioning, PathPartitionFilter, PathPartitionParser
from rayjup.data.datasource.paths import expand, only_here

if TYPE_CHECKING:
    from pyarrow import fs

    from rayjup.data.context import DataContext

# Files of one task that are read at the same time, and the size of the blocks that small ones are joined to.
_THREADS = 8
JOINED_BYTES = 16 * 1024 * 1024
_SMALL_FILE = 8 * 1024 * 1024

_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".br": "brotli"}


@dataclass
class FileShuffleConfig:
    """Read the files in random order.

    Parameters
    ----------
    seed
        Makes the order repeatable.
    reseed_after_execution
        Whether each execution draws another order.
    """

    seed: int | None = None
    reseed_after_execution: bool = True

    def get_seed(self, execution_idx: int = 0) -> int | None:
        """The seed of an execution."""
        if self.seed is None or not self.reseed_after_execution:
            return self.seed
        return hash((self.seed, execution_idx)) & 0x7FFFFFFF


class FileMetadataProvider:
    """Knows about files before they are read."""


class BaseFileMetadataProvider(FileMetadataProvider):
    """Finds the files behind paths, and their sizes."""

    def expand_paths(
        self,
        paths: list[str],
        filesystem: fs.FileSystem | None,
        partitioning: Partitioning | None = None,
        ignore_missing_paths: bool = False,
    ) -> Iterator[tuple[str, int | None]]:
        """Pairs of path and size."""
        _, files = expand(paths, filesystem, ignore_missing=ignore_missing_paths)
        yield from files


class DefaultFileMetadataProvider(BaseFileMetadataProvider):
    """Finds files by listing directories."""


class FileBasedDatasource(Datasource):
    """A source made of files. Subclasses define ``_read_stream(file, path)``, which yields blocks.

    Parameters
    ----------
    paths
        Files, directories, patterns, URIs.
    filesystem
        A filesystem of pyarrow or fsspec; by default the paths decide.
    schema
        The schema, where it is known.
    open_stream_args
        For ``FileSystem.open_input_stream``, such as ``{"compression": "gzip"}``.
    meta_provider
        Finds the files.
    partition_filter
        Keeps some files by the values in their paths.
    partitioning
        How paths hold values; these become columns.
    ignore_missing_paths
        Whether to pass over paths that do not exist.
    shuffle
        ``"files"`` or a ``FileShuffleConfig``: read the files in random order.
    include_paths
        Whether to add a column ``path``.
    file_extensions
        Which files of a directory to read.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from rayjup.data.datasource import FileBasedDatasource
    >>> class Words(FileBasedDatasource):
    ...     def _read_stream(self, f, path):
    ...         yield pa.table({"word": f.readall().decode().split()})
    """

    # What the format itself decides.
    _FILE_EXTENSIONS: Sequence[str] | None = None
    _NUM_THREADS_PER_TASK = _THREADS
    # Bytes in memory per byte of a file, roughly.
    _ENCODING_RATIO = 1.0

    def __init__(
        self,
        paths: str | list[str],
        *,
        filesystem: Any = None,
        schema: pa.Schema | None = None,
        open_stream_args: dict[str, Any] | None = None,
        meta_provider: BaseFileMetadataProvider | None = None,
        partition_filter: PathPartitionFilter | None = None,
        partitioning: Partitioning | None = None,
        ignore_missing_paths: bool = False,
        shuffle: Literal["files"] | FileShuffleConfig | None = None,
        include_paths: bool = False,
        file_extensions: Sequence[str] | None = None,
    ) -> None:
        if shuffle is not None and shuffle != "files" and not isinstance(shuffle, FileShuffleConfig):
            raise ValueError(f"shuffle={shuffle!r} is neither 'files', a FileShuffleConfig nor None.")
        self._schema = schema
        self._open_stream_args = dict(open_stream_args or {})
        self._partitioning = partitioning
        self._shuffle = shuffle
        self._include_paths = include_paths
        extensions = file_extensions if file_extensions is not None else self._FILE_EXTENSIONS
        self._local_only = only_here(paths)
        self._filesystem, files = expand(
            paths, filesystem, extensions=extensions, ignore_missing=ignore_missing_paths
        )
        if meta_provider is not None and type(meta_provider) is not DefaultFileMetadataProvider:
            listed = [paths] if isinstance(paths, str) else list(paths)
            files = list(
                meta_provider.expand_paths(listed, self._filesystem, partitioning, ignore_missing_paths)
            )
        if partition_filter is not None:
            kept = set(partition_filter([path for path, _ in files]))
            files = [(path, size) for path, size in files if path in kept]
        if not files and not ignore_missing_paths:
            raise ValueError(
                "No file is left to read: the partition filter or the extensions leave out every one of "
                f"{paths!r}."
            )
        self._files = files
        self._executions = 0

    # What subclasses define.

    def _read_stream(self, f: Any, path: str) -> Iterator[Any]:
        """The blocks of one file."""
        raise NotImplementedError(f"{type(self).__name__} must define _read_stream(f, path)")

    def _open_input_source(self, filesystem: fs.FileSystem, path: str, **open_args: Any) -> Any:
        """An open file; compressed ones are unpacked while they are read."""
        arguments = {key: value for key, value in open_args.items() if key != "compression"}
        compression = self.resolve_compression(path, open_args)
        if compression == "snappy":
            raise ValueError(f"{path}: Snappy has no stream format that can be read; use gzip or zstd.")
        return filesystem.open_input_stream(path, compression=compression, **arguments)

    def resolve_compression(self, path: str, open_args: dict[str, Any]) -> str | None:
        """How a file is compressed: as given, or as its name ends."""
        if "compression" in open_args:
            return open_args["compression"]
        for ending, compression in _COMPRESSIONS.items():
            if path.lower().endswith(ending):
                return compression
        return None

    # The interface of sources.

    @property
    def supports_distributed_reads(self) -> bool:
        """Whether any node may read; not where a path says ``local://``."""
        return not self._local_only

    def paths(self) -> list[str]:
        """The files."""
        return [path for path, _ in self._files]

    def estimate_inmemory_data_size(self) -> int | None:
        """The sizes of the files, times what the format usually takes in memory."""
        total = 0
        for path, size in self._files:
            packed = self.resolve_compression(path, self._open_stream_args) is not None
            total += int((size or 0) * self._ENCODING_RATIO * (4 if packed else 1))
        return total

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: DataContext | None = None,
    ) -> list[ReadTask]:
        """About ``parallelism`` tasks with files of about equally many bytes, in order."""
        files = list(self._files)
        if self._shuffle is not None:
            config = self._shuffle if isinstance(self._shuffle, FileShuffleConfig) else FileShuffleConfig()
            random.Random(config.get_seed(self._executions)).shuffle(files)
            self._executions += 1
        tasks = []
        reader = copy.copy(self)
        reader._files = []  # a task is told its files; the others need not travel with it
        for group in _grouped(files, parallelism):
            sizes = [size for _, size in group]
            known = None if None in sizes else int(sum(s or 0 for s in sizes) * self._ENCODING_RATIO)
            metadata = BlockMetadata(
                num_rows=None,
                size_bytes=known,
                exec_stats=None,
                input_files=tuple(path for path, _ in group),
            )
            read = functools.partial(reader._read_files, group)
            tasks.append(ReadTask(read, metadata, self._schema, per_task_row_limit))
        return tasks

    # Reading, in the task.

    def _read_files(self, files: list[tuple[str, int | None]]) -> Iterator[pa.Table]:
        near = type(self._filesystem).__name__ == "LocalFileSystem"  # threads only help to wait
        if len(files) == 1 or (files[0][1] or 0) > _SMALL_FILE or self._NUM_THREADS_PER_TASK < 2 or near:
            blocks: Iterable[pa.Table] = (block for path, _ in files for block in self._read_file(path))
            return joined(blocks) if len(files) > 1 else iter(blocks)
        return joined(self._read_many([path for path, _ in files]))

    def _are_plain(self, files: list[tuple[str, int | None]], most: int) -> bool:
        """Whether all lie on this machine, unpacked and of at most so many bytes, and no column is to be
        added: such files may be read without pyarrow's streams, which take longer to open than to read."""
        return (
            type(self._filesystem).__name__ == "LocalFileSystem"
            and not (self._open_stream_args or self._include_paths or self._partitioning)
            and all(size is not None and size <= most for _, size in files)
            and not any(path.lower().endswith(tuple(_COMPRESSIONS)) for path, _ in files)
        )

    def _read_file(self, path: str) -> Iterator[pa.Table]:
        from rayjup.data.block.convert import to_table

        values = {} if self._partitioning is None else PathPartitionParser(self._partitioning)(path)
        try:
            with self._open_input_source(self._filesystem, path, **self._open_stream_args) as stream:
                for block in self._read_stream(stream, path):
                    table = to_table(block)
                    yield self._with_columns(table, path, values) if table.num_columns else table
        except Exception as error:
            raise about(error, path) from error

    def _with_columns(self, table: pa.Table, path: str, values: dict[str, Any]) -> pa.Table:
        for name, value in values.items():
            if name not in table.column_names:
                table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
        if self._include_paths:
            table = table.append_column("path", pa.repeat(pa.scalar(path), table.num_rows))
        return table

    def _read_many(self, paths: list[str]) -> Iterator[pa.Table]:
        """Several files at a time; their blocks in the order of the files."""
        ahead: deque[Future[list[pa.Table]]] = deque()
        with ThreadPoolExecutor(min(self._NUM_THREADS_PER_TASK, len(paths))) as pool:
            rest = iter(paths)
            try:
                while True:
                    while len(ahead) < 4 * self._NUM_THREADS_PER_TASK:
                        path = next(rest, None)
                        if path is None:
                            break
                        ahead.append(pool.submit(lambda p: list(self._read_file(p)), path))
                    if not ahead:
                        return
                    yield from ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()


def about(error: Exception, path: str) -> Exception:
    """The error with the name of the file."""
    if path in str(error):
        return error
    text = f"{path} cannot be read: {error}"
    if isinstance(error, (pa.ArrowException, ValueError, TypeError)) and type(error).__init__ in (
        ValueError.__init__,
        TypeError.__init__,
        Exception.__init__,
        pa.ArrowInvalid.__init__,
    ):
        return type(error)(text)
    if isinstance(error, (ImportError, NotImplementedError)):
        return error
    return OSError(text) if isinstance(error, OSError) else ValueError(text)


def read_most(f: Any, most: int, step: int) -> bytes:
    """At most so many bytes of a stream, which may give less than it is asked for before its end.

    Asking for much costs time even where there is little, so it begins with ``step``.
    """
    parts: list[bytes] = []
    while most > 0 and (part := f.read(min(step, most))):
        parts.append(part)
        most -= len(part)
        step *= 8
    return parts[0] if len(parts) == 1 else b"".join(parts)


def joined(blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Small blocks joined to larger ones, so that many files do not become many blocks."""
    from rayjup.data.block.unify import concat

    waiting: list[pa.Table] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += block.nbytes
        if size >= JOINED_BYTES:
            yield concat(waiting)
            waiting, size = [], 0
    if waiting:
        yield concat(waiting) if len(waiting) > 1 else waiting[0]


def _grouped(files: list[tuple[str, int | None]], parallelism: int) -> list[list[tuple[str, int | None]]]:
    """The files in order, cut into at most so many groups of about equal size."""
    count = max(1, min(parallelism if parallelism > 0 else 1, len(files)))
    if not files:
        return []
    weights = [(size or 0) + 1024 for _, size in files]  # opening a file costs something, too
    total, groups, seen = sum(weights), [[]], 0  # type: ignore[var-annotated]
    for place, (file, weight) in enumerate(zip(files, weights, strict=True)):
        left_files, left_groups = len(files) - place, count - len(groups)
        full = seen >= total * len(groups) / count or left_files <= left_groups
        if groups[-1] and left_groups > 0 and full:
            groups.append([])
        groups[-1].append(file)
        seen += weight
    return groups
