"""ORC: read and written by pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink


class ORCDatasource(FileBasedDatasource):
    """ORC files, a stripe at a time.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    columns
        The columns to read.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("orc",)
    _ENCODING_RATIO = 3.0

    def __init__(
        self, paths: str | list[str], columns: list[str] | None = None, **file_based_datasource_kwargs: Any
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._columns = columns

    def _open_input_source(self, filesystem: Any, path: str, **open_args: Any) -> Any:
        return filesystem.open_input_file(path)

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        from pyarrow import orc

        reader = orc.ORCFile(f)
        if not reader.nstripes:
            schema = reader.schema
            if self._columns is not None:
                schema = pa.schema([schema.field(name) for name in self._columns])
            yield schema.empty_table()
        for number in range(reader.nstripes):
            yield pa.Table.from_batches([reader.read_stripe(number, columns=self._columns)])


class ORCDatasink(BlockBasedFileDatasink):
    """ORC files.

    Parameters
    ----------
    path
        The directory.
    arrow_orc_args_fn
        Called where the file is written; gives arguments for ``pyarrow.orc.write_table``.
    arrow_orc_args
        Such arguments.
    **file_datasink_kwargs
        As for ``BlockBasedFileDatasink``.
    """

    def __init__(
        self,
        path: str,
        *,
        arrow_orc_args_fn: Callable[[], dict[str, Any]] | None = None,
        arrow_orc_args: dict[str, Any] | None = None,
        **file_datasink_kwargs: Any,
    ) -> None:
        super().__init__(
            path, file_format=file_datasink_kwargs.pop("file_format", "orc"), **file_datasink_kwargs
        )
        self._args_fn = arrow_orc_args_fn
        self._args = dict(arrow_orc_args or {})

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block."""
        from pyarrow import orc

        args = {**self._args, **(self._args_fn() if self._args_fn is not None else {})}
        orc.write_table(block.to_arrow(), file, **args)
