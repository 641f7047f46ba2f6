"""Vectors written to turbopuffer, through its own client."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.pieces import need


class TurbopufferDatasink(Datasink[None]):
    """Namespaces of turbopuffer.

    Parameters
    ----------
    namespace, namespace_column
        The namespace, or the column that says it row by row.
    region, base_url, api_key
        Where the service is; the key is taken from ``TURBOPUFFER_API_KEY`` by default.
    schema
        Of the namespace.
    id_column, vector_column
        The columns with ids and vectors.
    batch_size
        Rows per request.
    distance_metric
        ``cosine_distance`` or ``euclidean_distance``.
    concurrency
        How many tasks write.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        namespace_column: str | None = None,
        region: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        schema: dict[str, Any] | None = None,
        id_column: str = "id",
        vector_column: str = "vector",
        batch_size: int = 10000,
        distance_metric: str = "cosine_distance",
        concurrency: int | None = None,
    ) -> None:
        if (namespace is None) == (namespace_column is None):
            raise ValueError("write_turbopuffer needs either a namespace or a namespace_column.")
        if (region is None) == (base_url is None):
            raise ValueError("write_turbopuffer needs either a region or a base_url.")
        key = api_key or os.environ.get("TURBOPUFFER_API_KEY")
        if not key:
            raise ValueError("write_turbopuffer needs an api_key, or TURBOPUFFER_API_KEY in the environment.")
        need("turbopuffer", "turbopuffer")
        self._namespace, self._namespace_column = namespace, namespace_column
        where = {"region": region, "base_url": base_url}
        self._client_args = {"api_key": key, **{k: v for k, v in where.items() if v is not None}}
        self._schema, self._id, self._vector = schema, id_column, vector_column
        self._batch_size, self._metric = batch_size, distance_metric

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Write the blocks of a task."""
        client = need("turbopuffer", "turbopuffer").Turbopuffer(**self._client_args)
        for block in blocks:
            table = self.prepared(BlockAccessor.for_block(block).to_arrow())
            for namespace, part in self.parts(table):
                for start in range(0, part.num_rows, self._batch_size):
                    rows = [_plain(row) for row in part.slice(start, self._batch_size).to_pylist()]
                    options = {} if self._schema is None else {"schema": self._schema}
                    client.namespace(namespace).write(
                        upsert_rows=rows, distance_metric=self._metric, **options
                    )

    def prepared(self, table: pa.Table) -> pa.Table:
        """The table with the names that the service expects."""
        for column in (self._id, self._vector):
            if column not in table.column_names:
                raise ValueError(f"There is no column {column!r}; the columns are {table.column_names}.")
        if table.column(self._id).null_count:
            raise ValueError(f"Column {self._id!r} has missing values; each row needs an id.")
        renamed = {self._id: "id", self._vector: "vector"}
        return table.rename_columns([renamed.get(name, name) for name in table.column_names])

    def parts(self, table: pa.Table) -> Iterable[tuple[str, pa.Table]]:
        """The rows of each namespace."""
        if self._namespace is not None:
            return [(self._namespace, table)]
        column = table.column(str(self._namespace_column))
        rest = table.drop_columns([str(self._namespace_column)])
        return [(str(name), rest.filter(pc.equal(column, name))) for name in column.unique()]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row in the types that the service knows."""
    out = {}
    for name, value in row.items():
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, bytes) and len(value) == 16:
            value = str(uuid.UUID(bytes=value))
        out[name] = value
    return out
