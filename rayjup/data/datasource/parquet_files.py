"""Paths of Parquet files: directories listed, URIs resolved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.fs as pafs


def list_files(
    paths: Sequence[str],
    filesystem: Any,
    extensions: Sequence[str] | None = ("parquet",),
    missing_ok: bool = False,
) -> tuple[Any, list[str]]:
    """The filesystem, and the files below the paths, in order of their names.

    Raises
    ------
    FileNotFoundError
        A path does not exist.
    """
    files: list[str] = []
    for path in paths:
        filesystem, inner = resolve(path, filesystem)
        info = filesystem.get_file_info(inner)
        if info.type == pafs.FileType.NotFound:
            if missing_ok:
                continue
            raise FileNotFoundError(f"read_parquet: {path!r} does not exist.")
        if info.type == pafs.FileType.Directory:
            files += _below(filesystem, inner, extensions)
        else:
            files.append(inner)
    return filesystem or pafs.LocalFileSystem(), files


def _below(filesystem: Any, path: str, extensions: Sequence[str] | None) -> list[str]:
    found = []
    for info in filesystem.get_file_info(pafs.FileSelector(path, recursive=True)):
        name = info.base_name
        if info.type != pafs.FileType.File or name.startswith((".", "_")):
            continue
        if extensions is None or any(name.endswith(f".{e}") for e in extensions) or "." not in name:
            found.append(info.path)
    return sorted(found)


def resolve(path: str, filesystem: Any) -> tuple[Any, str]:
    """The filesystem of a path or URI, and the path in it."""
    path = str(path)
    if filesystem is not None:
        if not isinstance(filesystem, pafs.FileSystem):
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
        return filesystem, path.split("://", 1)[1] if "://" in path else path
    if path.startswith("example://"):
        from rayjup.data.datasource.examples import example_path

        return pafs.LocalFileSystem(), example_path(path)
    if path.startswith("local://"):
        path = path[len("local://") :]
    if "://" not in path:
        import os

        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path))
    try:
        return pafs.FileSystem.from_uri(path)
    except (ValueError, NotImplementedError):
        import fsspec

        handler, inner = fsspec.core.url_to_fs(path)
        return pafs.PyFileSystem(pafs.FSSpecHandler(handler)), inner
