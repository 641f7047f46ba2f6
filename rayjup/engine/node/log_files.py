"""The log files of a node: their names, and pieces of their contents."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import Any

PIECE = 1 << 20
_BLOCK = 64 * 1024


def name_of(token: int) -> str:
    """The name of an executor's log file, without the ending."""
    return f"executor-{token}-{os.getpid()}"


def answer(directory: str, topic: str, options: dict[str, Any]) -> dict[str, Any]:
    """What is asked about the files in ``directory``: ``log_list``, ``log_read`` or ``log_remove``."""
    try:
        if topic == "log_list":
            return {"files": names(directory, options.get("glob") or "*")}
        if topic == "log_remove":
            return remove(directory, options["name"])
        return piece(directory, **options)
    except OSError as error:
        return {"error": f"{type(error).__name__}: {error.strerror or error}"}


def names(directory: str, pattern: str) -> list[str]:
    """The files whose name matches, in order."""
    found = []
    for root, _, files in os.walk(directory):
        for file in files:
            name = os.path.relpath(os.path.join(root, file), directory)
            if fnmatch.fnmatch(name, pattern):
                found.append(name)
    return sorted(found)


def piece(
    directory: str, name: str, start: int | None = None, end: int | None = None, lines: int | None = None
) -> dict[str, Any]:
    """A part of a file: from byte ``start`` on, or its last ``lines``; at most ``PIECE`` bytes.

    Returns ``data``, where it begins (``start``), where to go on (``next``) and the file's ``size``.
    """
    path = _inside(directory, name)
    if path is None:
        return {"error": f"{name!r} lies outside of the node's log directory"}
    if not path.is_file():
        return {"missing": True}
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if start is None:
            start = _start_of_last(file, size, lines) if lines is not None and lines >= 0 else 0
        elif start > size and end is None:
            start = 0  # a new file was begun since
        file.seek(start)
        stop = size if end is None else min(end, size)
        data = file.read(max(0, min(PIECE, stop - start)))
    return {"data": data, "start": start, "next": start + len(data), "size": size}


def remove(directory: str, name: str) -> dict[str, Any]:
    """Remove a file; whether it was there."""
    path = _inside(directory, name)
    if path is None:
        return {"error": f"{name!r} lies outside of the node's log directory"}
    if not path.is_file():
        return {"missing": True}
    path.unlink()
    return {"missing": False}


def _inside(directory: str, name: str) -> Path | None:
    path = Path(directory, name).resolve()
    return path if path.is_relative_to(Path(directory).resolve()) else None


def _start_of_last(file: Any, size: int, lines: int) -> int:
    """Where the last ``lines`` lines begin."""
    if lines == 0:
        return size
    wanted = lines
    position = size
    first = True
    while position > 0:
        begin = max(0, position - _BLOCK)
        file.seek(begin)
        block = file.read(position - begin)
        if first and block.endswith(b"\n"):
            wanted += 1  # the line break that ends the file begins no line
        first = False
        count = block.count(b"\n")
        if count >= wanted:
            index = len(block)
            for _ in range(wanted):
                index = block.rindex(b"\n", 0, index)
            return int(begin + index + 1)
        wanted -= count
        position = begin
    return 0
