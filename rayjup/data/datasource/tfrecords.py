"""TFRecords of ``tf.train.Example``: the file format and the message, without TensorFlow.

A file is a sequence of records: length (8 bytes, little endian), masked CRC-32C of the length, the data,
masked CRC-32C of the data. The data is a protocol buffer: a map from names to features, each of them a
list of bytes, of floats or of integers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.crc32c import masked_crc32c
from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink

_ROWS = 20_000
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3  # the fields of a Feature
_TYPES = {_BYTES: pa.binary(), _FLOATS: pa.float32(), _INTEGERS: pa.int64()}


class TFRecordDatasource(FileBasedDatasource):
    """TFRecord files with ``tf.train.Example`` records; a column per feature.

    A feature with one value in every record of a block becomes a plain column, others a column of lists.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    tf_schema
        A ``Schema`` message of TensorFlow Metadata; its types hold for features without values.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("tfrecords", "tfrecord", "tfrecords.gz", "tfrecord.gz")

    def __init__(
        self, paths: str | list[str], tf_schema: Any = None, **file_based_datasource_kwargs: Any
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._kinds = declared_kinds(tf_schema)

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        records: list[dict[str, tuple[int, list[Any]]]] = []
        for number, data in enumerate(read_records(f, path)):
            try:
                records.append(parse_example(data))
            except (IndexError, ValueError, struct.error) as error:
                raise ValueError(f"record {number} is no tf.train.Example message: {error}") from error
            if len(records) >= _ROWS:
                yield to_block(records, self._kinds)
                records = []
        if records:
            yield to_block(records, self._kinds)


def declared_kinds(tf_schema: Any) -> dict[str, int]:
    """The kinds of features that a schema of TensorFlow Metadata declares."""
    if tf_schema is None:
        return {}
    # FeatureType there: BYTES 1, INT 2, FLOAT 3.
    kinds = {1: _BYTES, 2: _INTEGERS, 3: _FLOATS}
    return {feature.name: kinds[feature.type] for feature in tf_schema.feature if feature.type in kinds}


def read_records(f: Any, path: str) -> Iterator[bytes]:
    """The data of each record of an open file."""
    while True:
        head = f.read(12)
        if not head:
            return
        if len(head) < 12:
            raise ValueError(f"{path} ends within a record: it is cut off, or no TFRecord file.")
        length, check = struct.unpack("<QI", head)
        if masked_crc32c(head[:8]) != check:
            raise ValueError(
                f"{path} is no TFRecord file, or damaged: the length of a record fails its check."
            )
        data = f.read(length + 4)
        if len(data) < length + 4:
            raise ValueError(f"{path} ends within a record of {length} bytes: it is cut off.")
        yield data[:length]


def write_record(file: Any, data: bytes) -> None:
    """Write one record."""
    head = struct.pack("<Q", len(data))
    file.write(b"".join([head, _word(masked_crc32c(head)), data, _word(masked_crc32c(data))]))


def _word(value: int) -> bytes:
    return struct.pack("<I", value)


# The message. Wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and content of each field of a message."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("a field reaches beyond its message")
            yield number, wire, data[at : at + size]
            at += size
        elif wire == 0:
            value, at = _varint(data, at)
            yield number, wire, value
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            yield number, wire, data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire} does not exist")


def parse_example(data: bytes) -> dict[str, tuple[int, list[Any]]]:
    """The features of an Example: kind (0 where it says nothing) and values by name."""
    features: dict[str, tuple[int, list[Any]]] = {}
    for number, _, content in _fields(data):
        if number != 1:
            continue
        for inner, _, entry in _fields(content):
            if inner != 1:
                continue
            name, feature = "", b""
            for place, _, part in _fields(entry):
                if place == 1:
                    name = part.decode()
                elif place == 2:
                    feature = part
            features[name] = _parse_feature(feature)
    return features


