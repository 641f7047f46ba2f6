"""The journal of an experiment: one file to which everything is appended that is needed to go on.

A batch of records is a header (length and checksum) and a pickle, written in one call, once per turn of the
driver. Whatever moment the driver is killed at, the file is good up to the last whole batch; what comes
after that is cut off when it is opened again. It is not synced to the disk: it has to survive the driver,
not the machine.
"""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Iterator
from typing import Any

FILE = "experiment.journal"
_HEADER = struct.Struct("<II")
Record = tuple[Any, ...]


class Journal:
    """Appends records to a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(os.path.dirname(path), exist_ok=True)
        good = _length_of_whole_batches(path)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the experiment runs
        if good is not None and good < os.path.getsize(path):
            self._file.truncate(good)
        self._records: list[Record] = []

    def add(self, *record: Any) -> None:
        """Write a record with the next `flush`."""
        self._records.append(record)

    def flush(self) -> None:
        """Write the records that wait; they go on waiting when that raises OSError."""
        if not self._records:
            return
        records, self._records = self._records, []
        data = _dumps(records)
        whole = _HEADER.pack(len(data), zlib.crc32(data)) + data
        good = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(whole)
            while written is not None and written < len(whole):
                whole = whole[written:]
                written = self._file.write(whole)
        except OSError:  # a full disk: the next flush tries again
            self._file.truncate(good)
            self._records = records + self._records
            raise

    def close(self) -> None:
        """Write what waits and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()


def _dumps(records: list[Record]) -> bytes:
    try:
        return pickle.dumps(records, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        data: bytes = cloudpickle.dumps(records, protocol=5)
        return data


def read(path: str) -> Iterator[Record]:
    """All records up to the last whole batch."""
    with open(path, "rb") as file:
        while (batch := _next_batch(file)) is not None:
            yield from pickle.loads(batch)


def _next_batch(file: Any) -> bytes | None:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    data: bytes = file.read(length)
    if len(data) < length or zlib.crc32(data) != checksum:
        return None
    return data


def _length_of_whole_batches(path: str) -> int | None:
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        good = 0
        while _next_batch(file) is not None:
            good = file.tell()
        return good
