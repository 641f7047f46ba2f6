"""MCAP files (recordings of robots), through ``mcap``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.pieces import need

_ROWS = 5_000


@dataclass(frozen=True)
class TimeRange:
    """Moments in nanoseconds: from ``start_time``, before ``end_time``."""

    start_time: int
    end_time: int

    def __post_init__(self) -> None:
        if self.start_time < 0 or self.end_time <= self.start_time:
            raise ValueError(f"A time range begins at 0 or later and ends after that, not {self}.")


class MCAPDatasource(FileBasedDatasource):
    """The messages of MCAP files, a row each.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    topics, message_types
        Which messages; all by default.
    time_range
        When they were logged.
    include_metadata
        Whether to add columns about channel, schema and time.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("mcap",)

    def __init__(
        self,
        paths: str | list[str],
        topics: list[str] | set[str] | None = None,
        time_range: TimeRange | tuple[int, int] | None = None,
        message_types: list[str] | set[str] | None = None,
        include_metadata: bool = True,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        need("mcap", "MCAP files")
        super().__init__(paths, **file_based_datasource_kwargs)
        self._topics = None if topics is None else sorted(topics)
        self._range = TimeRange(*time_range) if isinstance(time_range, tuple) else time_range
        self._types = None if message_types is None else set(message_types)
        self._metadata = include_metadata

    def _open_input_source(self, filesystem: Any, path: str, **open_args: Any) -> Any:
        return filesystem.open_input_file(path)

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        from rayjup.data.block.convert import rows_to_table

        reader = need("mcap.reader", "MCAP files", "mcap").make_reader(f)
        start = None if self._range is None else self._range.start_time
        end = None if self._range is None else self._range.end_time
        rows = []
        for schema, channel, message in reader.iter_messages(self._topics, start, end):
            if self._types is not None and (schema is None or schema.name not in self._types):
                continue
            rows.append(self._row(schema, channel, message))
            if len(rows) >= _ROWS:
                yield rows_to_table(rows)
                rows = []
        if rows:
            yield rows_to_table(rows)

    def _row(self, schema: Any, channel: Any, message: Any) -> dict[str, Any]:
        data: Any = message.data
        if channel.message_encoding == "json":
            data = json.loads(data)
        row = {
            "data": data,
            "topic": channel.topic,
            "log_time": message.log_time,
            "publish_time": message.publish_time,
            "sequence": message.sequence,
        }
        if self._metadata:
            row |= {
                "channel_id": channel.id,
                "message_encoding": channel.message_encoding,
                "schema_name": None if schema is None else schema.name,
                "schema_encoding": None if schema is None else schema.encoding,
                "schema_data": None if schema is None else schema.data,
            }
        return row