def _parse_feature(data: bytes) -> tuple[int, list[Any]]:
    for kind, _, content in _fields(data):
        values: list[Any] = []
        for number, wire, part in _fields(content):
            if number != 1:
                continue
            if kind == _BYTES:
                values.append(part)
            elif kind == _FLOATS:
                values.extend(np.frombuffer(part, "<f4").tolist())
            elif wire == 0:
                values.append(_signed(part))
            else:
                at = 0
                while at < len(part):
                    value, at = _varint(part, at)
                    values.append(_signed(value))
        return kind, values
    return 0, []


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def to_block(records: list[dict[str, tuple[int, list[Any]]]], kinds: dict[str, int]) -> pa.Table:
    """A block with a column per feature."""
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {}
    for name in names:
        features = [record.get(name, (0, [])) for record in records]
        kind = kinds.get(name) or max(found for found, _ in features)
        values = [found for _, found in features]
        item = _TYPES.get(kind, pa.null())
        if all(len(value) <= 1 for value in values):
            columns[name] = pa.array([value[0] if value else None for value in values], item)
        else:
            columns[name] = pa.array(values, pa.list_(item))
    return pa.table(columns)


class TFRecordDatasink(BlockBasedFileDatasink):
    """TFRecord files with a ``tf.train.Example`` per row.

    Parameters
    ----------
    path
        The directory.
    tf_schema
        A ``Schema`` message of TensorFlow Metadata; its types hold for columns without values.
    **file_datasink_kwargs
        As for ``BlockBasedFileDatasink``.
    """

    def __init__(self, path: str, tf_schema: Any = None, **file_datasink_kwargs: Any) -> None:
        file_format = file_datasink_kwargs.pop("file_format", "tfrecords")
        super().__init__(path, file_format=file_format, **file_datasink_kwargs)
        self._kinds = declared_kinds(tf_schema)

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block."""
        table = block.to_arrow()
        kinds = {
            name: self._kinds.get(name) or kind_of(table.schema.field(name).type, name)
            for name in table.column_names
        }
        for row in block.iter_rows(public_row_format=False):
            write_record(file, serialize_example(row, kinds))


def kind_of(arrow_type: pa.DataType, name: str) -> int:
    """The kind of feature for a column."""
    while (
        pa.types.is_list(arrow_type)
        or pa.types.is_large_list(arrow_type)
        or pa.types.is_fixed_size_list(arrow_type)
        or hasattr(arrow_type, "shape")
    ):
        arrow_type = arrow_type.value_type
    if pa.types.is_integer(arrow_type) or pa.types.is_boolean(arrow_type):
        return _INTEGERS
    if pa.types.is_floating(arrow_type):
        return _FLOATS
    if pa.types.is_null(arrow_type):
        return 0
    if any(
        check(arrow_type)
        for check in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
        )
    ):
        return _BYTES
    raise ValueError(
        f"Column {name!r} is of type {arrow_type}; an Example holds bytes, text, integers, floats and "
        "lists of them. Convert or drop the column before."
    )


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return b"".join([_as_varint(number << 3 | 2), _as_varint(len(content)), content])


def serialize_example(row: dict[str, Any], kinds: dict[str, int]) -> bytes:
    """The Example message of a row."""
    entries = []
    for name, value in row.items():
        kind = kinds[name]
        feature = b"" if not kind or value is None else _field(kind, _values(value, kind))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
    return _field(1, b"".join(entries))


def _values(value: Any, kind: int) -> bytes:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist() if kind != _BYTES else list(value.reshape(-1))
    items = value if isinstance(value, (list, tuple)) else [value]
    if kind == _FLOATS:
        return _field(1, np.asarray(items, dtype="<f4").tobytes())
    if kind == _INTEGERS:
        return _field(1, b"".join(_as_varint(int(item) & 0xFFFFFFFFFFFFFFFF) for item in items))
    return b"".join(_field(1, item.encode() if isinstance(item, str) else bytes(item)) for item in items)
