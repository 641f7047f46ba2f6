"""Parquet: columns and rows that are not wanted are not read."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.metadata import BlockMetadata
from rayjup.data.datasource.datasource import Datasource, ReadTask
from rayjup.data.kernels import frames

_BATCH_BYTES = 32 << 20


class ParquetDatasource(Datasource):
    """Parquet files, or directories of them.

    Parameters
    ----------
    paths : list of str
        Files, directories or URIs.
    filesystem : pyarrow.fs.FileSystem or fsspec filesystem, optional
    columns : list of str, optional
        Read only these.
    files : list of str, optional
        The files, where they are known; otherwise they are listed.
    partitioning : pyarrow.dataset.Partitioning or str, optional
        How values lie in paths.
    include_paths : bool
        Add a column ``path``.
    schema, filter, batch_size, tensor_columns
        Of the rows; of the rows wanted; rows per table; columns that hold the bytes of tensors.
    """

    native = True

    def __init__(
        self,
        paths: Sequence[str],
        *,
        filesystem: Any = None,
        columns: Sequence[str] | None = None,
        files: Sequence[str] | None = None,
        partitioning: Any = "hive",
        include_paths: bool = False,
        schema: pa.Schema | None = None,
        filter: Any = None,
        batch_size: int | None = None,
        tensor_columns: dict[str, tuple[Any, tuple[int, ...]]] | None = None,
        read_options: dict[str, Any] | None = None,
        row_hash: bool = False,
    ) -> None:
        from rayjup.data.datasource.parquet_files import list_files

        self.paths = list(paths)
        if files is None:
            filesystem, files = list_files(self.paths, filesystem)
        self.filesystem, self.files = filesystem, list(files)
        self.given = list(columns) if columns is not None else None
        self.partitioning, self.include_paths = partitioning, include_paths
        self.given_schema, self.filter, self.batch_size = schema, filter, batch_size
        self.tensor_columns = tensor_columns or {}
        self.read_options = read_options or {}
        self.row_hash = row_hash
        self._looked: tuple[pa.Schema, list[int], list[int]] | None = None

    def get_name(self) -> str:
        """The name shown in plans and statistics."""
        return "Parquet"

    # ------------------------------------------------------------------------------------- what is there

    def dataset(self, files: Sequence[str] | None = None) -> Any:
        """The files as a dataset of pyarrow."""
        import pyarrow.dataset as pds

        return pds.dataset(
            list(files) if files is not None else self.files,
            filesystem=self.filesystem,
            format="parquet",
            partitioning=self.partitioning,
            schema=self._unified(),
        )

    def _unified(self) -> pa.Schema | None:
        """The schema that all files can be read with; looked at in a few of them."""
        if self.given_schema is not None:
            return self.given_schema
        if "_schema" not in self.__dict__:
            self._schema = _schema_of(self.files, self.filesystem, self.partitioning)
        return self._schema

    def _names(self) -> list[str]:
        schema = self._unified()
        names = list(schema.names) if schema is not None else []
        if self.given is not None:
            missing = [n for n in self.given if n not in names]
            if missing:
                raise ValueError(f"read_parquet: there is no column {missing[0]!r}; the columns are {names}.")
            names = self.given
        if self._projection is not None:
            names = [n for n in names if n in self._projection]
        return names

    def schema_names(self) -> list[str]:
        """The columns that are read."""
        return (
            self._names() + (["path"] if self.include_paths else []) + (["row_hash"] if self.row_hash else [])
        )

    def known_schema(self) -> pa.Schema | None:
        """The schema of what is read."""
        schema = self._unified()
        if schema is None or self.tensor_columns or self.row_hash:
            return None
        out = pa.schema([schema.field(n) for n in self._names()])
        return out.append(pa.field("path", pa.string())) if self.include_paths else out.remove_metadata()

    def _sizes(self) -> tuple[int, int | None]:
        """Bytes in memory and rows, from the metadata of the files (of some, where there are many)."""
        if "_size" not in self.__dict__:
            self._size = self._measure()
        return self._size

    def _measure(self) -> tuple[int, int | None]:
        import pyarrow.parquet as pq

        if not self.files:
            return 0, 0
        names = set(self._names())
        look = self.files if len(self.files) <= 16 else self.files[:: max(1, len(self.files) // 16)][:16]
        total = rows = 0
        for file in look:
            meta = pq.read_metadata(file, filesystem=self.filesystem)
            rows += meta.num_rows
            for group in range(meta.num_row_groups):
                block = meta.row_group(group)
                for position in range(meta.num_columns):
                    column = block.column(position)
                    if column.path_in_schema.split(".")[0] in names:
                        # Dictionaries hide the size: 8 bytes a value at least.
                        total += max(column.total_uncompressed_size, 8 * column.num_values)
        scale = len(self.files) / len(look)
        return int(total * scale), rows if len(look) == len(self.files) else None

    def estimate_inmemory_data_size(self) -> int | None:
        """From the metadata of the files."""
        return self._sizes()[0]

    def count_rows(self) -> int | None:
        """The number of rows, from the metadata of the files."""
        if self._predicate is not None or self.filter is not None:
            return None
        known = self._sizes()[1]
        if known is None:
            known = self.dataset().count_rows()
            self._size = (self._size[0], known)
        return known

    # ------------------------------------------------------------------------------------- push-down

    def supports_projection_pushdown(self) -> bool:
        """Yes."""
        return True

    def supports_predicate_pushdown(self) -> bool:
        """Yes, for expressions that pyarrow has."""
        return not self.tensor_columns

    def accepts_predicate(self, expr: Any) -> bool:
        """True if pyarrow can evaluate the expression exactly."""
        from rayjup.data.expressions.pushdown import to_pyarrow

        try:
            to_pyarrow(expr)
        except (TypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
        return bool(expr.required_columns())

    def _filter(self) -> Any:
        if self._predicate is None:
            return self.filter
        from rayjup.data.expressions.pushdown import to_pyarrow

        made = to_pyarrow(self._predicate)
        return made if self.filter is None else self.filter & made

    def scan_polars(self) -> Any:
        """As a Polars query; None where it would not be the same."""
        import pyarrow.fs

        if (
            self.include_paths
            or self.tensor_columns
            or self.row_hash
            or self.filter is not None
            or not self.files
        ):
            return None
        if not isinstance(self.filesystem, pyarrow.fs.LocalFileSystem) or self.read_options:
            return None
        schema = self._unified()
        if schema is None or not frames.all_supported(schema) or _has_partitions(self.files, self.paths):
            return None
        if len(self.files) > 1 and not _same_schemas(self.files[:8], schema):
            return None
        import polars as pl

        frame = pl.scan_parquet(self.files, glob=False, hive_partitioning=False)
        names = self._names()
        if names != list(schema.names):
            frame = frame.select(names)
        if self._predicate is not None:
            from rayjup.data.expressions import to_polars

            made = to_polars(self._predicate, schema)
            if made is None:
                return None
            frame = frame.filter(made)
        return frame

    # ------------------------------------------------------------------------------------- reading

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Files in turn, large ones by row groups."""
        if not self.files:
            return []
        size, rows = self._sizes()
        pieces: list[list[tuple[str, list[int] | None]]]
        if len(self.files) >= parallelism:
            edges = np.linspace(0, len(self.files), parallelism + 1).astype(int)
            pieces = [[(f, None) for f in self.files[a:b]] for a, b in itertools.pairwise(edges)]
        else:
            pieces = self._by_groups(parallelism)
        pieces = [p for p in pieces if p]
        each_rows = None if rows is None or len(pieces) > 1 else rows
        if self._predicate is not None or self.filter is not None:
            each_rows = None
        out = []
        for piece in pieces:
            meta = BlockMetadata(
                each_rows, size // len(pieces), None, None, tuple(dict.fromkeys(f for f, _ in piece))
            )
            read = functools.partial(_read, self, piece, per_task_row_limit)
            out.append(ReadTask(read, meta, None, per_task_row_limit))
        return out

    def _by_groups(self, parallelism: int) -> list[list[tuple[str, list[int] | None]]]:
        import pyarrow.parquet as pq

        groups: list[tuple[str, int]] = []
        for file in self.files:
            count = pq.read_metadata(file, filesystem=self.filesystem).num_row_groups
            groups += [(file, g) for g in range(count)] or [(file, -1)]
        edges = np.linspace(0, len(groups), min(parallelism, len(groups)) + 1).astype(int)
        out = []
        for a, b in itertools.pairwise(edges):
            by_file: dict[str, list[int] | None] = {}
            for file, group in groups[a:b]:
                if group < 0:
                    by_file[file] = None
                else:
                    known = by_file.setdefault(file, [])
                    assert known is not None
                    known.append(group)
            out.append(list(by_file.items()))
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_size"}


