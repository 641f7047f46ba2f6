"""ClickHouse, through ``clickhouse-connect``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.pieces import PiecesDatasource, need


class SinkMode(IntEnum):
    """What to do with the table: it must not exist, rows are added, or it is made anew."""

    CREATE = 1
    APPEND = 2
    OVERWRITE = 3


@dataclass
class ClickHouseTableSettings:
    """How a table is made.

    Parameters
    ----------
    engine, order_by, partition_by, primary_key, settings
        The clauses of ``CREATE TABLE``.
    """

    engine: str = "MergeTree()"
    order_by: str | None = None
    partition_by: str | None = None
    primary_key: str | None = None
    settings: str | None = None


def _client(dsn: str, settings: dict[str, Any] | None, more: dict[str, Any] | None) -> Any:
    connect = need("clickhouse_connect", "ClickHouse", "clickhouse-connect")
    return connect.get_client(dsn=dsn, settings=settings or {}, **(more or {}))


class ClickHouseDatasource(PiecesDatasource):
    """The rows of a table; with ``order_by`` in several parts.

    Parameters
    ----------
    table
        ``database.table``.
    dsn
        ``clickhouse+http://user:password@host:8124/default``.
    columns, filter
        The columns, and a condition in SQL.
    order_by
        Columns, and whether downwards; makes parts possible.
    client_settings, client_kwargs
        For ``clickhouse_connect.get_client``.
    """

    def __init__(
        self,
        table: str,
        dsn: str,
        columns: list[str] | None = None,
        filter: str | None = None,
        order_by: tuple[list[str], bool] | None = None,
        client_settings: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
    ) -> None:
        need("clickhouse_connect", "ClickHouse", "clickhouse-connect")
        self._where = f" WHERE {filter}" if filter else ""
        self._table, self._connect = table, (dsn, client_settings, client_kwargs)
        self._query = f"SELECT {', '.join(columns) if columns else '*'} FROM {table}{self._where}"
        self._ordered = order_by is not None
        if order_by is not None:
            names, downwards = order_by
            self._query += f" ORDER BY {', '.join(f'{name} DESC' if downwards else name for name in names)}"

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def pieces(self, parallelism: int) -> Sequence[str]:
        """Queries that together give all rows."""
        if not self._ordered or parallelism < 2:
            return [self._query]
        client = _client(*self._connect)
        try:
            rows = int(client.query(f"SELECT count() FROM {self._table}{self._where}").result_rows[0][0])
        finally:
            client.close()
        step = max(1, -(-rows // parallelism))
        return [f"{self._query} LIMIT {step} OFFSET {start}" for start in range(0, max(rows, 1), step)]

    def read_piece(self, piece: str) -> Iterator[pa.Table]:
        """The rows of a query."""
        client = _client(*self._connect)
        try:
            with client.query_arrow_stream(piece) as stream:
                for batch in stream:
                    yield batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        finally:
            client.close()


_TYPES: list[tuple[Any, str]] = [
    (pa.types.is_boolean, "Bool"),
    (pa.types.is_int8, "Int8"),
    (pa.types.is_int16, "Int16"),
    (pa.types.is_int32, "Int32"),
    (pa.types.is_int64, "Int64"),
    (pa.types.is_uint8, "UInt8"),
    (pa.types.is_uint16, "UInt16"),
    (pa.types.is_uint32, "UInt32"),
    (pa.types.is_uint64, "UInt64"),
    (pa.types.is_float16, "Float32"),
    (pa.types.is_float32, "Float32"),
    (pa.types.is_float64, "Float64"),
    (pa.types.is_date, "Date32"),
    (pa.types.is_timestamp, "DateTime64(6)"),
]


def column_type(arrow_type: pa.DataType, nullable: bool = True) -> str:
    """The type of a column in ClickHouse."""
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return f"Array({column_type(arrow_type.value_type)})"
    if pa.types.is_decimal(arrow_type):
        made = f"Decimal({arrow_type.precision}, {arrow_type.scale})"
    else:
        made = next((name for check, name in _TYPES if check(arrow_type)), "String")
    return f"Nullable({made})" if nullable else made


class ClickHouseDatasink(Datasink[None]):
    """A table of ClickHouse.

    Parameters
    ----------
    table, dsn
        As for reading.
    mode
        What to do with the table.
    schema
        The columns of a table to make; by default those of the data.
    client_settings, client_kwargs
        For ``clickhouse_connect.get_client``.
    table_settings
        How a table is made.
    max_insert_block_rows
        The most rows per insert.
    """

    def __init__(
        self,
        table: str,
        dsn: str,
        mode: SinkMode = SinkMode.CREATE,
        schema: pa.Schema | None = None,
        client_settings: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
        table_settings: ClickHouseTableSettings | None = None,
        max_insert_block_rows: int | None = None,
    ) -> None:
        need("clickhouse_connect", "ClickHouse", "clickhouse-connect")
        if not re.fullmatch(r"[\w.`\"]+", table):
            raise ValueError(f"table={table!r} is no name of a table, such as 'database.table'.")
        self._table, self._connect = table, (dsn, client_settings, client_kwargs)
        self._mode, self._schema = SinkMode(mode), schema
        self._settings = table_settings or ClickHouseTableSettings()
        self._rows = max_insert_block_rows

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Make the table, as the mode says."""
        client = _client(*self._connect)
        try:
            exists = bool(int(client.command(f"EXISTS TABLE {self._table}")))
            if exists and self._mode is SinkMode.CREATE:
                raise ValueError(
                    f"The table {self._table} exists already; use mode=SinkMode.APPEND or OVERWRITE."
                )
            if exists and self._mode is SinkMode.OVERWRITE:
                client.command(f"DROP TABLE {self._table}")
                exists = False
            if not exists:
                columns = self._schema or schema
                if columns is None:
                    raise ValueError(f"The table {self._table} is to be made: give its schema.")
                client.command(self.create_statement(columns))
        finally:
            client.close()

    def create_statement(self, schema: pa.Schema) -> str:
        """The ``CREATE TABLE`` statement."""
        order = self._settings.order_by or "tuple()"
        plain = {name.strip(" `()") for name in order.split(",")}
        columns = ", ".join(
            f"`{field.name}` {column_type(field.type, field.name not in plain)}" for field in schema
        )
        clauses = [f"CREATE TABLE {self._table} ({columns})", f"ENGINE = {self._settings.engine}"]
        clauses.append(f"ORDER BY {order}")
        for clause, value in (
            ("PARTITION BY", self._settings.partition_by),
            ("PRIMARY KEY", self._settings.primary_key),
            ("SETTINGS", self._settings.settings),
        ):
            if value:
                clauses.append(f"{clause} {value}")
        return " ".join(clauses)

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Insert the blocks of a task."""
        client = _client(*self._connect)
        try:
            for block in blocks:
                table = BlockAccessor.for_block(block).to_arrow()
                step = self._rows or max(1, table.num_rows)
                for start in range(0, table.num_rows, step):
                    client.insert_arrow(self._table, table.slice(start, step))
        finally:
            client.close()
