"""Databases with a connector that follows Python's DB API 2 (PEP 249)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.block.convert import column_values, from_values
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.pieces import PiecesDatasource

_ROWS = 50_000


class Connection(Protocol):
    """What a connection of a DB API 2 connector can do."""

    def close(self) -> None:
        """End it."""

    def commit(self) -> None:
        """Make what was written permanent."""

    def cursor(self) -> Any:
        """What queries are executed with."""


class SQLDatasource(PiecesDatasource):
    """The rows of a query.

    Parameters
    ----------
    sql
        The query.
    connection_factory
        Makes a connection; called wherever a part is read.
    shard_keys
        Columns by whose hash the rows are divided among tasks.
    shard_hash_fn
        The database's function that makes a hash of text.
    sql_params
        Values for the placeholders of the query.
    """

    def __init__(
        self,
        sql: str,
        connection_factory: Callable[[], Connection],
        shard_keys: list[str] | None = None,
        shard_hash_fn: str = "MD5",
        sql_params: Any = None,
    ) -> None:
        if shard_keys is not None and not shard_keys:
            raise ValueError("shard_keys is empty; leave it out to read in one task.")
        self.sql = sql.strip().rstrip(";")
        self._connect = connection_factory
        self._shard_keys, self._hash, self._params = shard_keys, shard_hash_fn, sql_params

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before the query is run."""
        return None

    def pieces(self, parallelism: int) -> Sequence[str]:
        """Queries that together give all rows."""
        if self._shard_keys is None or parallelism < 2:
            return [self.sql]
        shards = [self._shard(number, parallelism) for number in range(parallelism)]
        return shards if self._works(shards[0]) else [self.sql]

    def _shard(self, number: int, of: int) -> str:
        keys = self._shard_keys or []
        key = keys[0] if len(keys) == 1 else f"CONCAT({', '.join(keys)})"
        return f"SELECT * FROM ({self.sql}) AS T WHERE MOD(ABS({self._hash}({key})), {of}) = {number}"

    def _works(self, query: str) -> bool:
        """Whether the database knows what a part is made with."""
        try:
            with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
                self._execute(cursor, f"SELECT COUNT(1) FROM ({query}) AS S")
                cursor.fetchone()
        except Exception:  # noqa: BLE001 — every connector has errors of its own
            return False
        return True

    def _execute(self, cursor: Any, query: str) -> None:
        if self._params is None:
            cursor.execute(query)
        else:
            cursor.execute(query, self._params)

    def read_piece(self, piece: str) -> Iterator[pa.Table]:
        """The rows of a query, many at a time."""
        with closing(self._connect()) as connection, closing(connection.cursor()) as cursor:
            self._execute(cursor, piece)
            names = [column[0] for column in cursor.description]
            any_rows = False
            while rows := cursor.fetchmany(_ROWS):
                any_rows = True
                columns = zip(*rows, strict=True)
                yield pa.table(
                    [from_values(list(values), name) for values, name in zip(columns, names, strict=True)],
                    names=names,
                )
            if not any_rows:
                yield pa.table([pa.nulls(0) for _ in names], names=names)


class SQLDatasink(Datasink[None]):
    """Rows given to an ``INSERT`` statement.

    Parameters
    ----------
    sql
        The statement, with one placeholder per column.
    connection_factory
        Makes a connection; called wherever rows are written.
    """

    def __init__(self, sql: str, connection_factory: Callable[[], Connection]) -> None:
        self.sql, self._connect = sql, connection_factory

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Write the blocks of a task in one transaction."""
        with closing(self._connect()) as connection:
            with closing(connection.cursor()) as cursor:
                for block in blocks:
                    table = BlockAccessor.for_block(block).to_arrow()
                    if table.num_rows:
                        rows = zip(*(column_values(column) for column in table.columns), strict=True)
                        cursor.executemany(self.sql, list(rows))
            connection.commit()
