"""Paths and URIs: which filesystem they mean, and which files."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable
from typing import Any

import pyarrow.fs as pafs

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
# pyarrow has filesystems of its own for these; everything else goes through fsspec.
_OF_PYARROW = frozenset({"file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"})
_WILD = re.compile(r"[*?\[]")


def resolve(path: str | os.PathLike[str], filesystem: Any = None) -> tuple[pafs.FileSystem, str]:
    """The filesystem that a path or URI means, and the path within it.

    Parameters
    ----------
    path
        A local path, or a URI: ``s3://`` (``s3://anonymous@…`` without credentials), ``gs://``,
        ``example://`` (samples that rayjup makes), or any other scheme that fsspec knows.
    filesystem
        A filesystem of pyarrow or fsspec to use instead.
    """
    path = os.fspath(path)
    scheme_match = _SCHEME.match(path)
    scheme = scheme_match[1].lower() if scheme_match else None
    if filesystem is not None:
        return wrap(filesystem), _without_scheme(path, scheme)
    if scheme == "example":
        from rayjup.data.datasource.examples import example_path

        return pafs.LocalFileSystem(), example_path(path)
    if scheme in (None, "local"):
        return pafs.LocalFileSystem(), os.path.abspath(os.path.expanduser(path.removeprefix("local://")))
    if scheme == "s3" and path.startswith("s3://anonymous@"):
        bare = path.removeprefix("s3://anonymous@")
        region = pafs.resolve_s3_region(bare.partition("/")[0])
        return pafs.S3FileSystem(anonymous=True, region=region), bare
    if scheme in _OF_PYARROW:
        found, inner = pafs.FileSystem.from_uri(path if scheme != "gcs" else "gs" + path[3:])
        return found, inner
    import fsspec

    try:
        found, inner = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{path!r} cannot be opened: {error}. fsspec needs to know the scheme {scheme!r}."
        ) from error
    return wrap(found), inner


def wrap(filesystem: Any) -> pafs.FileSystem:
    """The filesystem as pyarrow's; those of fsspec are wrapped."""
    if isinstance(filesystem, pafs.FileSystem):
        return filesystem
    if hasattr(filesystem, "protocol") and hasattr(filesystem, "open"):
        return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
    if hasattr(filesystem, "unwrap"):
        return wrap(filesystem.unwrap())
    raise TypeError(
        f"A filesystem is one of pyarrow.fs or of fsspec, not {filesystem!r} (a {type(filesystem).__name__})."
    )


def _without_scheme(path: str, scheme: str | None) -> str:
    if scheme is None:
        return path
    rest = path[len(scheme) + 3 :]
    return "/" + rest.lstrip("/") if scheme in ("file", "local") else rest.split("@", 1)[-1]


def only_here(paths: Any) -> bool:
    """Whether a path says ``local://``: files that only the machine of the driver has."""
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    return any(os.fspath(path).startswith("local://") for path in listed)


def expand(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    filesystem: Any = None,
    *,
    extensions: Iterable[str] | None = None,
    ignore_missing: bool = False,
) -> tuple[pafs.FileSystem, list[tuple[str, int | None]]]:
    """The files behind paths, directories and patterns, with their sizes, and their filesystem.

    Files named by a path are taken whatever their extension; those found in directories need one of
    ``extensions``. Hidden ones (a name that begins with a dot or an underscore) are passed over.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    listed = [os.fspath(path) for path in paths]
    if not listed:
        raise ValueError("There is nothing to read: the list of paths is empty.")
    wanted = None if extensions is None else tuple(f".{e.lower().lstrip('.')}" for e in extensions)
    found_fs: pafs.FileSystem | None = None
    inner: list[str] = []
    for path in listed:
        filesystem_of_path, inner_path = resolve(path, filesystem if found_fs is None else found_fs)
        if found_fs is None:
            found_fs = filesystem_of_path
        inner.append(inner_path)
    assert found_fs is not None
    files: list[tuple[str, int | None]] = []
    # One request for all: thousands of paths would otherwise be thousands of round trips.
    for info in found_fs.get_file_info(inner):
        files += _files_of(found_fs, info, wanted, ignore_missing)
    if not files and not ignore_missing:
        told = f" with extension {' or '.join(wanted)}" if wanted else ""
        raise FileNotFoundError(f"There is no file{told} at {', '.join(listed[:3])}.")
    return found_fs, files


def _files_of(
    filesystem: pafs.FileSystem, info: pafs.FileInfo, wanted: tuple[str, ...] | None, ignore_missing: bool
) -> list[tuple[str, int | None]]:
    if info.type == pafs.FileType.File:
        return [(info.path, info.size)]
    if info.type == pafs.FileType.Directory:
        return _listed(filesystem, info.path, wanted)
    if _WILD.search(info.path):
        base = _WILD.split(info.path, maxsplit=1)[0].rpartition("/")[0]
        return [
            one for one in _listed(filesystem, base or ".", None) if fnmatch.fnmatchcase(one[0], info.path)
        ]
    if ignore_missing:
        return []
    raise FileNotFoundError(
        f"{info.path} does not exist. With ignore_missing_paths=True it would be passed over."
    )


def _listed(
    filesystem: pafs.FileSystem, base: str, wanted: tuple[str, ...] | None
) -> list[tuple[str, int | None]]:
    selector = pafs.FileSelector(base, recursive=True)
    out = []
    for info in filesystem.get_file_info(selector):
        hidden = any(part.startswith((".", "_")) for part in info.path[len(base) :].split("/") if part)
        if info.type != pafs.FileType.File or hidden:
            continue
        if wanted is None or info.path.lower().endswith(wanted):
            out.append((info.path, info.size))
    return sorted(out)
