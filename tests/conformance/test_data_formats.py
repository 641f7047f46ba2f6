"""Files and databases, read and written as Ray documents it."""

import os
import sqlite3

import numpy as np
import pyarrow as pa
import pytest
import ray

ENGINE = os.environ.get("RAYJUP_CONFORMANCE_ENGINE", "rayjup")
pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False


ROWS = [{"a": 1, "b": "x", "c": 0.5}, {"a": 2, "b": "y", "c": 1.5}, {"a": 3, "b": "é", "c": -2.0}]


def in_order(ds):
    return sorted(ds.take_all(), key=lambda row: row["a"])


@pytest.mark.parametrize("kind", ["csv", "json", "orc"])
def test_tables_round_trip(tmp_path, kind):
    path = str(tmp_path / "out")
    getattr(ray.data.from_items(ROWS), f"write_{kind}")(path)
    assert all(file.name.endswith(f".{kind}") for file in (tmp_path / "out").iterdir())
    assert in_order(getattr(ray.data, f"read_{kind}")(path)) == ROWS


def test_save_modes(tmp_path):
    from ray.data import SaveMode

    path = str(tmp_path / "out")
    ds = ray.data.from_items(ROWS)
    ds.write_csv(path)
    ds.write_csv(path)
    assert ray.data.read_csv(path).count() == 6
    ds.write_csv(path, mode=SaveMode.OVERWRITE)
    ds.write_csv(path, mode=SaveMode.IGNORE)
    assert ray.data.read_csv(path).count() == 3
    with pytest.raises(ValueError, match="exists"):
        ds.write_csv(path, mode=SaveMode.ERROR)


def test_json_lines_and_arrays(tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "array.json").write_text('[{"a": 3}, {"a": 4}]')
    assert in_order(ray.data.read_json(str(tmp_path / "lines.jsonl"))) == [{"a": 1}, {"a": 2}]
    assert in_order(ray.data.read_json(str(tmp_path / "array.json"))) == [{"a": 3}, {"a": 4}]


def test_text_and_binary(tmp_path):
    (tmp_path / "one.txt").write_text("first\n\nsecond\n")
    path = str(tmp_path / "one.txt")
    assert [row["text"] for row in ray.data.read_text(path).take_all()] == ["first", "second"]
    (row,) = ray.data.read_binary_files(path, include_paths=True).take_all()
    assert row["bytes"] == b"first\n\nsecond\n" and row["path"].endswith("one.txt")


def test_numpy_and_images(tmp_path):
    pytest.importorskip("PIL")
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3), dtype=np.uint8)
    ds = ray.data.from_numpy(images)
    ds.write_numpy(str(tmp_path / "n"), column="data")
    back = ray.data.read_numpy(str(tmp_path / "n"))
    assert np.array_equal(np.stack([row["data"] for row in back.take_all()]), images)
    ds.write_images(str(tmp_path / "i"), column="data")
    assert len(list((tmp_path / "i").glob("*.png"))) == 3
    small = ray.data.read_images(str(tmp_path / "i"), size=(2, 3), mode="L", include_paths=True).take_all()
    assert {row["image"].shape for row in small} == {(2, 3)}
    assert all(row["path"].endswith(".png") for row in small)


def test_partitions(tmp_path):
    from ray.data.datasource import PathPartitionFilter
    from ray.data.datasource.partitioning import Partitioning

    for year in (2023, 2024):
        folder = tmp_path / f"year={year}"
        folder.mkdir()
        (folder / "f.csv").write_text("a\n1\n")
    typed = Partitioning("hive", base_dir=str(tmp_path), field_types={"year": int})
    ds = ray.data.read_csv(str(tmp_path), partitioning=typed)
    assert sorted(row["year"] for row in ds.take_all()) == [2023, 2024]
    only = PathPartitionFilter.of(lambda values: values["year"] == "2024", base_dir=str(tmp_path))
    assert ray.data.read_csv(str(tmp_path), partition_filter=only).count() == 1


