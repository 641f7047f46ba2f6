"""Directories and files of this machine as archives that nodes can unpack.

An archive is named after the hash of its content, so the same content is stored once and is never
sent again. It is the same for the same files, whenever and wherever it is made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

from rayjup.base.ignore import Rules, ignored
from rayjup.base.runtime_env_fields import ARCHIVES, STORED, WHEEL
from rayjup.engine.node.environment_cache import Held, obtain, packages_dir

LIMIT = "RAYJUP_PACKAGE_LIMIT_MB"
_DEFAULT_LIMIT_MB = 500.0
_DEFAULT_EXCLUDES = ".git,.venv,venv,__pycache__"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file (or, with a slash at its end, a directory) that goes into an archive."""

    name: str
    path: str
    size: int
    changed: int  # ns
    mode: int


Signature = tuple[tuple[str, int, int, int], ...]
"""Tells whether anything has changed, without reading the files."""


def entries_of(path: str, excludes: list[str], inside: str = "") -> list[Entry]:
    """What goes into the archive of the directory or file ``path``, sorted by name.

    Left out is what ``excludes``, files ``.gitignore`` and ``.rayignore``, and the defaults
    (``RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES``) name. ``inside`` comes in front of all names.

    Raises
    ------
    ValueError
        It is too large.
    """
    if os.path.isfile(path):
        info = os.stat(path)
        found = [Entry(inside + os.path.basename(path), path, info.st_size, info.st_mtime_ns, info.st_mode)]
    else:
        defaults = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", _DEFAULT_EXCLUDES)
        # The option has the last word; the files in between, from the top down.
        first = [Rules([name for name in defaults.split(",") if name])]
        found = sorted(
            _walk(path, inside, "", first, Rules(excludes), {os.path.realpath(path)}), key=lambda e: e.name
        )
    _check_size(path, found)
    return found


def _walk(
    root: str, inside: str, relative: str, rules: list[Rules], last: Rules, above: set[str]
) -> Iterator[Entry]:
    here = os.path.join(root, relative)
    rules = rules + [Rules(lines, relative) for lines in _ignore_files(here)]
    for item in os.scandir(here):
        name = relative + item.name
        is_dir = item.is_dir()
        if ignored([*rules, last], name, is_dir):
            continue
        try:
            info = item.stat()
        except FileNotFoundError:
            continue  # a link to nothing, or just removed
        if not is_dir:
            if stat.S_ISREG(info.st_mode):
                yield Entry(inside + name, item.path, info.st_size, info.st_mtime_ns, info.st_mode)
            continue
        real = os.path.realpath(item.path)
        if real in above:
            continue  # a link to a directory that it lies in
        yield Entry(f"{inside}{name}/", item.path, 0, 0, info.st_mode)
        yield from _walk(root, inside, f"{name}/", rules, last, above | {real})


def _ignore_files(directory: str) -> Iterator[list[str]]:
    names = [".rayignore"]
    if os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1":
        names.insert(0, ".gitignore")
    for name in names:
        try:
            with open(os.path.join(directory, name), encoding="utf-8", errors="surrogateescape") as file:
                yield file.readlines()
        except (FileNotFoundError, IsADirectoryError):
            continue


def _check_size(path: str, entries: list[Entry]) -> None:
    limit = float(os.environ.get(LIMIT, _DEFAULT_LIMIT_MB)) * 2**20
    total = sum(entry.size for entry in entries)
    if total > limit:
        largest = sorted(entries, key=lambda e: -e.size)[:5]
        names = ", ".join(f"{e.name} ({e.size / 2**20:.0f} MiB)" for e in largest)
        raise ValueError(
            f"runtime_env: {path} has {total / 2**20:.0f} MiB in {len(entries)} files, and packages may have "
            f"{limit / 2**20:.0f} MiB. The largest: {names}. Leave out what is not needed with 'excludes' "
            "or a "
            f"file .gitignore, put data where all nodes can read it, or raise {LIMIT}."
        )


def signature(entries: list[Entry]) -> Signature:
    """Equal as long as nothing has changed."""
    return tuple((e.name, e.size, e.changed, e.mode) for e in entries)


def pack(entries: list[Entry]) -> tuple[str, Held]:
    """The archive of these entries: its URI, and the hold on the file."""
    hasher = hashlib.blake2b(digest_size=16)
    for entry in entries:
        hasher.update(f"{entry.name}\0{_mode_of(entry):o}\0".encode(errors="surrogateescape"))
        if not entry.name.endswith("/"):
            with open(entry.path, "rb") as file:
                hasher.update(f"{_feed(hasher.copy(), file)}\0".encode())
    return _stored(f"_ray_pkg_{hasher.hexdigest()}.zip", lambda path: _write(path, entries))


def _feed(hasher: hashlib.blake2b, file: IO[bytes]) -> str:
    while block := file.read(_BLOCK):
        hasher.update(block)
    return hasher.hexdigest()


def _mode_of(entry: Entry) -> int:
    """Only whether it can be executed: the rest depends on the umask of whoever wrote it."""
    return 0o755 if entry.mode & 0o100 else 0o644


def _write(path: str, entries: list[Entry]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _EPOCH)
            info.external_attr = (_mode_of(entry) | stat.S_IFREG) << 16
            if entry.name.endswith("/"):
                info.external_attr = (0o755 | stat.S_IFDIR) << 16 | 0x10
                archive.writestr(info, b"")
                continue
            with open(entry.path, "rb") as source, archive.open(info, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, _BLOCK)


def store_file(path: str) -> tuple[str, Held]:
    """An archive or wheel of this machine, as it is."""
    hasher = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        name = f"_ray_pkg_{_feed(hasher, file)}"
    if path.endswith(WHEEL):
        name += f"_{os.path.basename(path)}"  # a wheel's name says what it is
    else:
        name += next(ending for ending in ARCHIVES if path.endswith(ending))
    return _stored(name, lambda target: _copy(path, target))


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)


def store_bytes(data: bytes, ending: str) -> tuple[str, Held]:
    """Something made here, such as a pickled function."""
    name = f"_ray_pkg_{hashlib.blake2b(data, digest_size=16).hexdigest()}{ending}"

    def write(target: str) -> None:
        with open(target, "wb") as file:
            file.write(data)

    return _stored(name, write)


def _stored(name: str, write: Callable[[str], None]) -> tuple[str, Held]:
    return f"{STORED}://{name}", obtain(f"{packages_dir()}/{name}", write)


def path_of(uri: str) -> str | None:
    """The file of a package that was stored here; None for URIs of other places."""
    scheme, _, name = uri.partition("://")
    return f"{packages_dir()}/{name}" if scheme == STORED else None