def _read(
    source: ParquetDatasource, piece: Sequence[tuple[str, list[int] | None]], limit: int | None
) -> Iterable[pa.Table]:
    """The tables of some row groups."""
    where = source._filter()
    names = source._names()
    left = limit
    options = dict(source.read_options)
    if source.batch_size:
        options["batch_size"] = source.batch_size
    elif limit is not None:
        options["batch_size"] = max(1, min(limit, 131072))
    given = False
    for part, file in _fragments(source, piece):
        scanner = part.scanner(schema=source._unified(), columns=names, filter=where, **options)
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in scanner.to_batches():
            if not batch.num_rows:
                continue
            waiting.append(batch)
            size += batch.nbytes
            done = left is not None and sum(b.num_rows for b in waiting) >= left
            if size >= _BATCH_BYTES or done:
                table = _finished(source, pa.Table.from_batches(waiting), file)
                waiting, size, given = [], 0, True
                yield table if left is None else table.slice(0, left)
                if left is not None:
                    left -= table.num_rows
                    if left <= 0:
                        return
        if waiting:
            given = True
            table = _finished(source, pa.Table.from_batches(waiting), file)
            yield table
            if left is not None:
                left -= table.num_rows
    if not given:
        schema = source.known_schema()
        if schema is not None:
            yield schema.empty_table()


