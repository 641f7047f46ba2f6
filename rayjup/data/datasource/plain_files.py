"""Files of text, of bytes, and of NumPy arrays."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.file_based import JOINED_BYTES, FileBasedDatasource, about
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink

_STEP = 32 * 1024 * 1024
_FIRST = 256 * 1024  # asking for much costs time even where there is little
_SMALL = 1024 * 1024


class TextDatasource(FileBasedDatasource):
    """Text files; a row per line, in column ``text``.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    drop_empty_lines
        Whether to leave out lines with nothing but white space.
    encoding
        How text is encoded.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    def __init__(
        self,
        paths: str | list[str],
        *,
        drop_empty_lines: bool = True,
        encoding: str = "utf-8",
        **file_based_datasource_kwargs: Any,
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._drop_empty_lines = drop_empty_lines
        self._encoding = encoding

    def _read_files(self, files: list[tuple[str, int | None]]) -> Iterator[pa.Table]:
        if type(self) is TextDatasource and self._are_plain(files, _SMALL):
            return self._read_small([path for path, _ in files])
        return super()._read_files(files)

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        decode = codecs.getincrementaldecoder(self._encoding)().decode
        step = _FIRST
        rest, data = "", f.read(step)
        while True:
            step = min(8 * step, _STEP)
            following = f.read(step) if data else b""
            text = rest + decode(data, not following)
            cut = text.rfind("\n") + 1 if following else len(text)
            rest = text[cut:]
            yield self._block(text[:cut].splitlines())
            if not following:
                return
            data = following

    def _read_small(self, files: list[str]) -> Iterator[pa.Table]:
        lines: list[str] = []
        size = 0
        for path in files:
            try:
                with open(path, "rb", buffering=0) as file:
                    data = file.read()
                lines += data.decode(self._encoding).splitlines()
            except (OSError, ValueError) as error:
                raise about(error, path) from error
            size += len(data)
            if size > JOINED_BYTES:
                yield self._block(lines)
                lines, size = [], 0
        yield self._block(lines)

    def _block(self, lines: list[str]) -> pa.Table:
        if self._drop_empty_lines:
            lines = [line for line in lines if line.strip()]
        return pa.table([pa.array(lines, pa.string())], names=["text"])


class BinaryDatasource(FileBasedDatasource):
    """Whole files as bytes, in column ``bytes``."""

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        yield pa.table({"bytes": pa.array([f.read()], pa.binary())})


class NumpyDatasource(FileBasedDatasource):
    """``.npy`` files; a row per element along the first axis, in column ``data``.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    numpy_load_args
        For ``numpy.load``.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = ("npy",)

    def __init__(
        self,
        paths: str | list[str],
        numpy_load_args: dict[str, Any] | None = None,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._args = dict(numpy_load_args or {})

    def _read_stream(self, f: Any, path: str) -> Iterator[dict[str, np.ndarray]]:
        array = np.load(io.BytesIO(f.read()), **self._args)
        yield {"data": array if array.ndim else array[None]}


class NumpyDatasink(BlockBasedFileDatasink):
    """``.npy`` files with one column of a dataset.

    Parameters
    ----------
    path
        The directory.
    column
        The column.
    **file_datasink_kwargs
        As for ``BlockBasedFileDatasink``.
    """

    def __init__(self, path: str, column: str, **file_datasink_kwargs: Any) -> None:
        super().__init__(
            path, file_format=file_datasink_kwargs.pop("file_format", "npy"), **file_datasink_kwargs
        )
        self._column = column

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write the column of a block."""
        buffer = io.BytesIO()
        np.save(buffer, block.to_numpy(self._column))
        file.write(buffer.getbuffer())
