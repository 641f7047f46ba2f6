"""Datasets: read, transform and iterate over tables that may be larger than memory; Ray's ``ray.data``.

The way of a dataset, one folder each:

- ``dataset`` (and ``_dataset_*``): the lazy :class:`Dataset`; each method adds an operator to its plan.
- ``logical``: the plan, frozen dataclasses, and rewrites of it (pure functions).
- ``physical``: which stages run where; ``kernels``: relational work on Arrow and Polars.
- ``execution``: runs stages in this process (small or purely relational plans) or on the cluster.
- ``block``: Arrow tables as blocks, batches in other formats, rows.
- ``datasource``: sources and sinks, one file per format; ``read_api``: ``read_*``, ``from_*``, ``range``.
- ``aggregate``, ``expressions``, ``preprocessors``, ``extensions``, ``datatype``: what goes into a plan.

Names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_READ = [
    "from_arrow",
    "from_arrow_refs",
    "from_blocks",
    "from_daft",
    "from_dask",
    "from_huggingface",
    "from_items",
    "from_mars",
    "from_modin",
    "from_numpy",
    "from_numpy_refs",
    "from_pandas",
    "from_pandas_refs",
    "from_spark",
    "from_tf",
    "from_torch",
    "range",
    "range_tensor",
    "read_audio",
    "read_avro",
    "read_bigquery",
    "read_binary_files",
    "read_clickhouse",
    "read_csv",
    "read_databricks_tables",
    "read_datasource",
    "read_delta",
    "read_delta_sharing_tables",
    "read_hudi",
    "read_iceberg",
    "read_images",
    "read_json",
    "read_kafka",
    "read_lance",
    "read_lerobot",
    "read_mcap",
    "read_mongo",
    "read_numpy",
    "read_orc",
    "read_parquet",
    "read_parquet_bulk",
    "read_snowflake",
    "read_sql",
    "read_text",
    "read_tfrecords",
    "read_unity_catalog",
    "read_videos",
    "read_webdataset",
    "read_zarr",
]
_WHERE = {
    **dict.fromkeys(_READ, "rayjup.data.read_api"),
    **dict.fromkeys(
        (
            "DataContext",
            "DatasetContext",
            "ExecutionOptions",
            "ExecutionResources",
            "NodeIdStr",
            "RandomSeedConfig",
        ),
        "rayjup.data.context",
    ),
    **dict.fromkeys(("Dataset", "MaterializedDataset", "Schema"), "rayjup.data.dataset"),
    **dict.fromkeys(("DataIterator", "DatasetIterator"), "rayjup.data.iterator"),
    **dict.fromkeys(("ActorPoolStrategy", "TaskPoolStrategy"), "rayjup.data.compute"),
    **dict.fromkeys(("DatasetSummary", "list_stats_summaries"), "rayjup.data.stats"),
    **dict.fromkeys(
        (
            "BlockBasedFileDatasink",
            "Datasink",
            "Datasource",
            "FileShuffleConfig",
            "ReadTask",
            "RowBasedFileDatasink",
            "SaveMode",
        ),
        "rayjup.data.datasource",
    ),
    **dict.fromkeys(("ClickHouseTableSettings", "SinkMode"), "rayjup.data.datasource.clickhouse"),
    "KafkaAuthConfig": "rayjup.data.datasource.kafka",
    **dict.fromkeys(
        ("Catalog", "CatalogAccessMode", "DatabricksUnityCatalog", "ReaderFormat", "ResolvedSource"),
        "rayjup.data.catalog",
    ),
    **dict.fromkeys(("ArrowTensorType", "ArrowVariableShapedTensorType"), "rayjup.data.extensions"),
    "MixStoppingCondition": "rayjup.data.logical.combine",
    "Preprocessor": "rayjup.data.preprocessor",
}
_MODULES = {
    "aggregate",
    "block",
    "catalog",
    "checkpoint",
    "collate_fn",
    "context",
    "dataset",
    "datasource",
    "datatype",
    "exceptions",
    "expressions",
    "extensions",
    "grouped_data",
    "iterator",
    "llm",
    "preprocessor",
    "preprocessors",
    "stats",
    "util",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"rayjup.data.{name}")
    else:
        raise AttributeError(f"module 'rayjup.data' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
