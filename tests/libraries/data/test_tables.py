"""Databases, table formats, streams: round trips through their own clients, where these are installed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import rayjup.data
from rayjup.data import CatalogAccessMode, DatabricksUnityCatalog, ReaderFormat
from rayjup.data.checkpoint import CheckpointConfig
from rayjup.data.collate_fn import DefaultCollateFn, is_tensor_batch_type
from rayjup.data.datasource.clickhouse import ClickHouseDatasink, ClickHouseTableSettings, column_type
from rayjup.data.datasource.iceberg import to_iceberg
from rayjup.data.expressions import col
from rayjup.data.util.torch_inference import TorchInference

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def rows() -> Any:
    return rayjup.data.from_items([{"a": i, "b": str(i % 3)} for i in range(10)])


def test_sql(tmp_path: Path, rows: Any) -> None:
    path = str(tmp_path / "s.db")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path)

    with connect() as connection:
        connection.execute("CREATE TABLE t(a, b)")
    connection.close()
    rows.write_sql("INSERT INTO t VALUES(?, ?)", connect)
    assert rayjup.data.read_sql("SELECT * FROM t ORDER BY a", connect).take_all() == rows.take_all()
    summed = rayjup.data.read_sql("SELECT SUM(a) AS s FROM t WHERE b = ?", connect, sql_params=("1",))
    assert summed.take_all() == [{"s": 12}]
    sharded = rayjup.data.read_sql(
        "SELECT * FROM t;", connect, shard_keys=["a"], shard_hash_fn="unicode", override_num_blocks=3
    )
    assert sharded.sum("a") == 45
    whole = rayjup.data.read_sql("SELECT * FROM t", connect, shard_keys=["a"], override_num_blocks=3)
    assert whole.count() == 10  # the database has no MD5
    assert rayjup.data.read_sql("SELECT * FROM t WHERE a > 99", connect).schema().names == ["a", "b"]
    with pytest.raises(TypeError, match="has no argument 'colour'"):
        rayjup.data.read_sql("SELECT 1", connect, colour=1)


def test_iceberg(tmp_path: Path, rows: Any) -> None:
    pytest.importorskip("sqlalchemy")
    catalogs = pytest.importorskip("pyiceberg.catalog")
    (tmp_path / "wh").mkdir()
    where = {
        "name": "c",
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/i.db",
        "warehouse": f"file://{tmp_path}/wh",
    }
    catalog = catalogs.load_catalog(**where)
    catalog.create_namespace("n")
    catalog.create_table("n.t", schema=pa.schema([("a", pa.int64()), ("b", pa.string())]))

    def read(**more: Any) -> Any:
        return rayjup.data.read_iceberg(table_identifier="n.t", catalog_kwargs=where, **more)

    try:
        rows.write_iceberg("n.t", catalog_kwargs=where)
        rows.write_iceberg("n.t", catalog_kwargs=where)
        assert read().count() == 20
        assert read(row_filter="a > 5", selected_fields=("a",)).take(1) == [{"a": 6}]
        one = rayjup.data.from_items([{"a": 100, "b": "z"}])
        one.write_iceberg("n.t", catalog_kwargs=where, mode="overwrite", overwrite_filter=col("a") < 5)
        assert read().sum("a") == 2 * (5 + 6 + 7 + 8 + 9) + 100
        upserted = rayjup.data.from_items([{"a": 100, "b": "new"}])
        upserted.write_iceberg("n.t", catalog_kwargs=where, mode="upsert", upsert_kwargs={"join_cols": ["a"]})
        assert read(row_filter="a == 100").take_all() == [{"a": 100, "b": "new"}]
        with pytest.raises(ValueError, match="has no column 'q'"):
            rayjup.data.from_items([{"q": 1}]).write_iceberg("n.t", catalog_kwargs=where)
    finally:
        catalog.engine.dispose()


def test_conditions_of_iceberg() -> None:
    pytest.importorskip("pyiceberg")
    made = str(to_iceberg((col("a") > 1) & ~col("b").is_null() | col("c").is_in([1, 2])))
    assert "GreaterThan" in made and "Or" in made and "In(" in made
    with pytest.raises(ValueError, match="no condition that Iceberg knows"):
        to_iceberg(col("a") + 1 > 2)


def test_delta(tmp_path: Path, rows: Any) -> None:
    pytest.importorskip("deltalake")
    path = str(tmp_path / "d")
    rows.write_delta(path)
    rows.write_delta(path, mode="append")
    assert rayjup.data.read_delta(path).sum("a") == 90
    assert rayjup.data.read_delta(path, version=0).count() == 10
    rows.write_delta(str(tmp_path / "p"), partition_by=["b"])
    parts = rayjup.data.read_delta(str(tmp_path / "p"), columns=["b", "a"], include_paths=True)
    assert parts.schema().names == ["b", "a", "path"] and parts.count() == 10


def test_lance(tmp_path: Path, rows: Any) -> None:
    pytest.importorskip("lance")
    path = str(tmp_path / "l.lance")
    rows.write_lance(path)
    rows.write_lance(path, mode="append")
    chosen = rayjup.data.read_lance(path, columns=["a"], filter="a > 4")
    rows.write_lance(path, mode="overwrite")
    assert chosen.sum("a") == 70  # the version of when it was made
    assert rayjup.data.read_lance(path).count() == 10


def test_zarr(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "z"), mode="w")
    group.create_array("x", shape=(10, 4), chunks=(3, 4), dtype="f4")[:] = np.arange(40).reshape(10, 4)
    group.create_array("s/y", shape=(10,), chunks=(3,), dtype="i8")[:] = np.arange(10)
    chunks = rayjup.data.read_zarr(str(tmp_path / "z"), array_paths=["x"]).take_all()
    assert [row["chunk_slices"][0] for row in chunks] == [[0, 3], [3, 6], [6, 9], [9, 10]]
    slices = rayjup.data.read_zarr(str(tmp_path / "z"), align_axis_0=True, overlap=1).take_all()
    assert [(row["t_start"], row["t_stop"]) for row in slices] == [(0, 4), (3, 7), (6, 10), (9, 10)]
    with pytest.raises(ValueError, match="has no array 'nope'"):
        rayjup.data.read_zarr(str(tmp_path / "z"), array_paths=["nope"])


def test_huggingface() -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"a": [1, 2, 3]}).select([2, 0])
    assert rayjup.data.from_huggingface(data).take_all() == [{"a": 3}, {"a": 1}]
    stream = datasets.Dataset.from_dict({"a": [1, 2, 3]}).to_iterable_dataset(num_shards=2)
    assert rayjup.data.from_huggingface(stream).sum("a") == 6
    with pytest.raises(TypeError, match=r"one split.*dataset\['train'\]"):
        rayjup.data.from_huggingface(datasets.DatasetDict(train=data))


def test_torch_datasets() -> None:
    torch = pytest.importorskip("torch")

    class Stream(torch.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Any:
            return iter([(1, "a"), (2, "b")])

    data = torch.utils.data.TensorDataset(torch.arange(4).reshape(2, 2))
    assert len(rayjup.data.from_torch(data).take_all()) == 2
    assert [tuple(row["item"]) for row in rayjup.data.from_torch(Stream()).take_all()] == [(1, "a"), (2, "b")]


def test_dask_frames() -> None:
    frame = pytest.importorskip("dask.dataframe")
    parts = frame.from_pandas(pd.DataFrame({"a": range(5)}), npartitions=2)
    ds = rayjup.data.from_dask(parts)
    assert ds.num_blocks() == 2 and ds.sum("a") == 10


def test_clickhouse_statement() -> None:
    pytest.importorskip("clickhouse_connect")
    sink = ClickHouseDatasink("db.t", "dsn", table_settings=ClickHouseTableSettings(order_by="a"))
    made = sink.create_statement(pa.schema([("a", pa.int64()), ("b", pa.string())]))
    assert made == "CREATE TABLE db.t (`a` Int64, `b` Nullable(String)) ENGINE = MergeTree() ORDER BY a"


def test_clickhouse_types() -> None:
    assert column_type(pa.list_(pa.int8())) == "Array(Nullable(Int8))"
    assert column_type(pa.decimal128(9, 2), nullable=False) == "Decimal(9, 2)"


@pytest.mark.parametrize(
    ("call", "package"),
    [
        (lambda: rayjup.data.read_hudi("/nowhere"), "hudi"),
        (lambda: rayjup.data.read_bigquery("p", "d.t"), "google-cloud-bigquery"),
        (lambda: rayjup.data.read_snowflake("SELECT 1", {}), "snowflake-connector-python"),
    ],
)
def test_a_missing_client_is_named(call: Any, package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package.split("-")[0]) is not None:
        pytest.skip(f"{package} may be installed")
    with pytest.raises(ImportError, match=f"pip install {package}"):
        call()


def test_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = DatabricksUnityCatalog(url="work.example", token="t", region="r")
    found = catalog.resolve("main.s.t", reader=ReaderFormat.ICEBERG)
    assert found.catalog_kwargs is not None and found.catalog_kwargs["uri"].startswith(
        "https://work.example/"
    )
    assert found.table_identifier == "s.t"
    keys = {"access_key_id": "a", "secret_access_key": "s", "session_token": "t"}
    assert catalog.storage_options({"aws_temp_credentials": keys})["AWS_REGION"] == "r"
    assert CatalogAccessMode.WRITE.as_databricks_table_op() == "READ_WRITE"
    with pytest.raises(ValueError, match="needs url and token"):
        DatabricksUnityCatalog()
    with pytest.raises(TypeError, match=r"catalog is a rayjup\.data\.Catalog"):
        rayjup.data.read_iceberg(table_identifier="n.t", catalog="no")  # type: ignore[arg-type]


def test_a_write_goes_on_where_it_stopped(tmp_path: Path) -> None:
    context = rayjup.data.DataContext.get_current()
    notes = tmp_path / "notes"
    context.checkpoint_config = CheckpointConfig("id", str(notes))
    try:
        rows = [{"id": n, "bad": n == 7} for n in range(10)]
        source = rayjup.data.from_items(rows, override_num_blocks=5)

        def fragile(row: dict[str, Any]) -> dict[str, Any]:
            if row["bad"]:
                raise RuntimeError("not yet")
            return row

        with pytest.raises(Exception, match="not yet"):
            source.map(fragile).write_json(str(tmp_path / "out"))
        context.checkpoint_config.write_ids(pa.table({"id": [0, 1]}))
        rayjup.data.from_items(rows).write_json(str(tmp_path / "rest"))
        written = {row["id"] for row in rayjup.data.read_json(str(tmp_path / "rest")).take_all()}
        assert not {0, 1} & written and 9 in written
        assert not notes.exists()
        with pytest.raises(Exception, match="no column 'id'; it has to stay"):
            source.drop_columns(["id"]).write_json(str(tmp_path / "no"))
    finally:
        context.checkpoint_config = None
    with pytest.raises(ValueError, match="needs a checkpoint_path"):
        CheckpointConfig("id")


def test_inference_with_torch() -> None:
    torch = pytest.importorskip("torch")

    class Twice(TorchInference):
        def initialize(self, factor: int) -> None:
            self.factor = factor

        def process_on_device(self, input_batch: Any, collated_tensors: Any, collated_other: Any) -> Any:
            assert not torch.is_grad_enabled()
            return {"y": collated_tensors["x"] * self.factor}, "beside"

        def finalize(self, input_batch: Any, output_tensors: Any, output_other: Any) -> Any:
            assert output_other == "beside"
            return {**input_batch, **super().finalize(input_batch, output_tensors, None)}

    out = Twice(2)({"x": np.array([1.0, 2.0])})
    assert out["y"].tolist() == [2.0, 4.0] and out["x"].tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="batch_format='numpy'"):
        Twice(2)([1, 2])
    collate = DefaultCollateFn({"x": torch.float32}, combine_chunks=True)
    made = collate(pa.table({"x": [1, 2], "y": [True, False]}))
    assert made["x"].dtype == torch.float32 and is_tensor_batch_type(made)
    with pytest.raises(TypeError, match="Column 's' holds object"):
        collate(pa.table({"s": ["a"]}))
