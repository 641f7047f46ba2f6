"""Sources and sinks made of files, at the level of read tasks and blocks."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from rayjup.data.block.unify import concat
from rayjup.data.datasource import (
    BlockBasedFileDatasink,
    FilenameProvider,
    FileShuffleConfig,
    Partitioning,
    PathPartitionFilter,
    PathPartitionParser,
    RowBasedFileDatasink,
    SaveMode,
    WriteResult,
)
from rayjup.data.datasource.avro import AvroDatasource
from rayjup.data.datasource.crc32c import _in_python, masked_crc32c
from rayjup.data.datasource.csv import CSVDatasink, CSVDatasource
from rayjup.data.datasource.datasink import TaskContext
from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.image import ImageDatasink, ImageDatasource
from rayjup.data.datasource.json import JSONDatasink, JSONDatasource
from rayjup.data.datasource.orc import ORCDatasink, ORCDatasource
from rayjup.data.datasource.paths import expand, resolve
from rayjup.data.datasource.plain_files import (
    BinaryDatasource,
    NumpyDatasink,
    NumpyDatasource,
    TextDatasource,
)
from rayjup.data.datasource.tfrecords import TFRecordDatasink, TFRecordDatasource
from rayjup.data.datasource.webdataset import WebDatasetDatasink, WebDatasetDatasource
from rayjup.data.expressions import col


def read(source: FileBasedDatasource, parallelism: int = 1) -> pa.Table:
    tasks = source.get_read_tasks(parallelism)
    return concat([block for task in tasks for block in task()])


def write(sink: Any, *tables: pa.Table, parts: int = 1) -> None:
    sink.on_write_start(tables[0].schema if tables else None)
    for number, table in enumerate(tables):
        sink.write([table], TaskContext(task_idx=number))
    rows = sum(table.num_rows for table in tables)
    sink.on_write_complete(WriteResult(rows, 0, []))


TABLE = pa.table({"a": [1, 2, None], "b": ["x", None, 'é\n,"'], "c": [0.5, 1.5, -2.0]})


@pytest.mark.parametrize(
    ("sink", "source"),
    [(CSVDatasink, CSVDatasource), (JSONDatasink, JSONDatasource), (ORCDatasink, ORCDatasource)],
)
def test_tables_round_trip(tmp_path: Path, sink: Callable[..., Any], source: Callable[..., Any]) -> None:
    write(sink(str(tmp_path / "out")), TABLE, TABLE.slice(1))
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 2
    args = {}
    if source is CSVDatasource:
        from pyarrow import csv

        args = {"arrow_csv_args": {"parse_options": csv.ParseOptions(newlines_in_values=True)}}
    back = read(source(str(tmp_path / "out"), **args))
    rows = TABLE.to_pylist() + TABLE.slice(1).to_pylist()
    if source is CSVDatasource:  # CSV does not tell a missing text from an empty one
        rows = [{**row, "b": row["b"] or ""} for row in rows]
    assert back.to_pylist() == rows
    assert read(source(str(tmp_path / "out"), **args), parallelism=5).num_rows == 5


def test_csv_types_are_found_from_all_of_a_file_and_between_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,a\n" * 200_000 + "2.5,b\n")
    (tmp_path / "b.csv").write_text("x,z\n7,q\n")
    (tmp_path / "empty.csv").write_text("")
    table = read(CSVDatasource(str(tmp_path)))
    assert table.schema.field("x").type == pa.float64()
    assert table.column("x")[-2].as_py() == 2.5 and table.num_rows == 200_002
    assert table.slice(200_001).to_pylist() == [{"x": 7.0, "y": None, "z": "q"}]


def test_csv_large_file_goes_on_when_a_type_turns_out_too_narrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rayjup.data.datasource import csv as module

    monkeypatch.setattr(module, "_WHOLE", 1000)
    monkeypatch.setattr(module, "_FIRST", 500)
    monkeypatch.setattr(module, "_STEP", 1 << 16)
    from pyarrow import csv

    path = tmp_path / "big.csv"
    path.write_text("x\n" + "1\n" * 100_000 + "0.5\n" + "3\n" * 100_000)
    source = CSVDatasource(str(path), {"read_options": csv.ReadOptions(block_size=1 << 16)})
    blocks = list(source.get_read_tasks(1)[0]())
    assert len(blocks) > 2 and blocks[0].schema.field("x").type == pa.int64()
    table = concat(blocks)
    assert table.num_rows == 200_001
    assert table.column("x")[100_000].as_py() == 0.5


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"a": 1}\n{"a": 2, "b": [1]}\n', [{"a": 1, "b": None}, {"a": 2, "b": [1]}]),
        ('[{"a": 1}, {"a": 2.5}]', [{"a": 1.0}, {"a": 2.5}]),
        ('{\n "a": 1,\n "b": {"c": null}\n}', [{"a": 1, "b": {"c": None}}]),
        ('{"a": 1}\n{"a": "two"}\n', [{"a": 1}, {"a": "two"}]),
        ("", []),
    ],
)
def test_json_of_every_shape(tmp_path: Path, text: str, rows: list[Any]) -> None:
    (tmp_path / "f.json").write_text(text)
    assert read(JSONDatasource(str(tmp_path / "f.json"))).to_pylist() == rows


def test_json_errors_name_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a": }\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl cannot be read: line 2 is no JSON"):
        read(JSONDatasource(str(tmp_path)))


def test_json_writes_what_json_has_no_form_for(tmp_path: Path) -> None:
    import datetime

    table = pa.table({"t": [datetime.datetime(2020, 1, 2)], "b": [b"\x00"], "l": [[1, None]]})
    write(JSONDatasink(str(tmp_path)), table)
    assert read(JSONDatasource(str(tmp_path))).to_pylist() == [
        {"t": datetime.datetime(2020, 1, 2), "b": "AA==", "l": [1, None]}
    ]
    write(JSONDatasink(str(tmp_path / "p"), pandas_json_args={"orient": "records", "lines": True}), table)
    assert read(JSONDatasource(str(tmp_path / "p"))).num_rows == 1


def test_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n  \ntwo ü")
    (tmp_path / "b.txt").write_bytes("drei ü\n".encode("latin-1"))
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"packed\n"))
    assert read(TextDatasource(str(tmp_path / "a.txt"))).to_pydict() == {"text": ["one", "two ü"]}
    kept = read(TextDatasource(str(tmp_path / "a.txt"), drop_empty_lines=False))
    assert kept.to_pydict() == {"text": ["one", "", "  ", "two ü"]}
    assert read(TextDatasource(str(tmp_path / "b.txt"), encoding="latin-1")).num_rows == 1
    (tmp_path / "d.txt").write_bytes("zwölf\r\n\r\nlast\n".encode("utf-16"))
    windows = TextDatasource(str(tmp_path / "d.txt"), encoding="utf-16", drop_empty_lines=False)
    assert read(windows).to_pydict() == {"text": ["zwölf", "", "last"]}
    assert read(TextDatasource(str(tmp_path / "c.txt.gz"))).to_pydict() == {"text": ["packed"]}
    with pytest.raises(ValueError, match=r"b\.txt cannot be read.*utf-8"):
        read(TextDatasource(str(tmp_path / "b.txt")))


def test_a_character_cut_in_two_is_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayjup.data.datasource import plain_files

    monkeypatch.setattr(plain_files, "_STEP", 3)
    monkeypatch.setattr(plain_files, "_FIRST", 3)
    (tmp_path / "a.txt").write_text("üüüü\nüü\n")
    assert read(TextDatasource(str(tmp_path / "a.txt"))).to_pydict() == {"text": ["üüüü", "üü"]}


class Dripping:
    """A stream that gives less than it is asked for."""

    def __init__(self, data: bytes, most: int) -> None:
        self.rest, self.most = data, most

    def read(self, size: int) -> bytes:
        size = min(size, self.most)
        part, self.rest = self.rest[:size], self.rest[size:]
        return part


@pytest.mark.parametrize("lines", [0, 1, 100, 7_000, 30_000, 200_000])
def test_text_of_any_length_is_read_whole_and_once(tmp_path: Path, lines: int) -> None:
    expected = [f"line {n}" for n in range(lines)]
    text = "".join(f"{line}\n" for line in expected).encode()
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(text, 1))
    for name in ("a.txt", "b.txt.gz"):
        assert read(TextDatasource(str(tmp_path / name)))["text"].to_pylist() == expected
    both = read(TextDatasource(str(tmp_path), include_paths=True))
    assert both["text"].to_pylist() == expected * 2 and both.column_names == ["text", "path"]
    source = TextDatasource(str(tmp_path / "a.txt"))
    pieces = list(source._read_stream(Dripping(text, 100_003), "a.txt"))
    assert [line for piece in pieces for line in piece["text"].to_pylist()] == expected


def test_many_small_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rayjup.data.datasource import plain_files

    for n in range(50):
        (tmp_path / f"{n:02}.txt").write_text(f"{n}\n\nend of {n}")
    expected = [line for n in range(50) for line in (str(n), f"end of {n}")]
    assert read(TextDatasource(str(tmp_path)))["text"].to_pylist() == expected
    monkeypatch.setattr(plain_files, "JOINED_BYTES", 100)
    assert read(TextDatasource(str(tmp_path)))["text"].to_pylist() == expected
    source = TextDatasource(str(tmp_path))
    (tmp_path / "07.txt").unlink()
    with pytest.raises(OSError, match=r"07\.txt"):
        read(source)


@pytest.mark.parametrize("rows", [1, 1_000, 60_000])
def test_csv_of_any_length_is_read_whole(tmp_path: Path, rows: int) -> None:
    text = ("n,s\n" + "".join(f"{n},text {n}\n" for n in range(rows))).encode()
    (tmp_path / "a.csv").write_bytes(text)
    source = CSVDatasource(str(tmp_path / "a.csv"))
    assert read(source)["n"].to_pylist() == list(range(rows))
    (table,) = source._read_stream(Dripping(text, 70_001), "a.csv")
    assert table["n"].to_pylist() == list(range(rows))


def test_binary_files_in_order_with_paths(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}").write_bytes(bytes([number]))
    (tmp_path / ".hidden").write_bytes(b"no")
    source = BinaryDatasource(str(tmp_path), include_paths=True)
    for parallelism in (1, 7, 200):
        tasks = source.get_read_tasks(parallelism)
        assert len(tasks) == min(parallelism, 100)
        table = concat([block for task in tasks for block in task()])
        assert [value[0] for value in table.column("bytes").to_pylist()] == list(range(100))
        assert table.column("path").to_pylist() == [str(tmp_path / f"{n:03}") for n in range(100)]
    assert len(list(source.get_read_tasks(1)[0]())) == 1  # joined to one block
    assert source.get_read_tasks(1)[0].metadata.input_files == tuple(source.paths())


def test_shuffled_files(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}").write_bytes(bytes([number]))

    def order(shuffle: Any) -> list[int]:
        source = BinaryDatasource(str(tmp_path), shuffle=shuffle)
        return [v[0] for v in read(source).column("bytes").to_pylist()]

    fixed = FileShuffleConfig(seed=1, reseed_after_execution=False)
    assert order(fixed) == order(fixed) != list(range(20))
    assert sorted(order("files")) == list(range(20))
    source = BinaryDatasource(str(tmp_path), shuffle=FileShuffleConfig(seed=1))
    assert read(source) != read(source)
    with pytest.raises(ValueError, match="neither 'files'"):
        BinaryDatasource(str(tmp_path), shuffle="rows")  # type: ignore[arg-type]


def test_numpy(tmp_path: Path) -> None:
    table = pa.table({"x": pa.array([1, 2, 3])})
    write(NumpyDatasink(str(tmp_path), "x"), table)
    assert read(NumpyDatasource(str(tmp_path))).to_pydict() == {"data": [1, 2, 3]}
    np.save(tmp_path / "t.npy", np.arange(12).reshape(3, 2, 2))
    tensors = read(NumpyDatasource(str(tmp_path / "t.npy")))
    assert np.array_equal(tensors.column("data").chunk(0).to_numpy(), np.arange(12).reshape(3, 2, 2))


def test_images(tmp_path: Path) -> None:
    from rayjup.data.extensions import ArrowTensorArray

    images = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3), dtype=np.uint8)
    table = pa.table({"image": ArrowTensorArray.from_numpy(images)})
    write(ImageDatasink(str(tmp_path / "i"), "image"), table)
    assert len(list((tmp_path / "i").glob("*.png"))) == 3
    back = read(ImageDatasource(str(tmp_path / "i")))
    assert np.array_equal(back.column("image").combine_chunks().to_numpy(), images)
    gray = read(ImageDatasource(str(tmp_path / "i"), size=(2, 3), mode="L"))
    assert gray.column("image").combine_chunks().to_numpy().shape == (3, 2, 3)
    Image.new("RGB", (7, 9)).save(tmp_path / "i" / "z.jpg")
    assert read(ImageDatasource(str(tmp_path / "i"))).num_rows == 4
    (tmp_path / "i" / "broken.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read: it is no image"):
        read(ImageDatasource(str(tmp_path / "i")))
    with pytest.raises(ValueError, match="no column 'nope'"):
        write(ImageDatasink(str(tmp_path / "j"), "nope"), table)


def test_avro(tmp_path: Path) -> None:
    import fastavro

    fields = [
        {"name": "a", "type": ["null", "long"]},
        {"name": "l", "type": {"type": "array", "items": "string"}},
    ]
    schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})
    rows = [{"a": 1, "l": ["x"]}, {"a": None, "l": []}]
    with (tmp_path / "f.avro").open("wb") as file:
        fastavro.writer(file, schema, rows)
    assert read(AvroDatasource(str(tmp_path))).to_pylist() == rows


def test_crc32c_is_the_standard_one() -> None:
    # From RFC 3720, appendix B.4.
    assert _in_python(b"\x00" * 32) == 0x8A9136AA
    assert _in_python(b"\xff" * 32) == 0x62A8AB43
    assert _in_python(bytes(range(32))) == 0x46DD794E
    assert _in_python(b"123456789") == 0xE3069283
    assert masked_crc32c(b"") == 0xA282EAD8


def test_tfrecords(tmp_path: Path) -> None:
    table = pa.table(
        {
            "i": [1, -2, None],
            "f": pa.array([0.5, None, 2.0], pa.float32()),
            "s": ["a", None, "é"],
            "b": [b"\x00", b"", b"x"],
            "l": [[1, 2], [], [2**62]],
            "t": [["a", "b"], ["c"], None],
        }
    )
    write(TFRecordDatasink(str(tmp_path)), table)
    back = read(TFRecordDatasource(str(tmp_path)))
    assert back.column("i").to_pylist() == [1, -2, None]
    assert back.column("f").to_pylist() == [0.5, None, 2.0]
    assert back.column("s").to_pylist() == [b"a", None, "é".encode()]
    assert back.column("b").to_pylist() == [b"\x00", b"", b"x"]
    assert back.column("l").to_pylist() == [[1, 2], [], [2**62]]
    assert back.column("t").to_pylist() == [[b"a", b"b"], [b"c"], []]
    with pytest.raises(ValueError, match="Column 'd' is of type"):
        write(TFRecordDatasink(str(tmp_path / "n")), pa.table({"d": [{"x": 1}]}))
    (file,) = tmp_path.glob("*.tfrecords")
    packed = tmp_path / "z" / "f.tfrecords.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read(TFRecordDatasource(str(packed))).equals(back)
    data = file.read_bytes()
    file.write_bytes(data[:-3])
    with pytest.raises(ValueError, match="cut off"):
        read(TFRecordDatasource(str(file)))
    file.write_bytes(struct.pack("<QI", 10**9, 0) + data)
    with pytest.raises(ValueError, match="fails its check"):
        read(TFRecordDatasource(str(file)))


def test_tfrecords_as_tensorflow_writes_them(tmp_path: Path) -> None:
    # An Example {"x": int64 list [7], "y": float list [1.5]} with unpacked numbers, as older writers made it.
    x = b"\x0a\x01x\x12\x04\x1a\x02\x08\x07"
    y = b"\x0a\x01y\x12\x07\x12\x05\x0d" + struct.pack("<f", 1.5)
    features = b"".join(b"\x0a" + bytes([len(e)]) + e for e in (x, y))
    example = b"\x0a" + bytes([len(features)]) + features
    head = struct.pack("<Q", len(example))
    crc = [struct.pack("<I", masked_crc32c(part)) for part in (head, example)]
    (tmp_path / "f.tfrecords").write_bytes(head + crc[0] + example + crc[1])
    assert read(TFRecordDatasource(str(tmp_path))).to_pylist() == [{"x": 7, "y": 1.5}]


def test_webdataset(tmp_path: Path) -> None:
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    rows = pa.Table.from_pylist(
        [{"__key__": f"{n:03}", "txt": f"text {n}", "cls": n, "json": '{"a": 1}'} for n in range(3)]
    )
    write(WebDatasetDatasink(str(tmp_path)), rows)
    (archive,) = tmp_path.glob("*.tar")
    with tarfile.open(archive) as opened:
        assert opened.getnames()[:3] == ["000.txt", "000.cls", "000.json"]
    back = read(WebDatasetDatasource(str(tmp_path)))
    assert back.column("txt").to_pylist() == ["text 0", "text 1", "text 2"]
    assert back.column("cls").to_pylist() == [0, 1, 2]
    raw = read(WebDatasetDatasource(str(tmp_path), decoder=None, suffixes=["txt"]))
    assert raw.to_pylist()[0] == {"__key__": "000", "txt": b"text 0"}
    with tarfile.open(tmp_path / "images.tar", "w") as opened:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "png")
        array = io.BytesIO()
        np.save(array, np.arange(3))
        members = {"d/k.seg.png": buffer.getvalue(), "d/k.npy": array.getvalue(), "d/k.json": b'{"q": 2}'}
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    sample = read(WebDatasetDatasource(str(tmp_path / "images.tar"), expand_json=True)).to_pylist()[0]
    assert sample["__key__"] == "d/k" and sample["q"] == 2
    assert np.array_equal(sample["seg.png"], image)
    renamed = read(WebDatasetDatasource(str(tmp_path / "images.tar"), filerename=[(r"\.seg\.png", ".jpg")]))
    assert "jpg" in renamed.column_names
    doubled = read(
        WebDatasetDatasource(
            str(archive), decoder=[True, lambda sample: {**sample, "cls": sample["cls"] * 2}]
        )
    )
    assert doubled.column("cls").to_pylist() == [0, 2, 4]


def test_partitions(tmp_path: Path) -> None:
    for year in (2023, 2024):
        for city in ("Ulm", "Bonn%2F"):
            folder = tmp_path / f"year={year}" / f"city={city}"
            folder.mkdir(parents=True)
            (folder / "f.csv").write_text("x\n1\n")
    hive = Partitioning("hive", base_dir=str(tmp_path), field_types={"year": int})  # type: ignore[arg-type]
    table = read(CSVDatasource(str(tmp_path), partitioning=hive))
    assert table.column("year").to_pylist() == [2023, 2023, 2024, 2024]
    assert set(table.column("city").to_pylist()) == {"Ulm", "Bonn/"}
    only = PathPartitionFilter.of(lambda values: values["year"] == "2024", base_dir=str(tmp_path))
    assert read(CSVDatasource(str(tmp_path), partition_filter=only, partitioning=hive)).num_rows == 2
    with pytest.raises(ValueError, match="No file is left"):
        CSVDatasource(str(tmp_path), partition_filter=PathPartitionFilter.of(lambda values: False))
    parser = PathPartitionParser(hive)
    path = str(tmp_path / "year=2024/city=Ulm/f.csv")
    assert parser.evaluate_predicate_on_partition(path, col("year") > 2023)
    assert not parser.evaluate_predicate_on_partition(path, (col("year") < 2024) & (col("city") == "Ulm"))
    assert parser.evaluate_predicate_on_partition(path, col("x") > 5)
    folders = PathPartitionParser.of("dir", "/b", ["y", "m"], {"m": int})  # type: ignore[arg-type]
    assert (
        folders("/b/2020/1/f") == {"y": "2020", "m": 1}
        and folders("/b/f") == {}
        and folders("/c/1/2/f") == {}
    )
    with pytest.raises(ValueError, match="1 directories deep"):
        folders("/b/2020/f")
    with pytest.raises(ValueError, match="'z' where the partitioning has 'y'"):
        PathPartitionParser.of("hive", "/b", ["y"])("/b/z=1/f")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="need names"):
        PathPartitionParser.of("dir", "/b")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'x' of 'm' is no int"):
        folders("/b/2020/x/f")


def test_modes_and_names(tmp_path: Path) -> None:
    target = str(tmp_path / "out")

    def rows() -> int:
        return read(CSVDatasource(target)).num_rows

    write(CSVDatasink(target), TABLE)
    write(CSVDatasink(target), TABLE)
    assert rows() == 6
    write(CSVDatasink(target, mode=SaveMode.IGNORE), TABLE)
    assert rows() == 6
    write(CSVDatasink(target, mode=SaveMode.OVERWRITE), TABLE)
    assert rows() == 3
    with pytest.raises(ValueError, match="exists already, and mode='error'"):
        write(CSVDatasink(target, mode=SaveMode.ERROR), TABLE)

    class Numbered(FilenameProvider):
        def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
            return f"part-{task_index}.{self.file_format}"

    write(
        CSVDatasink(target, filename_provider=Numbered(file_format="csv"), mode=SaveMode.OVERWRITE),
        TABLE,
        TABLE,
    )
    assert sorted(p.name for p in Path(target).iterdir()) == ["part-0.csv", "part-1.csv"]

    class Lines(RowBasedFileDatasink):
        def write_row_to_file(self, row: dict[str, Any], file: Any) -> None:
            file.write(str(row["a"]).encode())

    write(
        Lines(str(tmp_path / "rows"), file_format="txt", filename_provider=Numbered(file_format="txt")), TABLE
    )
    assert sorted(p.name for p in (tmp_path / "rows").iterdir())[0] == "part-0_000000_000000.txt"

    class Counted(BlockBasedFileDatasink):
        def write_block_to_file(self, block: Any, file: Any) -> None:
            file.write(str(block.num_rows()).encode())

    sink = Counted(str(tmp_path / "counted"), min_rows_per_file=5, file_format="n")
    assert sink.min_rows_per_write == 5 and sink.get_name() == "Counted"
    write(sink, TABLE)
    write(CSVDatasink(str(tmp_path / "nothing")), TABLE.slice(0, 0))
    assert not (tmp_path / "nothing").exists()


def test_paths(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/folder/a.csv", b"x\n1\n")
    assert read(CSVDatasource("memory://folder/a.csv")).num_rows == 1
    assert read(CSVDatasource("folder", filesystem=memory)).num_rows == 1
    memory.rm("/folder", recursive=True)
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.txt").write_text("no")
    assert read(CSVDatasource(str(tmp_path / "*.csv"))).num_rows == 1
    assert read(CSVDatasource(f"file://{tmp_path}")).num_rows == 1
    assert not CSVDatasource(f"local://{tmp_path}").supports_distributed_reads
    assert CSVDatasource(str(tmp_path)).supports_distributed_reads
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        CSVDatasource([str(tmp_path), str(tmp_path / "nowhere")])
    assert len(expand([str(tmp_path), str(tmp_path / "nowhere")], ignore_missing=True)[1]) == 2
    with pytest.raises(ValueError, match="the list of paths is empty"):
        CSVDatasource([])
    with pytest.raises(ValueError, match="scheme 'nonsense'"):
        resolve("nonsense://x")
    with pytest.raises(TypeError, match="not 3"):
        resolve("x", 3)


def test_examples(tmp_path: Path) -> None:
    table = read(CSVDatasource("example://iris.csv"))
    assert table.num_rows == 150
    assert table.column_names == ["sepal.length", "sepal.width", "petal.length", "petal.width", "variety"]
    assert set(table.column("variety").to_pylist()) == {"Setosa", "Versicolor", "Virginica"}
    assert read(JSONDatasource("example://iris.json")).num_rows == 150
    assert read(CSVDatasource("example://breast_cancer.csv")).num_columns == 31
    with pytest.raises(FileNotFoundError, match=r"there are iris\.csv"):
        resolve("example://nope.csv")
