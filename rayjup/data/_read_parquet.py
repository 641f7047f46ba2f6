"""Datasets of Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayjup.data._read_datasource import read_datasource

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset


def read_parquet(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    catalog: Any = None,
    columns: list[str] | None = None,
    parallelism: int = -1,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: float | None = None,
    tensor_column_schema: dict[str, tuple[Any, tuple[int, ...]]] | None = None,
    partition_filter: Any = None,
    partitioning: Any = "hive",
    shuffle: Any = None,
    include_paths: bool = False,
    include_row_hash: bool = False,
    file_extensions: Sequence[str] | None = ("parquet",),
    ignore_missing_paths: bool = False,
    skip_paths: Sequence[str] | None = None,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
    ray_remote_args: dict[str, Any] | None = None,
    label_selector: dict[str, str] | None = None,
    fallback_strategy: list[dict[str, Any]] | None = None,
    max_calls: int | None = None,
    resources: dict[str, float] | None = None,
    accelerator_type: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    **arrow_parquet_args: Any,
) -> Dataset:
    """Rows of Parquet files.

    Columns that are not used later, and rows that a filter with an expression drops, are not read.

    Parameters
    ----------
    paths : str or list of str
        Files, directories, or URIs of them.
    columns : list of str, optional
        Read only these.
    tensor_column_schema : dict, optional
        ``{column: (dtype, shape)}`` of columns that hold the bytes of arrays.
    partition_filter : PathPartitionFilter, optional
        Which files to read, by the values in their paths.
    partitioning : Partitioning or None
        How values lie in paths: ``column=value`` by default; None: not at all.
    include_paths : bool
        Add a column ``path``.
    shuffle : "files" or FileShuffleConfig, optional
        Read the files in random order.
    concurrency, override_num_blocks
        So many tasks at a time; so many blocks.
    **arrow_parquet_args
        ``schema``, ``filter`` (an expression of pyarrow), ``batch_size``, ``use_threads``.

    Examples
    --------
    >>> import tempfile, rayjup
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rayjup.data.range(4).with_column("x", rayjup.data.expressions.col("id") * 2).write_parquet(folder)
    ...     rayjup.data.read_parquet(folder, columns=["x"]).take(2)
    [{'x': 0}, {'x': 2}]
    """
    from rayjup.data.datasource.parquet import ParquetDatasource
    from rayjup.data.datasource.parquet_files import list_files

    if catalog is not None:
        from rayjup.data.catalog import ReaderFormat

        found = catalog.resolve(paths, reader=ReaderFormat.PARQUET)
        paths = found.path
    given = [str(p) for p in paths] if isinstance(paths, (list, tuple)) else [str(paths)]
    if not given:
        raise ValueError("read_parquet: give at least one path.")
    filesystem, files = list_files(given, filesystem, file_extensions, ignore_missing_paths)
    if skip_paths:
        skipped = set(skip_paths)
        files = [f for f in files if f not in skipped]
    if partition_filter is not None:
        files = [f for f in files if partition_filter.apply(f)]
    if shuffle is not None:
        import numpy as np

        seed = None if shuffle == "files" else shuffle.get_seed()
        files = [files[i] for i in np.random.default_rng(seed).permutation(len(files))]
    arrow_parquet_args.update(arrow_parquet_args.pop("arrow_parquet_args", None) or {})
    dataset_kwargs = arrow_parquet_args.pop("dataset_kwargs", None) or {}
    if partitioning is not None and hasattr(partitioning, "to_pyarrow"):
        partitioning = _for_pyarrow(partitioning)
    source = ParquetDatasource(
        given,
        filesystem=filesystem,
        files=files,
        columns=columns,
        partitioning=dataset_kwargs.get("partitioning", partitioning),
        include_paths=include_paths,
        schema=arrow_parquet_args.pop("schema", None),
        filter=arrow_parquet_args.pop("filter", None),
        batch_size=arrow_parquet_args.pop("batch_size", None),
        tensor_columns=tensor_column_schema,
        read_options=arrow_parquet_args,
        row_hash=include_row_hash,
    )
    return read_datasource(
        source,
        parallelism=parallelism,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
        concurrency=concurrency,
        override_num_blocks=override_num_blocks,
        ray_remote_args=ray_remote_args,
        label_selector=label_selector,
        fallback_strategy=fallback_strategy,
        max_calls=max_calls,
        resources=resources,
        accelerator_type=accelerator_type,
        runtime_env=runtime_env,
    )


def _for_pyarrow(partitioning: Any) -> Any:
    if (
        str(getattr(partitioning.style, "value", partitioning.style)) == "hive"
        and not partitioning.field_types
    ):
        return "hive"
    return partitioning.to_pyarrow()


def read_parquet_bulk(paths: str | list[str], **options: Any) -> Dataset:
    """The older name of :func:`read_parquet` for many files."""
    return read_parquet(paths, **options)
