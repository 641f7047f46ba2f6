"""Snowflake, BigQuery and Databricks SQL, through their own clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasink import Datasink, TaskContext
from rayjup.data.datasource.pieces import PiecesDatasource, need


def snowflake_connection(parameters: dict[str, Any]) -> Callable[[], Any]:
    """What makes connections to Snowflake."""
    connector = need("snowflake.connector", "Snowflake", "snowflake-connector-python")
    return lambda: connector.connect(**parameters)


class SnowflakeDatasink(Datasink[None]):
    """A table of Snowflake.

    Parameters
    ----------
    table
        Its name.
    connection_parameters
        For ``snowflake.connector.connect``.
    """

    def __init__(self, table: str, connection_parameters: dict[str, Any]) -> None:
        need("snowflake.connector", "Snowflake", "snowflake-connector-python")
        self._table, self._parameters = table, connection_parameters

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Write the blocks of a task."""
        tools = need("snowflake.connector.pandas_tools", "Snowflake", "snowflake-connector-python[pandas]")
        connection = snowflake_connection(self._parameters)()
        try:
            for block in blocks:
                frame = BlockAccessor.for_block(block).to_pandas()
                if len(frame):
                    tools.write_pandas(connection, frame, self._table)
        finally:
            connection.close()


class BigQueryDatasource(PiecesDatasource):
    """A table of BigQuery, or the result of a query, read by its Storage API.

    Parameters
    ----------
    project_id
        The project that pays.
    dataset
        ``dataset.table``.
    query
        A query instead.
    """

    def __init__(self, project_id: str, dataset: str | None = None, query: str | None = None) -> None:
        need("google.cloud.bigquery", "BigQuery", "google-cloud-bigquery")
        need("google.cloud.bigquery_storage", "BigQuery", "google-cloud-bigquery-storage")
        if (dataset is None) == (query is None):
            raise ValueError("read_bigquery needs either a dataset ('dataset.table') or a query.")
        self._project, self._dataset, self._query = project_id, dataset, query

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def pieces(self, parallelism: int) -> Sequence[str]:
        """Streams of a read session."""
        from google.cloud import bigquery, bigquery_storage

        client = bigquery.Client(project=self._project)
        if self._query is not None:
            job = client.query(self._query)
            job.result()
            project, dataset, table = (
                job.destination.project,
                job.destination.dataset_id,
                job.destination.table_id,
            )
        else:
            project = self._project
            dataset, _, table = str(self._dataset).partition(".")
        session = bigquery_storage.types.ReadSession(
            table=f"projects/{project}/datasets/{dataset}/tables/{table}",
            data_format=bigquery_storage.types.DataFormat.ARROW,
        )
        created = bigquery_storage.BigQueryReadClient().create_read_session(
            parent=f"projects/{self._project}", read_session=session, max_stream_count=parallelism
        )
        return [stream.name for stream in created.streams]

    def read_piece(self, piece: str) -> Iterator[pa.Table]:
        """The rows of a stream."""
        from google.cloud import bigquery_storage

        for page in bigquery_storage.BigQueryReadClient().read_rows(piece).rows().pages:
            yield pa.Table.from_batches([page.to_arrow()])


class BigQueryDatasink(Datasink[None]):
    """A table of BigQuery.

    Parameters
    ----------
    project_id
        The project.
    dataset
        ``dataset.table``.
    max_retry_cnt
        How often a load is tried again.
    overwrite_table
        Whether to replace the table.
    """

    def __init__(
        self, project_id: str, dataset: str, max_retry_cnt: int = 10, overwrite_table: bool | None = True
    ) -> None:
        need("google.cloud.bigquery", "BigQuery", "google-cloud-bigquery")
        self._project, self._dataset = project_id, dataset
        self._retries, self._overwrite = max_retry_cnt, overwrite_table

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Make the dataset, and empty the table where it is to be replaced."""
        from google.cloud import bigquery

        client = bigquery.Client(project=self._project)
        client.create_dataset(f"{self._project}.{self._dataset.partition('.')[0]}", exists_ok=True)
        if self._overwrite:
            client.delete_table(f"{self._project}.{self._dataset}", not_found_ok=True)

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Load the blocks of a task as Parquet."""
        import io

        from google.api_core import exceptions
        from google.cloud import bigquery
        from pyarrow import parquet

        client = bigquery.Client(project=self._project)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        )
        for block in blocks:
            table = BlockAccessor.for_block(block).to_arrow()
            if not table.num_rows:
                continue
            buffer = io.BytesIO()
            parquet.write_table(table, buffer)
            for attempt in range(self._retries + 1):
                buffer.seek(0)
                try:
                    target = f"{self._project}.{self._dataset}"
                    client.load_table_from_file(buffer, target, job_config=config).result()
                    break
                except (exceptions.Forbidden, exceptions.TooManyRequests):
                    if attempt == self._retries:
                        raise
                    time.sleep(min(60, 2**attempt))  # the service asks to come back later


class DatabricksDatasource(PiecesDatasource):
    """The result of a query in a SQL warehouse of Databricks, chunk by chunk.

    Parameters
    ----------
    host, token
        The workspace, and a token for it.
    warehouse_id
        The warehouse.
    query
        What to run there.
    catalog, schema
        Where names in the query are looked up.
    """

    def __init__(
        self, host: str, token: str, warehouse_id: str, query: str, catalog: str | None, schema: str | None
    ) -> None:
        self._host = host.removeprefix("https://").rstrip("/")
        self._token = token
        body = {
            "statement": query,
            "warehouse_id": warehouse_id,
            "wait_timeout": "0s",
            "disposition": "EXTERNAL_LINKS",
            "format": "ARROW_STREAM",
            **({"catalog": catalog} if catalog else {}),
            **({"schema": schema} if schema else {}),
        }
        state = self._call("POST", "", body)
        self._statement = state["statement_id"]
        while state["status"]["state"] in ("PENDING", "RUNNING"):
            time.sleep(1)  # the service has no other way to tell when it is done
            state = self._call("GET", f"/{self._statement}")
        if state["status"]["state"] != "SUCCEEDED":
            detail = state["status"].get("error", {}).get("message", state["status"]["state"])
            raise RuntimeError(f"The query failed in warehouse {warehouse_id}: {detail}")
        self._chunks = state["manifest"].get("chunks", [])

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        import json
        import urllib.request

        request = urllib.request.Request(
            f"https://{self._host}/api/2.0/sql/statements{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def pieces(self, parallelism: int) -> Sequence[Any]:
        """The chunks of the result."""
        return self._chunks

    def piece_rows(self, piece: Any) -> int | None:
        """As the result says."""
        return piece["row_count"]

    def piece_bytes(self, piece: Any) -> int | None:
        """As the result says."""
        return piece["byte_count"]

    def read_piece(self, piece: Any) -> Iterator[pa.Table]:
        """The rows of a chunk, behind a link of its own."""
        import urllib.request

        found = self._call("GET", f"/{self._statement}/result/chunks/{piece['chunk_index']}")
        link = found["external_links"][0]["external_link"]
        with urllib.request.urlopen(link, timeout=600) as answer:
            yield pa.ipc.open_stream(answer.read()).read_all()