def _fragments(source: ParquetDatasource, piece: Sequence[tuple[str, list[int] | None]]) -> Iterable[Any]:
    dataset = source.dataset([file for file, _ in piece])
    wanted = dict(piece)
    for fragment in dataset.get_fragments():
        groups = wanted.get(fragment.path)
        yield (fragment if groups is None else fragment.subset(row_group_ids=groups)), fragment.path


def _finished(source: ParquetDatasource, table: pa.Table, file: str) -> pa.Table:
    if source.tensor_columns:
        from rayjup.data.extensions import ArrowTensorArray

        for name, (dtype, shape) in source.tensor_columns.items():
            if name in table.column_names:
                rows = [np.frombuffer(v, dtype).reshape(shape) for v in table.column(name).to_pylist()]
                array = ArrowTensorArray.from_numpy(np.stack(rows), name)
                table = table.set_column(table.column_names.index(name), name, array)
    if source.row_hash:
        from rayjup.data.kernels.shuffling import hash_rows

        table = table.append_column("row_hash", pa.array(hash_rows(table, table.column_names)))
    if source.include_paths:
        table = table.append_column("path", pa.repeat(pa.scalar(file), table.num_rows))
    return table.replace_schema_metadata(None)


def _schema_of(files: Sequence[str], filesystem: Any, partitioning: Any) -> pa.Schema | None:
    """The schema of some of the files, unified: a column may be missing, or of another width, in one."""
    import pyarrow.dataset as pds

    from rayjup.data.block.unify import unify_schemas

    if not files:
        return None
    look = files if len(files) <= 16 else [*files[:15], files[-1]]
    dataset = pds.dataset(list(look), filesystem=filesystem, format="parquet", partitioning=partitioning)
    if len(look) == 1:
        return dataset.schema.remove_metadata()
    parts = [fragment.physical_schema.remove_metadata() for fragment in dataset.get_fragments()]
    schema = unify_schemas(parts)
    for field in dataset.schema:
        if field.name not in schema.names:
            schema = schema.append(field)
    return schema.remove_metadata()


def _has_partitions(files: Sequence[str], paths: Sequence[str]) -> bool:
    return any("=" in part for file in files[:4] for part in file.split("/")[:-1])


def _same_schemas(files: Sequence[str], schema: pa.Schema) -> bool:
    import pyarrow.parquet as pq

    return all(pq.read_schema(f).remove_metadata().equals(schema) for f in files)
