"""Where datasets come from: ``range``, ``from_*`` and ``read_*``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rayjup.data._read_datasource import read_datasource
from rayjup.data._read_parquet import read_parquet, read_parquet_bulk
from rayjup.data.block import convert
from rayjup.data.block.bundle import Bundle
from rayjup.data.dataset import Dataset, MaterializedDataset
from rayjup.data.datasource.range import RangeDatasource
from rayjup.data.kernels.shuffling import split_evenly
from rayjup.data.logical.sources import InputBlocks

if TYPE_CHECKING:
    import pandas


def range(
    n: int,
    *,
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """The numbers 0 to ``n - 1`` in a column ``id``.

    Examples
    --------
    >>> import rayjup
    >>> rayjup.data.range(3).take_all()
    [{'id': 0}, {'id': 1}, {'id': 2}]
    """
    return read_datasource(
        RangeDatasource(n),
        parallelism=parallelism,
        concurrency=concurrency,
        override_num_blocks=override_num_blocks,
    )


def range_tensor(
    n: int,
    *,
    shape: tuple[int, ...] = (1,),
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """Tensors filled with 0 to ``n - 1`` in a column ``data``.

    Examples
    --------
    >>> import rayjup
    >>> rayjup.data.range_tensor(2, shape=(1, 2)).take_all()
    [{'data': array([[0, 0]])}, {'data': array([[1, 1]])}]
    """
    return read_datasource(
        RangeDatasource(n, "data", tuple(shape)),
        parallelism=parallelism,
        concurrency=concurrency,
        override_num_blocks=override_num_blocks,
    )


def materialized(tables: Iterable[pa.Table], label: str, blocks: int | None = None) -> MaterializedDataset:
    """A dataset of tables; cut into ``blocks`` where that is given."""
    parts = list(tables)
    if blocks is not None:
        if blocks < 1:
            raise ValueError(f"override_num_blocks={blocks} must be at least 1.")
        from rayjup.data.block.unify import concat

        table = concat(parts)
        parts = split_evenly(table, min(blocks, max(1, table.num_rows)))
    bundles = [Bundle(t) for t in parts]
    out = MaterializedDataset(InputBlocks(tuple(bundles), label=label))
    out._cache = bundles
    return out


def from_items(
    items: list[Any], *, parallelism: int = -1, override_num_blocks: int | None = None
) -> MaterializedDataset:
    """Rows from a list: dicts as they are, anything else in a column ``item``.

    Examples
    --------
    >>> import rayjup
    >>> rayjup.data.from_items(["a", "b"]).take_all()
    [{'item': 'a'}, {'item': 'b'}]
    """
    rows = list(items)
    if rows and all(isinstance(r, dict) for r in rows):
        table = convert.rows_to_table(rows)
    elif any(isinstance(r, dict) for r in rows):
        table = convert.rows_to_table([r if isinstance(r, dict) else {"item": r} for r in rows])
    else:
        table = pa.table({"item": convert.from_values(rows, "item")}) if rows else pa.table({})
    count = (
        override_num_blocks if override_num_blocks is not None else parallelism if parallelism > 0 else None
    )
    return materialized([table], "FromItems", count)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def from_arrow(
    tables: pa.Table | bytes | list[pa.Table | bytes], *, override_num_blocks: int | None = None
) -> MaterializedDataset:
    """From Arrow tables (or bytes of Arrow streams)."""
    parts = [
        pa.ipc.open_stream(t).read_all() if isinstance(t, (bytes, pa.Buffer)) else convert.to_table(t)
        for t in _as_list(tables)
    ]
    return materialized(parts, "FromArrow", override_num_blocks)


def from_pandas(
    dfs: pandas.DataFrame | list[pandas.DataFrame], override_num_blocks: int | None = None
) -> MaterializedDataset:
    """From DataFrames of pandas.

    Examples
    --------
    >>> import pandas, rayjup
    >>> rayjup.data.from_pandas(pandas.DataFrame({"x": [1.5, None]})).take_all()
    [{'x': 1.5}, {'x': None}]
    """
    return materialized([convert.to_table(df) for df in _as_list(dfs)], "FromPandas", override_num_blocks)


def from_numpy(ndarrays: np.ndarray | list[np.ndarray]) -> MaterializedDataset:
    """From arrays: their rows in a column ``data``.

    Examples
    --------
    >>> import numpy, rayjup
    >>> rayjup.data.from_numpy(numpy.arange(2)).take_all()
    [{'data': 0}, {'data': 1}]
    """
    arrays = [ndarrays] if isinstance(ndarrays, np.ndarray) else list(ndarrays)
    return materialized([convert.to_table({"data": np.asarray(a)}) for a in arrays], "FromNumpy")


def from_blocks(blocks: list[Any]) -> MaterializedDataset:
    """From blocks: Arrow tables or DataFrames, each staying one block."""
    return materialized([convert.to_table(b) for b in blocks], "FromBlocks")


def _from_refs(refs: Any, label: str) -> MaterializedDataset:
    """A dataset of blocks in the object store that are tables already; others are converted where they
    lie."""
    import rayjup
    from rayjup.data.block.metadata import BlockMetadata

    listed = _as_list(refs)
    looked = [_look.remote(ref) for ref in listed] if (_look := _remote_look()) else []
    bundles = []
    for ref, made in zip(listed, looked, strict=True):
        rows, size, schema, block = rayjup.get(made)
        bundles.append(
            Bundle(ref=ref if block is None else block, meta=BlockMetadata(rows, size, None), schema=schema)
        )
    out = MaterializedDataset(InputBlocks(tuple(bundles), label=label))
    out._cache = bundles
    return out


def _remote_look() -> Any:
    import rayjup

    @rayjup.remote
    def look(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = {"data": value}
        table = pa.ipc.open_stream(value).read_all() if isinstance(value, bytes) else convert.to_table(value)
        moved = None if table is value else rayjup.put(table)
        return table.num_rows, table.nbytes, table.schema, moved

    return look


def from_arrow_refs(tables: Any) -> MaterializedDataset:
    """From references to Arrow tables."""
    return _from_refs(tables, "FromArrow")


def from_pandas_refs(dfs: Any) -> MaterializedDataset:
    """From references to DataFrames."""
    return _from_refs(dfs, "FromPandas")


def from_numpy_refs(ndarrays: Any) -> MaterializedDataset:
    """From references to arrays."""
    return _from_refs(ndarrays, "FromNumpy")


_OTHERS = {
    "rayjup.data._read_other": "from_huggingface from_torch from_tf from_dask from_spark from_modin "
    "from_mars from_daft",
    "rayjup.data._read_files": (
        "read_csv read_json read_text read_images read_numpy read_binary_files read_tfrecords "
        "read_webdataset "
        "read_avro read_audio read_videos read_orc"
    ),
    "rayjup.data._read_tables": (
        "read_sql read_lance read_delta read_delta_sharing_tables read_iceberg read_hudi read_bigquery "
        "read_mongo "
        "read_clickhouse read_snowflake read_databricks_tables read_unity_catalog read_kafka"
    ),
    "rayjup.data._read_recordings": "read_mcap read_lerobot read_zarr",
}


def __getattr__(name: str) -> Any:
    import importlib

    for module, names in _OTHERS.items():
        if name in names.split():
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'rayjup.data.read_api' has no attribute {name!r}")


__all__ = [
    "from_arrow",
    "from_arrow_refs",
    "from_blocks",
    "from_items",
    "from_numpy",
    "from_numpy_refs",
    "from_pandas",
    "from_pandas_refs",
    "range",
    "range_tensor",
    "read_datasource",
    "read_parquet",
    "read_parquet_bulk",
]
