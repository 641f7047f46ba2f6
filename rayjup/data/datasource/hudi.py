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
        self._hudi, self._storage = dict(hudi_options or {}), dict(storage_options or {})

    def _read_options(self) -> Any:
        hudi = need("hudi", "Hudi")
        options = hudi.HudiReadOptions(filters=self._filters or None, hudi_options=self._hudi or None)
        if not self._incremental:
            return options
        options = options.with_query_type(hudi.HudiQueryType.Incremental)
        start = self._hudi.get("hoodie.read.file_group.start_timestamp")
        end = self._hudi.get("hoodie.read.file_group.end_timestamp")
        options = options if start is None else options.with_start_timestamp(start)
        return options if end is None else options.with_end_timestamp(end)

    def _table(self) -> Any:
        builder = need("hudi", "Hudi").HudiTableBuilder.from_base_uri(self._uri)
        return builder.with_hudi_options(self._hudi).with_storage_options(self._storage).build()

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def pieces(self, parallelism: int) -> Sequence[tuple[str, list[str]]]:
        """A base file with the logs of what changed since, each."""
        slices = self._table().get_file_slices(self._read_options())
        return [(one.base_file_relative_path(), list(one.log_files_relative_paths())) for one in slices]

    def read_piece(self, piece: tuple[str, list[str]]) -> Iterator[pa.Table]:
        """The rows of a base file with its changes."""
        reader = self._table().create_file_group_reader_with_options(self._read_options())
        made = reader.read_file_slice_from_paths(*piece)
        yield made if isinstance(made, pa.Table) else pa.Table.from_batches([pa.record_batch(made)])
