"""What one trial or training run ended with."""

from __future__ import annotations

import io
import json
import os
import posixpath
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.checkpoints import flatten, look_up

if TYPE_CHECKING:
    import pandas as pd
    from pyarrow import fs as pafs

RESULT_FILE = "result.json"
PROGRESS_FILE = "progress.csv"
PARAMS_FILE = "params.json"
PARAMS_PICKLE_FILE = "params.pkl"
ERROR_FILE = "error.txt"
ERROR_PICKLE_FILE = "error.pkl"


class Result:
    """Metrics, checkpoint and error of one trial or training run.

    Parameters
    ----------
    metrics
        The last ones reported.
    checkpoint
        The newest one.
    error
        What it failed with, or None.
    path
        Directory of the run on its filesystem.
    metrics_dataframe
        All reported metrics as a table, or a function that makes it when somebody asks.
    best_checkpoints
        Pairs of checkpoint and metrics, of those that were kept.
    return_value
        What the training function returned (Train).
    """

    def __init__(
        self,
        metrics: dict[str, Any] | None,
        checkpoint: Checkpoint | None,
        error: Exception | None,
        path: str | None = None,
        metrics_dataframe: pd.DataFrame | Callable[[], pd.DataFrame | None] | None = None,
        best_checkpoints: list[tuple[Checkpoint, dict[str, Any]]] | None = None,
        _storage_filesystem: pafs.FileSystem | None = None,
        return_value: Any = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.metrics = metrics
        self.checkpoint = checkpoint
        self.error = error
        self.path = path
        self.best_checkpoints = best_checkpoints
        self.return_value = return_value
        self._config = config
        self._frame = metrics_dataframe
        self._storage_filesystem = _storage_filesystem

    @property
    def metrics_dataframe(self) -> pd.DataFrame | None:
        """All reported metrics, one row per report."""
        if callable(self._frame):
            self._frame = self._frame()
        return self._frame

    @property
    def config(self) -> dict[str, Any] | None:
        """The trial's parameters."""
        if self._config is not None:
            return self._config
        return self.metrics.get("config") if self.metrics else None

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The filesystem that ``path`` is on."""
        if self._storage_filesystem is None:
            self._storage_filesystem, _ = storage.resolve(self.path or ".")
        return self._storage_filesystem

    @property
    def log_dir(self) -> Any:
        """The run's directory (older name of ``path``)."""
        from pathlib import Path

        return Path(self.path) if self.path else None

    def get_best_checkpoint(self, metric: str, mode: str) -> Checkpoint | None:
        """The kept checkpoint with the best value of a metric.

        Parameters
        ----------
        metric
            Name of the metric; nested ones as ``a/b``.
        mode
            ``"max"`` or ``"min"``.
        """
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}; it must be 'max' or 'min'")
        if not self.best_checkpoints:
            raise RuntimeError("this result has no checkpoints")
        scored = [(look_up(m, metric), c) for c, m in self.best_checkpoints]
        scored = [(value, checkpoint) for value, checkpoint in scored if value is not None]
        if not scored:
            known = sorted(flatten(self.best_checkpoints[0][1]))
            raise RuntimeError(f"no checkpoint was reported with the metric {metric!r}; there are {known}")
        choose = max if mode == "max" else min
        return choose(scored, key=lambda pair: pair[0])[1]

    @classmethod
    def from_path(
        cls, path: str | os.PathLike[str], storage_filesystem: pafs.FileSystem | None = None
    ) -> Result:
        """Read a result from a run's directory.

        Parameters
        ----------
        path
            Directory or URI of the trial or run.
        storage_filesystem
            Filesystem on which ``path`` is a path.
        """
        from rayjup.runs.reading import read_result

        filesystem, on_it = storage.resolve(path, storage_filesystem)
        return read_result(cls, filesystem, on_it)

    def __repr__(self) -> str:
        parts = []
        if self.error is not None:
            parts.append(f"error={type(self.error).__name__}")
        shown = {k: v for k, v in (self.metrics or {}).items() if k != "config"}
        parts += [f"metrics={shown!r}", f"path={self.path!r}"]
        if storage.is_local(self.filesystem):
            parts.append("filesystem='local'")
        else:
            parts.append(f"filesystem={self.filesystem.type_name!r}")
        parts.append(f"checkpoint={self.checkpoint!r}")
        return f"{type(self).__name__}(\n  " + ",\n  ".join(parts) + "\n)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Text and HTML, with curves of the metrics."""
        from rayjup.runs.showing import curves, markup, table

        shown = [(k, v) for k, v in flatten(self.metrics or {}).items() if not k.startswith("config/")][:16]
        error = markup("<pre>{}</pre>", self.error) if self.error is not None else ""
        points = _points(self.filesystem, self.path) if self.path else []
        head = markup("<div><b>Result</b> {}</div>", self.path or "")
        inner = f"{table(('metric', 'last'), shown)}<div>{curves(points)}</div>"
        body = f'<div style="display:flex;gap:2em;flex-wrap:wrap">{inner}</div>'
        return {"text/plain": repr(self), "text/html": f"<div>{head}{error}{body}</div>"}

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_frame"] = self.metrics_dataframe
        return state


def _points(filesystem: pafs.FileSystem, path: str) -> list[dict[str, float]]:
    """The numbers of the last few hundred reports."""
    file = posixpath.join(path, RESULT_FILE)
    if not storage.exists(filesystem, file):
        return []
    lines = storage.read_bytes(filesystem, file).decode().splitlines()[-400:]
    rows = [flatten(json.loads(line)) for line in lines if line.startswith("{") and line.endswith("}")]
    return [
        {k: float(v) for k, v in row.items() if isinstance(v, (int, float)) and not k.startswith("config/")}
        for row in rows
    ]


def frame_of(filesystem: pafs.FileSystem, path: str) -> pd.DataFrame | None:
    """The table of a run's ``result.json`` (or ``progress.csv``); None when there is none."""
    from rayjup.runs.extras import pandas

    file = posixpath.join(path, RESULT_FILE)
    if storage.exists(filesystem, file):
        rows = [
            flatten(json.loads(line))
            for line in storage.read_bytes(filesystem, file).decode().splitlines()
            if line
        ]
        return pandas("metrics_dataframe").DataFrame(rows) if rows else None
    file = posixpath.join(path, PROGRESS_FILE)
    if storage.exists(filesystem, file):
        data = storage.read_bytes(filesystem, file)
        return pandas("metrics_dataframe").read_csv(io.BytesIO(data)) if data else None
    return None
