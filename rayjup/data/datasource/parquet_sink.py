"""Parquet files written, one per task or more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from rayjup.data.block.convert import to_table
from rayjup.data.block.unify import concat
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.parquet_files import resolve
from rayjup.data.datasource.savemode import SaveMode

_LOOK = 100_000


def repeating_columns(table: pa.Table) -> list[str] | None:
    """Columns whose values repeat, so that a dictionary of them is worth while; None where that cannot be
    said.

    Trying a dictionary for the others doubles the time of writing.
    """
    import pyarrow.compute as pc

    if any(pa.types.is_nested(f.type) or isinstance(f.type, pa.BaseExtensionType) for f in table.schema):
        return None  # their parts have names of their own
    out = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        part = column.slice(len(column) // 2, 8192)
        kind = column.type
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not number or pc.count_distinct(part).as_py() < len(part) // 2:
            out.append(name)
    return out


class ParquetDatasink(Datasink[None]):
    """Writes Parquet files into a directory; parameters as :meth:`rayjup.data.Dataset.write_parquet`."""

    def __init__(
        self,
        path: str,
        *,
        partition_cols: list[str] | None = None,
        filesystem: Any = None,
        try_create_dir: bool = True,
        open_stream_args: dict[str, Any] | None = None,
        filename_provider: Any = None,
        arrow_parquet_args_fn: Callable[[], dict[str, Any]] | None = None,
        arrow_parquet_args: dict[str, Any] | None = None,
        min_rows_per_file: int | None = None,
        max_rows_per_file: int | None = None,
        min_bytes_per_file: int | None = None,
        mode: Any = SaveMode.APPEND,
    ) -> None:
        if min_rows_per_file and max_rows_per_file and min_rows_per_file > max_rows_per_file:
            raise ValueError(
                f"write_parquet: min_rows_per_file={min_rows_per_file} is more than "
                f"max_rows_per_file={max_rows_per_file}."
            )
        if partition_cols and (min_rows_per_file or max_rows_per_file):
            raise ValueError("write_parquet: rows per file cannot be given together with partition_cols.")
        self.given = str(path)
        self.filesystem, self.path = resolve(path, filesystem)
        self.path = self.path.rstrip("/") or self.path
        self.partition_cols = partition_cols
        self.try_create_dir, self.open_stream_args = try_create_dir, open_stream_args or {}
        self.filename_provider = filename_provider
        self.args_fn, self.args = arrow_parquet_args_fn, dict(arrow_parquet_args or {})
        self._min_rows, self._max_rows, self._min_bytes = (
            min_rows_per_file,
            max_rows_per_file,
            min_bytes_per_file,
        )
        self.mode = SaveMode(mode)
        self._skip = False

    def get_name(self) -> str:
        """The name shown in plans and statistics."""
        return "Parquet"

    @property
    def min_rows_per_write(self) -> int | None:
        """Rows per file."""
        return self._min_rows

    @property
    def min_bytes_per_write(self) -> int | None:
        """Bytes per file."""
        return self._min_bytes

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Look at what is there, and make the directory."""
        self._skip = False
        info = self.filesystem.get_file_info(self.path)
        filled = info.type == pafs.FileType.File or (
            info.type == pafs.FileType.Directory
            and bool(self.filesystem.get_file_info(pafs.FileSelector(self.path)))
        )
        if filled and self.mode in (SaveMode.ERROR, SaveMode.CREATE):
            raise ValueError(f"write_parquet: {self.given!r} is not empty, and mode is {self.mode.value!r}.")
        if filled and self.mode is SaveMode.IGNORE:
            self._skip = True
            return
        if filled and self.mode is SaveMode.OVERWRITE:
            self.filesystem.delete_dir_contents(self.path)
        if self.try_create_dir:
            self.filesystem.create_dir(self.path, recursive=True)

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Write the blocks of a task."""
        tables = [t for t in (to_table(b) for b in blocks) if t.num_rows]
        if not tables:
            return
        table = concat(tables)
        options = {**self.args, **(self.args_fn() if self.args_fn else {})}
        name = self._name(ctx)
        if self.partition_cols:
            self._write_partitions(table, name, options)
            return
        parts = [table]
        if self._max_rows and table.num_rows > self._max_rows:
            parts = [table.slice(i, self._max_rows) for i in range(0, table.num_rows, self._max_rows)]
        stem, extension = os.path.splitext(name)
        for number, part in enumerate(parts):
            file = name if len(parts) == 1 else f"{stem}_{number:06}{extension}"
            self._write_one(part, f"{self.path}/{file}", options)

    def _name(self, ctx: TaskContext) -> str:
        write_uuid = ctx.kwargs.get("write_uuid", "")
        if self.filename_provider is not None:
            return self.filename_provider.get_filename_for_task(write_uuid, ctx.task_idx)
        return f"{write_uuid}_{ctx.task_idx:06}.parquet"

    def _write_one(self, table: pa.Table, path: str, options: dict[str, Any]) -> None:
        import pyarrow.parquet as pq

        if "use_dictionary" not in options and table.num_rows > _LOOK:
            repeating = repeating_columns(table)
            if repeating is not None:
                options = {**options, "use_dictionary": repeating}
        with self.filesystem.open_output_stream(path, **self.open_stream_args) as stream:
            pq.write_table(table, stream, **options)

    def _write_partitions(self, table: pa.Table, name: str, options: dict[str, Any]) -> None:
        from urllib.parse import quote

        from rayjup.data.kernels.grouping import groups

        assert self.partition_cols is not None
        for group in groups(table, self.partition_cols):
            first = group.slice(0, 1)
            folder = self.path
            for column in self.partition_cols:
                value = first.column(column)[0].as_py()
                text = "__HIVE_DEFAULT_PARTITION__" if value is None else quote(str(value), safe=" ")
                folder += f"/{column}={text}"
            self.filesystem.create_dir(folder, recursive=True)
            self._write_one(group.drop_columns(self.partition_cols), f"{folder}/{name}", options)