def test_filenames_of_ones_own(tmp_path):
    from ray.data.datasource import FilenameProvider

    class Numbered(FilenameProvider):
        def get_filename_for_task(self, write_uuid, task_index):
            return f"part-{write_uuid}-{task_index}.csv"

    ray.data.from_items(ROWS).write_csv(str(tmp_path / "out"), filename_provider=Numbered())
    assert all(file.name.startswith("part-") for file in (tmp_path / "out").iterdir())


def test_sources_and_sinks_of_ones_own(tmp_path):
    from ray.data import BlockBasedFileDatasink, Datasource, ReadTask
    from ray.data.block import BlockMetadata
    from ray.data.datasource import FileBasedDatasource, RowBasedFileDatasink

    class Squares(Datasource):
        def estimate_inmemory_data_size(self):
            return 100

        def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
            def task(n):
                return ReadTask(lambda: [pa.table({"x": [n * n]})], BlockMetadata(1, 8, None))

            return [task(n) for n in range(3)]

    squares = ray.data.read_datasource(Squares())
    assert sorted(row["x"] for row in squares.take_all()) == [0, 1, 4]

    class Lines(BlockBasedFileDatasink):
        def write_block_to_file(self, block, file):
            file.write("".join(f"{row['x']}\n" for row in block.iter_rows(False)).encode())

    class Files(RowBasedFileDatasink):
        def write_row_to_file(self, row, file):
            file.write(str(row["x"]).encode())

    class Words(FileBasedDatasource):
        def _read_stream(self, f, path):
            yield pa.table({"word": f.readall().decode().split()})

    squares.write_datasink(Lines(str(tmp_path / "l"), file_format="txt"))
    squares.write_datasink(Files(str(tmp_path / "r"), file_format="txt"))
    assert len(list((tmp_path / "r").iterdir())) == 3
    words = ray.data.read_datasource(Words(str(tmp_path / "l")))
    assert sorted(row["word"] for row in words.take_all()) == ["0", "1", "4"]


def test_tfrecords(tmp_path):
    if ENGINE == "ray":
        pytest.importorskip("tensorflow")
    rows = [{"i": 1, "f": 0.5, "s": b"x"}, {"i": -2, "f": 2.0, "s": b""}]
    ray.data.from_items(rows).write_tfrecords(str(tmp_path))
    back = ray.data.read_tfrecords(str(tmp_path)).take_all()
    assert sorted(row["i"] for row in back) == [-2, 1]


def test_webdataset(tmp_path):
    rows = [{"__key__": f"{n:03}", "txt": f"text {n}", "cls": n} for n in range(3)]
    ray.data.from_items(rows).write_webdataset(str(tmp_path))
    assert all(file.name.endswith(".tar") for file in tmp_path.iterdir())
    back = sorted(ray.data.read_webdataset(str(tmp_path)).take_all(), key=lambda row: row["__key__"])
    assert [row["txt"] for row in back] == ["text 0", "text 1", "text 2"]
    assert [row["__key__"] for row in back] == ["000", "001", "002"]


def test_sql(tmp_path):
    path = str(tmp_path / "s.db")

    def connect():
        return sqlite3.connect(path)

    connection = connect()
    connection.execute("CREATE TABLE t(a, b)")
    connection.commit()
    connection.close()
    ray.data.from_items([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]).write_sql(
        "INSERT INTO t VALUES(?, ?)", connect
    )
    assert in_order(ray.data.read_sql("SELECT * FROM t", connect)) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_avro(tmp_path):
    fastavro = pytest.importorskip("fastavro")
    schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": [{"name": "a", "type": "long"}]})
    with (tmp_path / "f.avro").open("wb") as file:
        fastavro.writer(file, schema, [{"a": 1}, {"a": 2}])
    assert in_order(ray.data.read_avro(str(tmp_path / "f.avro"))) == [{"a": 1}, {"a": 2}]


def test_other_libraries():
    torch = pytest.importorskip("torch")

    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return index * 2

    assert sorted(row["item"] for row in ray.data.from_torch(Numbers()).take_all()) == [0, 2, 4]
