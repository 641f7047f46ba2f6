"""Delta Lake tables, through the ``deltalake`` package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext, WriteResult
from rayjup.data.datasource.pieces import PiecesDatasource, need
from rayjup.data.datasource.savemode import SaveMode


class DeltaDatasource(PiecesDatasource):
    """The files of a version of Delta tables, a file per piece.

    Parameters
    ----------
    path
        A table, or several.
    version
        The version; the latest by default.
    storage_options
        For the storage.
    columns
        The columns to read.
    include_paths
        Whether to add a column ``path``.
    """

    def __init__(
        self,
        path: str | list[str],
        version: int | None = None,
        storage_options: dict[str, Any] | None = None,
        columns: list[str] | None = None,
        include_paths: bool = False,
    ) -> None:
        deltalake = need("deltalake", "Delta Lake")
        self._columns, self._include_paths, self._storage = columns, include_paths, storage_options
        self._pieces: list[tuple[str, dict[str, Any], int]] = []
        for one in [path] if isinstance(path, str) else path:
            table = deltalake.DeltaTable(one, version=version, storage_options=storage_options)
            actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
            uris = {uri.rpartition("/")[2]: uri for uri in table.file_uris()}
            types = {field.name: field.type for field in _arrow_schema(table)}
            for action in actions:
                values = {
                    key.removeprefix("partition."): pa.scalar(value).cast(
                        types[key.removeprefix("partition.")]
                    )
                    for key, value in action.items()
                    if key.startswith("partition.")
                }
                uri = uris[action["path"].rpartition("/")[2]]
                self._pieces.append((uri, values, action["num_records"]))

    def pieces(self, parallelism: int) -> Sequence[Any]:
        """Files with the values of their partitions."""
        return self._pieces

    def piece_rows(self, piece: Any) -> int | None:
        """As the table's log has it."""
        return piece[2]

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def read_piece(self, piece: Any) -> Iterator[pa.Table]:
        """The row groups of a file."""
        from pyarrow import parquet

        from rayjup.data.datasource.paths import resolve

        uri, values, _ = piece
        filesystem, path = resolve(uri, _filesystem(uri, self._storage))
        with filesystem.open_input_file(path) as file:
            reader = parquet.ParquetFile(file)
            stored = self._columns and [name for name in self._columns if name not in values]
            for group in range(reader.num_row_groups):
                table = reader.read_row_group(group, columns=stored or None)
                for name, value in values.items():
                    table = table.append_column(name, pa.repeat(value, table.num_rows))
                if self._columns:
                    table = table.select(self._columns)
                if self._include_paths:
                    table = table.append_column("path", pa.repeat(pa.scalar(uri), table.num_rows))
                yield table


def _arrow_schema(table: Any) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


def _filesystem(uri: str, storage_options: dict[str, Any] | None) -> Any:
    if not storage_options or "://" not in uri:
        return None
    import fsspec

    return fsspec.filesystem(uri.partition("://")[0], **storage_options)


class DeltaDatasink(Datasink[Any]):
    """A Delta table. The data of all tasks is committed at once, by the driver.

    Parameters
    ----------
    path
        The table.
    mode
        ``append``, ``overwrite``, ``error`` or ``ignore``.
    partition_by
        Columns whose values become directories.
    storage_options
        For the storage.
    schema_mode
        ``merge`` adds new columns to the table, ``overwrite`` replaces its schema.
    name, description
        Of the table.
    """

    def __init__(
        self,
        path: str,
        mode: SaveMode = SaveMode.APPEND,
        partition_by: list[str] | None = None,
        storage_options: dict[str, str] | None = None,
        schema_mode: str = "merge",
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        need("deltalake", "Delta Lake")
        self._path, self._mode = path, SaveMode(mode)
        self._more = {
            "partition_by": partition_by,
            "storage_options": storage_options,
            "schema_mode": schema_mode,
            "name": name,
            "description": description,
        }

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> Any:
        """The data of the task; the driver writes it, so that a commit is all or nothing."""
        from rayjup.data.block.unify import concat

        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        tables = [table for table in tables if table.num_rows]
        return concat(tables) if tables else None

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        """Write and commit."""
        from rayjup.data.block.unify import concat

        tables = [table for table in write_result.write_returns if table is not None]
        if not tables:
            return
        arguments = {key: value for key, value in self._more.items() if value is not None}
        if self._mode is not SaveMode.OVERWRITE and arguments.get("schema_mode") == "overwrite":
            raise ValueError("schema_mode='overwrite' goes with mode='overwrite' only.")
        need("deltalake", "Delta Lake").write_deltalake(
            self._path, concat(tables), mode=self._mode.value, **arguments
        )
