"""CSV: read and written by pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.file_based import FileBasedDatasource, read_most
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink

# A file up to this size is read whole, so that the types of columns are found from all of it.
_WHOLE = 256 * 1024 * 1024
_STEP = 32 * 1024 * 1024
_FIRST = 256 * 1024


class CSVDatasource(FileBasedDatasource):
    """CSV files.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    arrow_csv_args
        ``read_options``, ``parse_options``, ``convert_options`` of ``pyarrow.csv``.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("csv", "csv.gz", "csv.br", "csv.zst", "csv.lz4", "csv.bz2")
    _ENCODING_RATIO = 1.5

    def __init__(
        self,
        paths: str | list[str],
        arrow_csv_args: dict[str, Any] | None = None,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._args = dict(arrow_csv_args or {})

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        from pyarrow import csv

        read_options, rest = self._options(csv)
        head = read_most(f, _WHOLE + 1, _FIRST)
        if not head.strip():
            yield pa.table({})
            return
        if len(head) <= _WHOLE:
            read_options.block_size = max(read_options.block_size or 0, 4 * 1024 * 1024)
            if len(head) < _FIRST:
                read_options.use_threads = False  # waking them takes longer than the work
            yield csv.read_csv(pa.BufferReader(head), read_options=read_options, **rest)
            return
        yield from self._in_steps(csv, path, read_options, rest)

    def _options(self, csv: Any) -> tuple[Any, dict[str, Any]]:
        given = self._args.get("read_options")
        read_options = csv.ReadOptions() if given is None else given
        copy = csv.ReadOptions(
            use_threads=read_options.use_threads,
            block_size=read_options.block_size,
            skip_rows=read_options.skip_rows,
            skip_rows_after_names=read_options.skip_rows_after_names,
            column_names=read_options.column_names or None,
            autogenerate_column_names=read_options.autogenerate_column_names,
            encoding=read_options.encoding,
        )
        return copy, {key: value for key, value in self._args.items() if key != "read_options"}

    def _in_steps(self, csv: Any, path: str, read_options: Any, rest: dict[str, Any]) -> Iterator[pa.Table]:
        """A large file, block by block; where a type turns out too narrow, the rest is read whole."""
        read_options.block_size = max(read_options.block_size or 0, _STEP)
        rows = 0
        try:
            with (
                self._open_input_source(self._filesystem, path, **self._open_stream_args) as stream,
                csv.open_csv(stream, read_options=read_options, **rest) as reader,
            ):
                for batch in reader:
                    rows += batch.num_rows
                    yield pa.Table.from_batches([batch])
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
            with self._open_input_source(self._filesystem, path, **self._open_stream_args) as stream:
                yield csv.read_csv(stream, read_options=read_options, **rest).slice(rows)


class CSVDatasink(BlockBasedFileDatasink):
    """CSV files.

    Parameters
    ----------
    path
        The directory.
    arrow_csv_args_fn
        Called where the file is written; gives arguments for ``pyarrow.csv.write_csv``.
    arrow_csv_args
        Such arguments.
    **file_datasink_kwargs
        As for ``BlockBasedFileDatasink``.
    """

    def __init__(
        self,
        path: str,
        *,
        arrow_csv_args_fn: Callable[[], dict[str, Any]] | None = None,
        arrow_csv_args: dict[str, Any] | None = None,
        **file_datasink_kwargs: Any,
    ) -> None:
        super().__init__(
            path, file_format=file_datasink_kwargs.pop("file_format", "csv"), **file_datasink_kwargs
        )
        self._args_fn = arrow_csv_args_fn
        self._args = dict(arrow_csv_args or {})

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block."""
        from pyarrow import csv

        args = {**self._args, **(self._args_fn() if self._args_fn is not None else {})}
        csv.write_csv(_plain(block.to_arrow()), file, **args)


def _plain(table: pa.Table) -> pa.Table:
    """Columns that CSV has no form for, as text: lists, records, tensors."""
    import json

    for place, column in enumerate(table.columns):
        kind = column.type
        if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
            texts = [None if value is None else json.dumps(_listed(value)) for value in column.to_pylist()]
            table = table.set_column(place, table.column_names[place], pa.array(texts, pa.string()))
    return table


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
