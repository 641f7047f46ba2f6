"""What clients upload: archives by the name of their content, kept in the cluster's session directory."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

SCHEME = "gcs://"  # as Ray names packages that the cluster itself keeps
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


class Packages:
    """The uploads of one cluster.

    Parameters
    ----------
    session_dir
        The cluster's session directory.
    """

    def __init__(self, session_dir: str) -> None:
        self._directory = Path(session_dir, "packages")

    def path(self, name: str) -> Path:
        """Where an upload lies, or will; ValueError for a name that could lie elsewhere."""
        if not _NAME.fullmatch(name) or ".." in name:
            raise ValueError(f"{name!r} is no name for a package: letters, digits, '.', '_' and '-' only")
        return self._directory / name

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return self.path(name).is_file()

    def put(self, name: str, data: bytes) -> None:
        """Keep an upload; it is there as a whole or not at all."""
        target = self.path(name)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        fd, new = tempfile.mkstemp(dir=self._directory)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(new, target)

    def resolved(self, runtime_env: dict[str, Any] | None) -> dict[str, Any] | None:
        """The environment with names of uploads replaced by their files."""
        if not runtime_env:
            return runtime_env
        out = dict(runtime_env)
        if isinstance(out.get("working_dir"), str):
            out["working_dir"] = self._file(out["working_dir"])
        if isinstance(out.get("py_modules"), list):
            out["py_modules"] = [self._file(item) for item in out["py_modules"]]
        return out

    def _file(self, uri: Any) -> Any:
        if not isinstance(uri, str) or not uri.startswith(SCHEME):
            return uri
        name = uri[len(SCHEME) :]
        if not self.has(name):
            raise ValueError(f"the package {uri} was not uploaded to this cluster: upload it first")
        return str(self.path(name))
