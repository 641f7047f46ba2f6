"""Functions that read databases, warehouses and table formats, through their own clients."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from rayjup.data.read_options import read, split_options

if TYPE_CHECKING:
    from rayjup.data.catalog import Catalog
    from rayjup.data.dataset import Dataset
    from rayjup.data.datasource.kafka import KafkaAuthConfig


def read_sql(
    sql: str,
    connection_factory: Callable[[], Any],
    *,
    sql_params: Any = None,
    shard_keys: list[str] | None = None,
    shard_hash_fn: str = "MD5",
    **options: Any,
) -> Dataset:
    """The rows of a query, from any database with a DB API 2 connector.

    Parameters
    ----------
    sql
        The query.
    connection_factory
        Makes a connection; called wherever a part is read.
    sql_params
        Values for the placeholders of the query.
    shard_keys
        Columns by whose hash the rows are divided among tasks.
    shard_hash_fn
        The database's function that makes a hash of text.
    **options
        Of read tasks.

    Examples
    --------
    >>> import sqlite3, rayjup
    >>> rayjup.data.read_sql("SELECT 1 AS one", lambda: sqlite3.connect(":memory:")).take_all()
    [{'one': 1}]
    """
    from rayjup.data.datasource.sql import SQLDatasource

    source = SQLDatasource(sql, connection_factory, shard_keys, shard_hash_fn, sql_params)
    return read(source, options, "read_sql")


def read_snowflake(
    sql: str,
    connection_parameters: dict[str, Any],
    *,
    shard_keys: list[str] | None = None,
    **options: Any,
) -> Dataset:
    """The rows of a query in Snowflake; ``connection_parameters`` are those of its connector."""
    from rayjup.data.datasource.sql import SQLDatasource
    from rayjup.data.datasource.warehouses import snowflake_connection

    connect = snowflake_connection(connection_parameters)
    return read(SQLDatasource(sql, connect, shard_keys, "HASH"), options, "read_snowflake")


def read_bigquery(
    project_id: str, dataset: str | None = None, query: str | None = None, **options: Any
) -> Dataset:
    """A table (``dataset.table``) of BigQuery, or the result of a query."""
    from rayjup.data.datasource.warehouses import BigQueryDatasource

    return read(BigQueryDatasource(project_id, dataset, query), options, "read_bigquery")


def read_databricks_tables(
    *,
    warehouse_id: str,
    table: str | None = None,
    query: str | None = None,
    catalog: str | None = None,
    schema: str | None = None,
    credential_provider: Any = None,
    **options: Any,
) -> Dataset:
    """A table of Databricks, or the result of a query in one of its SQL warehouses.

    Parameters
    ----------
    warehouse_id
        The warehouse.
    table, query
        One of both.
    catalog, schema
        Where names are looked up.
    credential_provider
        An object with ``get_host()`` and ``get_token()``; by default ``DATABRICKS_HOST`` and
        ``DATABRICKS_TOKEN`` in the environment.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.warehouses import DatabricksDatasource

    if (table is None) == (query is None):
        raise ValueError("read_databricks_tables needs either a table or a query.")
    if credential_provider is not None:
        host, token = credential_provider.get_host(), credential_provider.get_token()
    else:
        host, token = os.environ.get("DATABRICKS_HOST"), os.environ.get("DATABRICKS_TOKEN")
    if not host or not token:
        raise ValueError(
            "read_databricks_tables needs DATABRICKS_HOST and DATABRICKS_TOKEN in the environment, or a "
            "credential_provider."
        )
    statement = query if query is not None else f"SELECT * FROM {table}"
    source = DatabricksDatasource(host, token, warehouse_id, statement, catalog, schema)
    return read(source, options, "read_databricks_tables")


