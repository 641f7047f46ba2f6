"""Hudi tables, through ``hudi``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayjup.data.datasource.pieces import PiecesDatasource, need


class HudiDatasource(PiecesDatasource):
    """The file slices of a table.

    Parameters
    ----------
    table_uri
        Where the table is.
    query_type
        ``snapshot`` or ``incremental``.
    filters
        Triples of column, operator and value, for snapshots.
    hudi_options, storage_options
        For the reader, and for the storage.
    """

    def __init__(
        self,
        table_uri: str,
        query_type: str = "snapshot",
        filters: list[tuple[str, str, str]] | None = None,
        hudi_options: dict[str, str] | None = None,
        storage_options: dict[str, str] | None = None,
    ) -> None:
        need("hudi", "Hudi")
        if query_type not in ("snapshot", "incremental"):
            raise ValueError(f"query_type={query_type!r} is neither 'snapshot' nor 'incremental'.")
        self._uri, self._filters = table_uri, list(filters or [])
        self._incremental = query_type == "incremental"
        self._options = {**(hudi_options or {}), **(storage_options or {})}

    def _table(self) -> Any:
        builder = need("hudi", "Hudi").HudiTableBuilder.from_base_uri(self._uri)
        return builder.with_options(self._options).build()

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def pieces(self, parallelism: int) -> Sequence[str]:
        """The files that have to be read."""
        table = self._table()
        if self._incremental:
            start = self._options.get("hoodie.read.file_group.start_timestamp")
            end = self._options.get("hoodie.read.file_group.end_timestamp")
            slices = table.get_file_slices_between(start, end)
        else:
            slices = table.get_file_slices(self._filters)
        return [one.base_file_relative_path() for one in slices]

    def read_piece(self, piece: str) -> Iterator[pa.Table]:
        """The rows of a file."""
        reader = need("hudi", "Hudi").HudiFileGroupReader(self._uri, self._options)
        yield pa.Table.from_batches([reader.read_file_slice_by_base_file_path(piece)])
