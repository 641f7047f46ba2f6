"""Files of text, of bytes, and of NumPy arrays."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink

_STEP = 32 * 1024 * 1024
_FIRST = 256 * 1024
_SMALL = 1 << 16


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

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        head = f.read(_SMALL)
        if len(head) < _SMALL and not (more := f.read(_SMALL)):
            lines = head.decode(self._encoding).split("\n")
            if self._drop_empty_lines:
                lines = [line for line in lines if line.strip()]
            yield pa.table([pa.array(lines, pa.string())], names=["text"])
            return
        if len(head) < _SMALL:
            head += more
        head = f.read(_FIRST)
        if len(head) < _FIRST:
            yield self._block(head.decode(self._encoding).split("\n"), last=True)
            return
        f = _Joined(head, f)
        reader = io.TextIOWrapper(io.BufferedReader(_Raw(f, head)), encoding=self._encoding, newline="")
        rest = ""
        while True:
            part = reader.read(_STEP)
            lines = (rest + part).split("\n")
            rest = lines.pop() if part else ""
            yield self._block(lines, last=not part)
            if not part:
                return

    def _block(self, lines: list[str], last: bool) -> pa.Table:
        if self._drop_empty_lines:
            lines = [line for line in lines if line.strip()]
        elif last and lines and not lines[-1]:
            lines = lines[:-1]  # the end of the last line begins no other
        return pa.table({"text": pa.array(lines, pa.string())})


class _Joined:
    """A file whose beginning has been read already."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head, self._file = head, file

    def read(self, size: int) -> bytes:
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._file.read(size)


class _Raw(io.RawIOBase):
    """A file of pyarrow as one of Python's, for decoding."""

    def __init__(self, file: Any, head: bytes) -> None:
        self._file, self._head = file, head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        data = data or self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


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
