"""Tables of Delta Sharing, through ``delta-sharing``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from rayjup.data.datasource.pieces import PiecesDatasource, need


class DeltaSharingDatasource(PiecesDatasource):
    """The files of a shared table, a file per piece.

    Parameters
    ----------
    url
        ``<profile file>#<share>.<schema>.<table>``.
    json_predicate_hints
        Conditions by which the server leaves out files.
    limit
        How many rows, about.
    version, timestamp
        The version of the table.
    """

    def __init__(
        self,
        url: str,
        json_predicate_hints: str | None = None,
        limit: int | None = None,
        version: int | None = None,
        timestamp: str | None = None,
    ) -> None:
        need("delta_sharing", "Delta Sharing", "delta-sharing")
        if limit is not None and limit < 0:
            raise ValueError(f"limit={limit} is negative.")
        self._url, self._hints, self._limit = url, json_predicate_hints, limit
        self._version, self._timestamp = version, timestamp
        self.setup_delta_sharing_connections(url)

    def setup_delta_sharing_connections(self, url: str) -> tuple[Any, Any]:
        """The table that a URL names, and a client for it."""
        protocol = need("delta_sharing.protocol", "Delta Sharing", "delta-sharing")
        rest = need("delta_sharing.rest_client", "Delta Sharing", "delta-sharing")
        profile, _, name = url.rpartition("#")
        parts = name.split(".")
        if not profile or len(parts) != 3:
            raise ValueError(f"{url!r} is not of the form <profile file>#<share>.<schema>.<table>.")
        table = protocol.Table(name=parts[2], share=parts[0], schema=parts[1])
        client = rest.DataSharingRestClient(protocol.DeltaSharingProfile.read_from_file(profile))
        self._table, self._client = table, client
        return table, client

    def estimate_inmemory_data_size(self) -> int | None:
        """Not known before."""
        return None

    def pieces(self, parallelism: int) -> Sequence[tuple[str, dict[str, str], str]]:
        """Links with the values of partitions, and the schema."""
        answer = self._client.list_files_in_table(
            self._table,
            jsonPredicateHints=self._hints,
            limitHint=self._limit,
            version=self._version,
            timestamp=self._timestamp,
        )
        schema = answer.metadata.schema_string
        return [(file.url, dict(file.partition_values or {}), schema) for file in answer.add_files]

    def read_piece(self, piece: tuple[str, dict[str, str], str]) -> Iterator[pa.Table]:
        """The rows of a file."""
        import json

        import fsspec
        from pyarrow import parquet

        url, values, schema = piece
        kinds = {field["name"]: field["type"] for field in json.loads(schema)["fields"]}
        with fsspec.open(url, "rb") as file:
            table = parquet.read_table(file)
        for name, text in values.items():
            value = pa.scalar(text if text else None, pa.string())
            kind = _KINDS.get(str(kinds.get(name)), pa.string())
            table = table.append_column(name, pa.repeat(value.cast(kind), table.num_rows))
        yield table


_KINDS = {
    "integer": pa.int32(),
    "long": pa.int64(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "double": pa.float64(),
    "float": pa.float32(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
}
