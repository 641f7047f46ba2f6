"""Avro, read by fastavro."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from rayjup.data.datasource.file_based import FileBasedDatasource

_ROWS = 10_000


class AvroDatasource(FileBasedDatasource):
    """Avro files."""

    _FILE_EXTENSIONS = ("avro",)
    _ENCODING_RATIO = 3.0

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        try:
            import fastavro
        except ImportError as error:
            raise ImportError("Avro files need fastavro; install it with: pip install fastavro") from error

        from rayjup.data.block.convert import rows_to_table

        rows: list[Any] = []
        for record in fastavro.reader(f):
            rows.append(record)
            if len(rows) >= _ROWS:
                yield rows_to_table(rows)
                rows = []
        if rows:
            yield rows_to_table(rows)
