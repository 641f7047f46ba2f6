"""Where sockets and logs lie."""

from __future__ import annotations

import os
import tempfile

from rayjup.base.exceptions import RaySystemError

_LONGEST = 60  # of the root: a socket's path may have 107 characters


def session_root() -> str:
    """The directory (mode 0700, made if missing) below which each cluster has its own.

    Raises
    ------
    PermissionError
        It exists and is not this user's alone.
    """
    root = f"{tempfile.gettempdir()}/rayjup-{os.getuid()}"
    if len(root) > _LONGEST:
        root = f"/tmp/rayjup-{os.getuid()}"
    os.makedirs(root, mode=0o700, exist_ok=True)
    info = os.stat(root)
    if info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise PermissionError(
            f"{root} belongs to somebody else or is open to others (mode {info.st_mode & 0o777:o}): "
            "sockets there would not be safe. Remove it, or set TMPDIR to a directory of your own."
        )
    return root


def cache_root() -> str:
    """The directory (mode 0700, made if missing) for what several clusters can use again.

    ``RAYJUP_CACHE_DIR``, else ``rayjup`` in the user's cache directory; where there is no home that can
    be written to, a directory beside the sessions.

    Raises
    ------
    PermissionError
        It belongs to somebody else, or is open to others.
    """
    given = os.environ.get("RAYJUP_CACHE_DIR")
    root = given or f"{os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')}/rayjup"
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
    except OSError:
        if given:
            raise
        root = f"{session_root()}/cache"
        os.makedirs(root, mode=0o700, exist_ok=True)
    info = os.stat(root)
    if info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise PermissionError(
            f"{root} belongs to somebody else or is open to others (mode {info.st_mode & 0o777:o}): code "
            "that is run from there would not be safe. Remove it, or set RAYJUP_CACHE_DIR to a directory of "
            "your own."
        )
    return root


def usable_directory(name: str, path: str) -> str:
    """The absolute path of a directory that the setting ``name`` names, made where it is missing.

    Raises
    ------
    RaySystemError
        It can't be made or written to.
    """
    path = os.path.abspath(os.path.expanduser(path))
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise RaySystemError(
            f"{name}={path!r} can't be used ({error.strerror}): name a directory."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise RaySystemError(f"{name}={path!r} can't be written to: name a directory of your own.")
    return path