def read_unity_catalog(
    table: str,
    url: str | None = None,
    token: str | None = None,
    *,
    credential_provider: Any = None,
    data_format: str | None = None,
    region: str | None = None,
    reader_kwargs: dict[str, Any] | None = None,
) -> Dataset:
    """A table of Databricks' Unity Catalog, read where it lies.

    Parameters
    ----------
    table
        ``catalog.schema.table``.
    url, token, credential_provider, region
        As for ``DatabricksUnityCatalog``.
    data_format
        ``delta`` or ``parquet``; by default the catalog says.
    reader_kwargs
        Arguments of ``read_delta`` or ``read_parquet``.
    """
    from rayjup.data.catalog import DatabricksUnityCatalog, ReaderFormat

    catalog = DatabricksUnityCatalog(
        url=url, token=token, credential_provider=credential_provider, region=region
    )
    kind = ReaderFormat(data_format) if data_format is not None else catalog.infer_format(table)
    if kind is ReaderFormat.DELTA:
        return read_delta(table, catalog=catalog, **(reader_kwargs or {}))
    if kind is ReaderFormat.PARQUET:
        from rayjup.data._read_parquet import read_parquet

        found = catalog.resolve(table, reader=kind)
        return read_parquet(str(found.path), filesystem=found.filesystem, **(reader_kwargs or {}))
    raise ValueError(f"The table {table!r} is of a format that cannot be read here; give data_format.")


def read_mongo(
    uri: str,
    database: str,
    collection: str,
    *,
    pipeline: list[dict[str, Any]] | None = None,
    schema: Any = None,
    **mongo_args: Any,
) -> Dataset:
    """The documents of a collection of MongoDB.

    Parameters
    ----------
    uri, database, collection
        Which.
    pipeline
        Stages of an aggregation to apply.
    schema
        A schema of pymongoarrow.
    **mongo_args
        For pymongoarrow, and options of read tasks.
    """
    from rayjup.data.datasource.mongo import MongoDatasource

    options, arguments = split_options(mongo_args)
    source = MongoDatasource(uri, database, collection, pipeline, schema, **arguments)
    return read(source, options, "read_mongo")


