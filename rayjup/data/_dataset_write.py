"""Writing: files of every format but Parquet, and databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.data.datasource.savemode import SaveMode

if TYPE_CHECKING:
    import pyarrow as pa

    from rayjup.data.catalog import Catalog
    from rayjup.data.datasource.clickhouse import ClickHouseTableSettings, SinkMode
    from rayjup.data.datasource.datasink import Datasink
    from rayjup.data.datasource.filename import FilenameProvider
    from rayjup.data.expressions import Expr


def _rows(min_rows_per_file: int | None, num_rows_per_file: int | None) -> int | None:
    return min_rows_per_file if min_rows_per_file is not None else num_rows_per_file


class WriteMixin:
    """Writing: files of every format but Parquet, and databases."""

    if TYPE_CHECKING:

        def write_datasink(
            self,
            datasink: Datasink[Any],
            *,
            ray_remote_args: dict[str, Any] | None = None,
            concurrency: int | None = None,
        ) -> None:
            """Defined by the mix-in that runs plans."""

    def _write(self, sink: Datasink[Any], ray_remote_args: Any, concurrency: int | None) -> None:
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_csv(
        self,
        path: str,
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        arrow_csv_args_fn: Callable[[], dict[str, Any]] | None = None,
        min_rows_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        num_rows_per_file: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
        **arrow_csv_args: Any,
    ) -> None:
        """Write CSV files, one per block, into a directory.

        Parameters
        ----------
        path
            The directory, or a URI.
        filesystem
            A filesystem of pyarrow or fsspec; by default the path decides.
        try_create_dir
            Whether to make the directory.
        arrow_open_stream_args
            For ``FileSystem.open_output_stream``, such as ``{"compression": "gzip"}``.
        filename_provider
            Names the files.
        arrow_csv_args_fn, **arrow_csv_args
            Arguments for ``pyarrow.csv.write_csv``; the function is called where a file is written.
        min_rows_per_file
            How many rows a file has at least (``num_rows_per_file`` is the older name).
        ray_remote_args, concurrency
            For the tasks that write.
        mode
            What to do where files exist: ``append``, ``overwrite``, ``ignore`` or ``error``.
        """
        from rayjup.data.datasource.csv import CSVDatasink

        sink = CSVDatasink(
            path,
            arrow_csv_args_fn=arrow_csv_args_fn,
            arrow_csv_args=arrow_csv_args,
            min_rows_per_file=_rows(min_rows_per_file, num_rows_per_file),
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_json(
        self,
        path: str,
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        pandas_json_args_fn: Callable[[], dict[str, Any]] | None = None,
        min_rows_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        num_rows_per_file: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
        **pandas_json_args: Any,
    ) -> None:
        """Write JSON files with an object per line, one per block, into a directory.

        Parameters
        ----------
        path, filesystem, try_create_dir, arrow_open_stream_args, filename_provider
            As for ``write_csv``.
        pandas_json_args_fn, **pandas_json_args
            Arguments for ``DataFrame.to_json``, which then writes.
        min_rows_per_file, num_rows_per_file, ray_remote_args, concurrency, mode
            As for ``write_csv``.
        """
        from rayjup.data.datasource.json import JSONDatasink

        sink = JSONDatasink(
            path,
            pandas_json_args_fn=pandas_json_args_fn,
            pandas_json_args=pandas_json_args,
            min_rows_per_file=_rows(min_rows_per_file, num_rows_per_file),
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_orc(
        self,
        path: str,
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        arrow_orc_args_fn: Callable[[], dict[str, Any]] | None = None,
        min_rows_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
        **arrow_orc_args: Any,
    ) -> None:
        """Write ORC files, one per block, into a directory.

        Parameters
        ----------
        path, filesystem, try_create_dir, arrow_open_stream_args, filename_provider
            As for ``write_csv``.
        arrow_orc_args_fn, **arrow_orc_args
            Arguments for ``pyarrow.orc.write_table``.
        min_rows_per_file, ray_remote_args, concurrency, mode
            As for ``write_csv``.
        """
        from rayjup.data.datasource.orc import ORCDatasink

        sink = ORCDatasink(
            path,
            arrow_orc_args_fn=arrow_orc_args_fn,
            arrow_orc_args=arrow_orc_args,
            min_rows_per_file=min_rows_per_file,
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_tfrecords(
        self,
        path: str,
        *,
        tf_schema: Any = None,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        min_rows_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        num_rows_per_file: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
    ) -> None:
        """Write TFRecord files with a ``tf.train.Example`` per row. TensorFlow is not needed.

        Parameters
        ----------
        tf_schema
            A ``Schema`` message of TensorFlow Metadata: types of columns without values.
        path, filesystem, try_create_dir, arrow_open_stream_args, filename_provider
            As for ``write_csv``.
        min_rows_per_file, num_rows_per_file, ray_remote_args, concurrency, mode
            As for ``write_csv``.
        """
        from rayjup.data.datasource.tfrecords import TFRecordDatasink

        sink = TFRecordDatasink(
            path,
            tf_schema,
            min_rows_per_file=_rows(min_rows_per_file, num_rows_per_file),
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_webdataset(
        self,
        path: str,
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        min_rows_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        encoder: bool | str | Callable[..., Any] | list[Any] | None = True,
        concurrency: int | None = None,
        num_rows_per_file: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
    ) -> None:
        """Write tar archives with a sample per row; a column's name is the extension, ``__key__`` the name.

        Parameters
        ----------
        encoder
            ``True`` encodes by extension, a function is given the sample, a list is applied in order;
            ``None`` takes bytes and text as they are.
        path, filesystem, try_create_dir, arrow_open_stream_args, filename_provider
            As for ``write_csv``.
        min_rows_per_file, num_rows_per_file, ray_remote_args, concurrency, mode
            As for ``write_csv``.
        """
        from rayjup.data.datasource.webdataset import WebDatasetDatasink

        sink = WebDatasetDatasink(
            path,
            encoder,
            min_rows_per_file=_rows(min_rows_per_file, num_rows_per_file),
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_numpy(
        self,
        path: str,
        *,
        column: str,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        min_rows_per_file: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        num_rows_per_file: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
    ) -> None:
        """Write one column as ``.npy`` files, one per block, into a directory.

        Parameters
        ----------
        column
            The column.
        path, filesystem, try_create_dir, arrow_open_stream_args, filename_provider
            As for ``write_csv``.
        min_rows_per_file, num_rows_per_file, ray_remote_args, concurrency, mode
            As for ``write_csv``.
        """
        from rayjup.data.datasource.plain_files import NumpyDatasink

        sink = NumpyDatasink(
            path,
            column,
            min_rows_per_file=_rows(min_rows_per_file, num_rows_per_file),
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_images(
        self,
        path: str,
        column: str,
        file_format: str = "png",
        *,
        filesystem: Any = None,
        try_create_dir: bool = True,
        arrow_open_stream_args: dict[str, Any] | None = None,
        filename_provider: FilenameProvider | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
        mode: SaveMode = SaveMode.APPEND,
    ) -> None:
        """Write one column as image files, one per row, into a directory.

        Parameters
        ----------
        column
            The column with the arrays.
        file_format
            A format of Pillow.
        path, filesystem, try_create_dir, arrow_open_stream_args, filename_provider
            As for ``write_csv``.
        ray_remote_args, concurrency, mode
            As for ``write_csv``.
        """
        from rayjup.data.datasource.image import ImageDatasink

        sink = ImageDatasink(
            path,
            column,
            file_format,
            filesystem=filesystem,
            try_create_dir=try_create_dir,
            open_stream_args=arrow_open_stream_args,
            filename_provider=filename_provider,
            mode=mode,
        )
        self._write(sink, ray_remote_args, concurrency)

    # Databases and table formats.

    def write_sql(
        self,
        sql: str,
        connection_factory: Callable[[], Any],
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Give all rows to an ``INSERT`` statement of a database with a DB API 2 connector.

        Parameters
        ----------
        sql
            The statement, with one placeholder per column, in the order of the columns.
        connection_factory
            Makes a connection; called wherever rows are written.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.datasource.sql import SQLDatasink

        self._write(SQLDatasink(sql, connection_factory), ray_remote_args, concurrency)

    def write_snowflake(
        self,
        table: str,
        connection_parameters: Any,
        *,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to a table of Snowflake; ``connection_parameters`` are those of its connector."""
        from rayjup.data.datasource.warehouses import SnowflakeDatasink

        self._write(SnowflakeDatasink(table, connection_parameters), ray_remote_args, concurrency)

    def write_bigquery(
        self,
        project_id: str,
        dataset: str,
        max_retry_cnt: int = 10,
        overwrite_table: bool | None = True,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to a table (``dataset.table``) of BigQuery."""
        from rayjup.data.datasource.warehouses import BigQueryDatasink

        sink = BigQueryDatasink(project_id, dataset, max_retry_cnt, overwrite_table)
        self._write(sink, ray_remote_args, concurrency)

    def write_clickhouse(
        self,
        table: str,
        dsn: str,
        *,
        mode: SinkMode | None = None,
        schema: pa.Schema | None = None,
        client_settings: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
        table_settings: ClickHouseTableSettings | None = None,
        max_insert_block_rows: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to a table of ClickHouse.

        Parameters
        ----------
        table, dsn
            The table, and where the server is.
        mode
            ``SinkMode.CREATE`` (the default), ``APPEND`` or ``OVERWRITE``.
        schema
            The columns of a table to make; by default those of the data.
        client_settings, client_kwargs
            For ``clickhouse_connect.get_client``.
        table_settings
            How a table is made.
        max_insert_block_rows
            The most rows per insert.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.datasource.clickhouse import ClickHouseDatasink, SinkMode

        sink = ClickHouseDatasink(
            table,
            dsn,
            SinkMode.CREATE if mode is None else mode,
            schema,
            client_settings,
            client_kwargs,
            table_settings,
            max_insert_block_rows,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_mongo(
        self,
        uri: str,
        database: str,
        collection: str,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Insert the rows into a collection of MongoDB."""
        from rayjup.data.datasource.mongo import MongoDatasink

        self._write(MongoDatasink(uri, database, collection), ray_remote_args, concurrency)

    def write_kafka(
        self,
        topic: str,
        bootstrap_servers: str,
        key_field: str | None = None,
        key_serializer: str = "string",
        value_serializer: str = "json",
        producer_config: dict[str, Any] | None = None,
        *,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Send each row as a message to a topic of Kafka.

        Parameters
        ----------
        topic, bootstrap_servers
            Where to.
        key_field
            The column whose value is the key.
        key_serializer, value_serializer
            ``json``, ``string`` or ``bytes``.
        producer_config
            For Kafka's producer.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.datasource.kafka import KafkaDatasink

        sink = KafkaDatasink(
            topic, bootstrap_servers, key_field, key_serializer, value_serializer, producer_config
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_turbopuffer(
        self,
        *,
        namespace: str | None = None,
        namespace_column: str | None = None,
        region: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        schema: dict[str, Any] | None = None,
        id_column: str = "id",
        vector_column: str = "vector",
        batch_size: int = 10000,
        distance_metric: str = "cosine_distance",
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write vectors with their attributes to turbopuffer.

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
            ``cosine_distance`` or ``euclidean_squared``.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.datasource.turbopuffer import TurbopufferDatasink

        sink = TurbopufferDatasink(
            namespace,
            namespace_column=namespace_column,
            region=region,
            base_url=base_url,
            api_key=api_key,
            schema=schema,
            id_column=id_column,
            vector_column=vector_column,
            batch_size=batch_size,
            distance_metric=distance_metric,
            concurrency=concurrency,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_lance(
        self,
        path: str,
        *,
        schema: pa.Schema | None = None,
        mode: SaveMode = SaveMode.CREATE,
        min_rows_per_file: int = 1024 * 1024,
        max_rows_per_file: int = 64 * 1024 * 1024,
        data_storage_version: str | None = None,
        storage_options: dict[str, Any] | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write a Lance dataset.

        Parameters
        ----------
        path
            Where to.
        schema
            The schema; by default the data's.
        mode
            ``create``, ``append`` or ``overwrite``.
        min_rows_per_file, max_rows_per_file
            The sizes of the files.
        data_storage_version
            The version of the file format.
        storage_options
            For the storage.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.datasource.lance import LanceDatasink

        sink = LanceDatasink(
            path,
            schema,
            mode,
            min_rows_per_file,
            max_rows_per_file,
            data_storage_version,
            storage_options,
        )
        self._write(sink, ray_remote_args, concurrency)

    def write_delta(
        self,
        path: str,
        *,
        catalog: Catalog | None = None,
        mode: SaveMode = SaveMode.APPEND,
        partition_by: list[str] | None = None,
        storage_options: dict[str, str] | None = None,
        schema_mode: str = "merge",
        filesystem: Any = None,
        name: str | None = None,
        description: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write a Delta Lake table; all of it becomes visible at once.

        Parameters
        ----------
        path
            The table, or its name in the catalog.
        catalog
            Knows where tables are.
        mode
            ``append``, ``overwrite``, ``error`` or ``ignore``.
        partition_by
            Columns whose values become directories.
        storage_options
            For the storage.
        schema_mode
            ``merge`` adds new columns to the table, ``overwrite`` replaces its schema.
        filesystem
            Must be left out: Delta Lake opens its storage itself.
        name, description
            Of the table.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.catalog import CatalogAccessMode, ReaderFormat, resolve_source
        from rayjup.data.datasource.delta import DeltaDatasink

        if filesystem is not None:
            raise ValueError("Delta Lake opens its storage itself; give storage_options, not a filesystem.")
        if catalog is not None:
            found = resolve_source(catalog, path, reader=ReaderFormat.DELTA, mode=CatalogAccessMode.WRITE)
            path, storage_options = str(found.path), storage_options or found.storage_options
        sink = DeltaDatasink(path, mode, partition_by, storage_options, schema_mode, name, description)
        self._write(sink, ray_remote_args, concurrency)

    def write_iceberg(
        self,
        table_identifier: str,
        catalog_kwargs: dict[str, Any] | None = None,
        catalog: Catalog | None = None,
        snapshot_properties: dict[str, str] | None = None,
        mode: SaveMode = SaveMode.APPEND,
        overwrite_filter: Expr | None = None,
        upsert_kwargs: dict[str, Any] | None = None,
        overwrite_kwargs: dict[str, Any] | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to an Iceberg table; all of it becomes visible at once.

        Parameters
        ----------
        table_identifier
            ``namespace.table``.
        catalog_kwargs
            Arguments of ``pyiceberg.catalog.load_catalog``.
        catalog
            Knows such arguments.
        snapshot_properties
            Kept with the snapshot.
        mode
            ``append``, ``overwrite`` or ``upsert``.
        overwrite_filter
            An expression: the rows that are replaced; all by default.
        upsert_kwargs, overwrite_kwargs
            Arguments of pyiceberg's ``Table.upsert`` and ``Transaction.delete``.
        ray_remote_args, concurrency
            For the tasks that write.
        """
        from rayjup.data.catalog import CatalogAccessMode, ReaderFormat, resolve_source
        from rayjup.data.datasource.iceberg import IcebergDatasink

        if catalog is not None:
            found = resolve_source(
                catalog, table_identifier, reader=ReaderFormat.ICEBERG, mode=CatalogAccessMode.WRITE
            )
            catalog_kwargs = found.catalog_kwargs
            table_identifier = found.table_identifier or table_identifier
        sink = IcebergDatasink(
            table_identifier,
            catalog_kwargs,
            snapshot_properties,
            mode,
            overwrite_filter,
            upsert_kwargs,
            overwrite_kwargs,
        )
        self._write(sink, ray_remote_args, concurrency)
