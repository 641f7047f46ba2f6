"""JSON: one object per line, or an array of objects."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.file_based import FileBasedDatasource
from rayjup.data.datasource.file_datasink import BlockBasedFileDatasink

_STEP = 64 * 1024 * 1024


class JSONDatasource(FileBasedDatasource):
    """JSON files: an object per line, an array of objects, or one object.

    Parameters
    ----------
    paths
        Files, directories, URIs.
    is_jsonl
        Whether there is one object per line for certain; large files are then read in steps.
    arrow_json_args
        ``read_options`` and ``parse_options`` of ``pyarrow.json``.
    **file_based_datasource_kwargs
        As for ``FileBasedDatasource``.
    """

    _FILE_EXTENSIONS = (
        "json",
        "jsonl",
        *(f"{k}.{c}" for k in ("json", "jsonl") for c in ("gz", "br", "zst", "lz4")),
    )
    _ENCODING_RATIO = 1.0

    def __init__(
        self,
        paths: str | list[str],
        *,
        is_jsonl: bool = False,
        arrow_json_args: dict[str, Any] | None = None,
        **file_based_datasource_kwargs: Any,
    ) -> None:
        super().__init__(paths, **file_based_datasource_kwargs)
        self._is_jsonl = is_jsonl
        self._args = dict(arrow_json_args or {})

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        rest = b""
        while True:
            part = f.read(_STEP)
            text = rest + part
            if not part:
                break
            if not self._in_lines(text, path):
                rest = text  # an array, or one object: it has to be read whole
                continue
            cut = text.rfind(b"\n") + 1
            if not cut:
                rest = text
                continue
            yield self._parse(text[:cut])
            rest = text[cut:]
        if rest.strip():
            yield self._parse(rest)

    def _in_lines(self, text: bytes, path: str) -> bool:
        if self._is_jsonl or ".jsonl" in path.lower():
            return True
        first = text.lstrip()[:1]
        if first != b"{":
            return False
        line = text.lstrip().partition(b"\n")[0]
        try:
            json.loads(line)
        except ValueError:
            return False
        return True

    def _parse(self, text: bytes) -> pa.Table:
        from pyarrow import json as pajson

        from rayjup.data.block.convert import rows_to_table

        if text.lstrip()[:1] == b"{":
            args = dict(self._args)
            if "read_options" not in args:
                # One block, so that a value may be as long as it likes.
                args["read_options"] = pajson.ReadOptions(
                    block_size=min(2**31 - 1, max(len(text) + 1, 1 << 20))
                )
            try:
                return pajson.read_json(pa.BufferReader(text), **args)
            except pa.ArrowInvalid:
                pass  # mixed types, or an object over several lines: Python reads both
        return rows_to_table(self._rows(text))

    def _rows(self, text: bytes) -> list[dict[str, Any]]:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            if "Extra data" not in error.msg:
                raise ValueError(f"it is no JSON: {error}") from None
            value = []
            for number, line in enumerate(text.splitlines(), 1):
                if line.strip():
                    try:
                        value.append(json.loads(line))
                    except json.JSONDecodeError as bad:
                        raise ValueError(f"line {number} is no JSON: {bad}") from None
        rows = value if isinstance(value, list) else [value]
        return [row if isinstance(row, dict) else {"value": row} for row in rows]


class JSONDatasink(BlockBasedFileDatasink):
    """JSON files with one object per line.

    Parameters
    ----------
    path
        The directory.
    pandas_json_args_fn
        Called where the file is written; gives arguments for ``DataFrame.to_json``, which then writes.
    pandas_json_args
        Such arguments.
    **file_datasink_kwargs
        As for ``BlockBasedFileDatasink``.
    """

    def __init__(
        self,
        path: str,
        *,
        pandas_json_args_fn: Callable[[], dict[str, Any]] | None = None,
        pandas_json_args: dict[str, Any] | None = None,
        **file_datasink_kwargs: Any,
    ) -> None:
        super().__init__(
            path, file_format=file_datasink_kwargs.pop("file_format", "json"), **file_datasink_kwargs
        )
        self._args_fn = pandas_json_args_fn
        self._args = dict(pandas_json_args or {})

    def write_block_to_file(self, block: BlockAccessor, file: Any) -> None:
        """Write a block."""
        args = {**self._args, **(self._args_fn() if self._args_fn is not None else {})}
        if args:
            args = {"orient": "records", "lines": args.get("orient", "records") == "records", **args}
            args.setdefault("date_format", "iso")
            file.write(block.to_pandas().to_json(**args).encode())
            return
        for start in range(0, block.num_rows(), 4096):
            rows = BlockAccessor.for_block(block.slice(start, min(start + 4096, block.num_rows()))).iter_rows(
                True
            )
            lines = [json.dumps(row, default=as_json, ensure_ascii=False) + "\n" for row in rows]
            file.write("".join(lines).encode())


def as_json(value: Any) -> Any:
    """A value that JSON has no form for, in one that it has."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (set, tuple)):
        return list(value)
    raise TypeError(f"{value!r} (a {type(value).__name__}) has no form in JSON; convert the column before.")