def read_clickhouse(
    *,
    table: str,
    dsn: str,
    columns: list[str] | None = None,
    filter: str | None = None,
    order_by: tuple[list[str], bool] | None = None,
    client_settings: dict[str, Any] | None = None,
    client_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """The rows of a table of ClickHouse.

    Parameters
    ----------
    table, dsn
        The table, and where the server is.
    columns, filter
        The columns, and a condition in SQL.
    order_by
        Columns, and whether downwards; makes several parts possible.
    client_settings, client_kwargs
        For ``clickhouse_connect.get_client``.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.clickhouse import ClickHouseDatasource

    source = ClickHouseDatasource(table, dsn, columns, filter, order_by, client_settings, client_kwargs)
    return read(source, options, "read_clickhouse")


def read_kafka(
    topics: str | list[str],
    *,
    bootstrap_servers: str | list[str],
    trigger: Literal["once"] = "once",
    start_offset: Any = "earliest",
    end_offset: Any = "latest",
    kafka_auth_config: KafkaAuthConfig | None = None,
    consumer_config: dict[str, Any] | None = None,
    timeout_ms: int | None = None,
    **options: Any,
) -> Dataset:
    """The messages of topics of Kafka between two offsets.

    Parameters
    ----------
    topics, bootstrap_servers
        Which, and where.
    trigger
        Only ``"once"``: what is there now.
    start_offset, end_offset
        An offset, a moment, ``"earliest"`` or ``"latest"``; or a dict by topic and partition.
    kafka_auth_config, consumer_config
        How to log in, and further settings of ``kafka-python``.
    timeout_ms
        How long a request may take.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.kafka import KafkaDatasource

    if trigger != "once":
        raise ValueError(f"trigger={trigger!r}: only 'once' can be read as a dataset.")
    settings = dict(consumer_config or {})
    if timeout_ms is not None:
        settings["request_timeout_ms"] = timeout_ms
    source = KafkaDatasource(topics, bootstrap_servers, start_offset, end_offset, kafka_auth_config, settings)
    return read(source, options, "read_kafka")


def read_lance(
    uri: str | list[str],
    *,
    version: int | str | None = None,
    columns: list[str] | None = None,
    filter: str | None = None,
    storage_options: dict[str, str] | None = None,
    scanner_options: dict[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """The rows of a Lance dataset.

    Parameters
    ----------
    uri
        Where it is; several are read one after another.
    version
        A version or a tag; the latest by default.
    columns, filter
        The columns to read, and a condition in SQL.
    storage_options, scanner_options
        For the storage, and for Lance's scanner.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.lance import LanceDatasource

    source = LanceDatasource(uri, version, columns, filter, storage_options, scanner_options)
    return read(source, options, "read_lance")


def read_delta(
    path: str | list[str],
    version: int | None = None,
    *,
    storage_options: dict[str, Any] | None = None,
    filesystem: Any = None,
    catalog: Catalog | None = None,
    columns: list[str] | None = None,
    shuffle: Literal["files"] | None = None,
    include_paths: bool = False,
    **options: Any,
) -> Dataset:
    """The rows of a version of a Delta Lake table.

    Parameters
    ----------
    path
        The table, or its name in the catalog; several are read one after another.
    version
        The version; the latest by default.
    storage_options
        For the storage.
    filesystem
        Must be left out: Delta Lake opens its storage itself.
    catalog
        Knows where tables are.
    columns
        The columns to read.
    shuffle
        ``"files"``: the blocks in random order.
    include_paths
        Whether to add a column ``path``.
    **options
        Of read tasks.
    """
    from rayjup.data.catalog import ReaderFormat, resolve_source
    from rayjup.data.datasource.delta import DeltaDatasource

    if filesystem is not None:
        raise ValueError("Delta Lake opens its storage itself; give storage_options, not a filesystem.")
    if catalog is not None:
        if not isinstance(path, str):
            raise ValueError("With a catalog, path is the name of one table.")
        found = resolve_source(catalog, path, reader=ReaderFormat.DELTA)
        path, storage_options = str(found.path), storage_options or found.storage_options
    dataset = read(
        DeltaDatasource(path, version, storage_options, columns, include_paths), options, "read_delta"
    )
    return dataset.randomize_block_order() if shuffle == "files" else dataset


def read_delta_sharing_tables(
    url: str,
    *,
    limit: int | None = None,
    version: int | None = None,
    timestamp: str | None = None,
    json_predicate_hints: str | None = None,
    **options: Any,
) -> Dataset:
    """The rows of a table of Delta Sharing.

    Parameters
    ----------
    url
        ``<profile file>#<share>.<schema>.<table>``.
    limit
        How many rows at most.
    version, timestamp
        The version of the table.
    json_predicate_hints
        Conditions by which the server leaves out files.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.delta_sharing import DeltaSharingDatasource

    source = DeltaSharingDatasource(url, json_predicate_hints, limit, version, timestamp)
    dataset = read(source, options, "read_delta_sharing_tables")
    return dataset if limit is None else dataset.limit(limit)


def read_iceberg(
    *,
    table_identifier: str,
    row_filter: Any = None,
    selected_fields: tuple[str, ...] = ("*",),
    snapshot_id: int | None = None,
    scan_kwargs: dict[str, Any] | None = None,
    catalog_kwargs: dict[str, Any] | None = None,
    catalog: Catalog | None = None,
    **options: Any,
) -> Dataset:
    """The rows of a snapshot of an Iceberg table.

    Parameters
    ----------
    table_identifier
        ``namespace.table``.
    row_filter
        A condition of pyiceberg, or one as text.
    selected_fields
        The columns to read.
    snapshot_id
        The snapshot; the latest by default.
    scan_kwargs, catalog_kwargs
        Arguments of pyiceberg's ``Table.scan`` and ``load_catalog``.
    catalog
        Knows such arguments.
    **options
        Of read tasks.
    """
    from rayjup.data.catalog import ReaderFormat, resolve_source
    from rayjup.data.datasource.iceberg import IcebergDatasource

    if catalog is not None:
        found = resolve_source(catalog, table_identifier, reader=ReaderFormat.ICEBERG)
        catalog_kwargs = found.catalog_kwargs
        table_identifier = found.table_identifier or table_identifier
    source = IcebergDatasource(
        table_identifier, row_filter, selected_fields, snapshot_id, scan_kwargs, catalog_kwargs
    )
    return read(source, options, "read_iceberg")


def read_hudi(
    table_uri: str,
    *,
    query_type: str = "snapshot",
    filters: list[tuple[str, str, str]] | None = None,
    hudi_options: dict[str, str] | None = None,
    storage_options: dict[str, str] | None = None,
    **options: Any,
) -> Dataset:
    """The rows of a Hudi table.

    Parameters
    ----------
    table_uri
        Where the table is.
    query_type
        ``snapshot`` or ``incremental``.
    filters
        Triples of column, operator and value, for snapshots; by partitions.
    hudi_options, storage_options
        For the reader, and for the storage.
    **options
        Of read tasks.
    """
    from rayjup.data.datasource.hudi import HudiDatasource

    source = HudiDatasource(table_uri, query_type, filters, hudi_options, storage_options)
    return read(source, options, "read_hudi")
