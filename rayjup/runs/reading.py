"""Reading back what a run has left in its directory."""

from __future__ import annotations

import json
import pickle
import posixpath
from typing import TYPE_CHECKING, Any

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.result import (
    ERROR_FILE,
    ERROR_PICKLE_FILE,
    PARAMS_FILE,
    PARAMS_PICKLE_FILE,
    PROGRESS_FILE,
    RESULT_FILE,
    Result,
    frame_of,
)

if TYPE_CHECKING:
    from pyarrow import fs as pafs

# Besides the files of reports: what a run writes at its end, with the metrics of every checkpoint.
CHECKPOINTS_FILE = "checkpoints.json"


def read_result(kind: type[Result], filesystem: pafs.FileSystem, path: str) -> Result:
    """A `Result` of the directory of one trial or run."""
    if not storage.exists(filesystem, path):
        raise RuntimeError(f"there is no run at {path!r}: the directory does not exist")
    rows = _rows(filesystem, posixpath.join(path, RESULT_FILE))
    has_table = rows or storage.exists(filesystem, posixpath.join(path, PROGRESS_FILE))
    checkpoints = _checkpoints(filesystem, path, rows)
    error = _error(filesystem, path)
    if not has_table and not checkpoints and error is None:
        raise RuntimeError(
            f"there is no run at {path!r}: neither {RESULT_FILE} nor {PROGRESS_FILE} is there. "
            "Give the directory of one trial, not that of its experiment."
        )
    known = _state(filesystem, path)
    if known is not None and known["checkpoints"]:
        checkpoints = [
            (Checkpoint(posixpath.join(path, one["name"]), filesystem), one["metrics"])
            for one in known["checkpoints"]
        ]
    if known is not None and known["metrics"] is not None:
        metrics = known["metrics"]
    else:
        metrics = rows[-1] if rows else _last_of_table(filesystem, path)
    return kind(
        metrics=metrics,
        checkpoint=checkpoints[-1][0] if checkpoints else None,
        error=error,
        path=path,
        metrics_dataframe=lambda: frame_of(filesystem, path),
        best_checkpoints=checkpoints,
        _storage_filesystem=filesystem,
        config=read_params(filesystem, path),
    )


def read_params(filesystem: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """The parameters of a trial."""
    file = posixpath.join(path, PARAMS_PICKLE_FILE)
    if storage.exists(filesystem, file):
        found: dict[str, Any] = pickle.loads(storage.read_bytes(filesystem, file))
        return found
    file = posixpath.join(path, PARAMS_FILE)
    if storage.exists(filesystem, file):
        found = json.loads(storage.read_bytes(filesystem, file))
        return found
    return None


def _state(filesystem: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """What a training run has written of itself; trials of Tune have no such file."""
    file = posixpath.join(path, CHECKPOINTS_FILE)
    if not storage.exists(filesystem, file):
        return None
    found: dict[str, Any] = json.loads(storage.read_bytes(filesystem, file))
    return found


def _rows(filesystem: pafs.FileSystem, file: str) -> list[dict[str, Any]]:
    if not storage.exists(filesystem, file):
        return []
    lines = storage.read_bytes(filesystem, file).decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def _last_of_table(filesystem: pafs.FileSystem, path: str) -> dict[str, Any]:
    frame = frame_of(filesystem, path)
    if frame is None or not len(frame):
        return {}
    last: dict[str, Any] = frame.iloc[-1].to_dict()
    return last


def _checkpoints(
    filesystem: pafs.FileSystem, path: str, rows: list[dict[str, Any]]
) -> list[tuple[Checkpoint, dict[str, Any]]]:
    from pyarrow import fs as pafs

    found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    names = sorted(
        info.base_name
        for info in found
        if info.type == pafs.FileType.Directory and info.base_name.startswith("checkpoint_")
    )
    metrics = {row["checkpoint_dir_name"]: row for row in rows if row.get("checkpoint_dir_name")}
    return [(Checkpoint(posixpath.join(path, name), filesystem), metrics.get(name, {})) for name in names]


def _error(filesystem: pafs.FileSystem, path: str) -> Exception | None:
    file = posixpath.join(path, ERROR_PICKLE_FILE)
    if storage.exists(filesystem, file):
        try:
            found = pickle.loads(storage.read_bytes(filesystem, file))
        except (pickle.UnpicklingError, ImportError, AttributeError, EOFError, TypeError):
            found = None  # its class is not importable here; the text says it all the same
        if isinstance(found, Exception):
            return found
    file = posixpath.join(path, ERROR_FILE)
    if storage.exists(filesystem, file):
        return RuntimeError(storage.read_bytes(filesystem, file).decode())
    return None
