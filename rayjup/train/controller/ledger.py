"""A run's directory: what was reported, which checkpoints are kept, what a later leader needs."""

from __future__ import annotations

import collections
import json
import os
import pickle
import posixpath
import time
from collections.abc import Mapping
from typing import Any

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.checkpoints import CheckpointManager, Reported, remove
from rayjup.runs.config import CheckpointConfig
from rayjup.runs.loggers.json_lines import dumps, is_number
from rayjup.runs.reading import CHECKPOINTS_FILE
from rayjup.runs.result import ERROR_FILE, ERROR_PICKLE_FILE, RESULT_FILE, Result, frame_of
from rayjup.train.reporting import ReportedCheckpoint, ReportedCheckpointStatus

_POINTS = 400


class Ledger:
    """The record of one run.

    Parameters
    ----------
    filesystem, path
        The run's directory.
    config
        Which checkpoints are kept.
    """

    def __init__(self, filesystem: Any, path: str, config: CheckpointConfig) -> None:
        self.filesystem = filesystem
        self.path = path
        self.manager = CheckpointManager(config, self._delete)
        self.metrics: dict[str, Any] | None = None
        self.iteration = 0
        self.points: collections.deque[dict[str, float]] = collections.deque(maxlen=_POINTS)
        """The newest reports, numbers only, for those who draw them."""
        self._started = time.time()
        self._status: dict[str, ReportedCheckpointStatus] = {}
        self._needed: set[str] = set()
        self._doomed: dict[str, Checkpoint] = {}
        self._lines: list[bytes] = []  # of a filesystem that can't append

    @property
    def latest(self) -> Checkpoint | None:
        """The newest checkpoint."""
        return self.manager.latest.checkpoint if self.manager.latest is not None else None

    # ------------------------------------------------------------ reports

    def add(
        self, metrics: Mapping[str, Any], checkpoint: Checkpoint | None, *, validating: bool = False
    ) -> None:
        """Take in a report of rank 0's metrics."""
        self.metrics = dict(metrics)
        self.iteration += 1
        now = time.time()
        row = {
            **self.metrics,
            "training_iteration": self.iteration,
            "time_total_s": now - self._started,
            "timestamp": int(now),
        }
        numbers = {k: float(v) for k, v in self.metrics.items() if is_number(v)}
        self.points.append({**numbers, "training_iteration": float(self.iteration)})
        if checkpoint is not None:
            row["checkpoint_dir_name"] = posixpath.basename(checkpoint.path)
            self._status[checkpoint.path] = (
                ReportedCheckpointStatus.PENDING_VALIDATION
                if validating
                else ReportedCheckpointStatus.COMMITTED
            )
            if validating:
                self._needed.add(checkpoint.path)
            self.manager.register(checkpoint, self.metrics)
        self._append(row)
        if checkpoint is not None:
            self.save()

    def validated(
        self, checkpoint: Checkpoint, status: ReportedCheckpointStatus, metrics: Mapping[str, Any]
    ) -> None:
        """A validation has ended."""
        self._status[checkpoint.path] = status
        self._needed.discard(checkpoint.path)
        for reported in self.manager.kept:
            if reported.checkpoint.path == checkpoint.path:
                reported.metrics.update(metrics)
        if doomed := self._doomed.pop(checkpoint.path, None):
            remove(doomed)
        self.save()

    def reported(self) -> list[ReportedCheckpoint]:
        """The checkpoints that are kept, oldest first."""
        known = ReportedCheckpointStatus.COMMITTED
        return [
            ReportedCheckpoint(
                one.checkpoint, dict(one.metrics), self._status.get(one.checkpoint.path, known)
            )
            for one in self.manager.kept
        ]

    # ------------------------------------------------------------ the directory

    def save(self) -> None:
        """Write what a later leader needs."""
        state = {
            "iteration": self.iteration,
            "metrics": self.metrics,
            "checkpoints": [
                {
                    "path": one.checkpoint.path,
                    "name": posixpath.relpath(one.checkpoint.path, self.path),
                    "metrics": one.metrics,
                }
                for one in self.manager.kept
            ],
        }
        file = posixpath.join(self.path, CHECKPOINTS_FILE)
        storage.write_bytes(self.filesystem, file, dumps(state, indent=1).encode())
        if self._lines:
            results = posixpath.join(self.path, RESULT_FILE)
            storage.write_bytes(self.filesystem, results, b"".join(self._lines))

    def resume(self) -> bool:
        """Go on from what an earlier leader has left in the directory; whether there was anything."""
        file = posixpath.join(self.path, CHECKPOINTS_FILE)
        if not storage.exists(self.filesystem, file):
            return False
        state = json.loads(storage.read_bytes(self.filesystem, file))
        self.iteration, self.metrics = state["iteration"], state["metrics"]
        for one in state["checkpoints"]:
            checkpoint = Checkpoint(posixpath.join(self.path, one["name"]), self.filesystem)
            if storage.exists(self.filesystem, checkpoint.path):
                self.manager.kept.append(Reported(checkpoint, one["metrics"]))
        results = posixpath.join(self.path, RESULT_FILE)
        if not storage.is_local(self.filesystem) and storage.exists(self.filesystem, results):
            self._lines = [storage.read_bytes(self.filesystem, results)]
        for name in (ERROR_FILE, ERROR_PICKLE_FILE):
            old = posixpath.join(self.path, name)
            if storage.exists(self.filesystem, old):
                self.filesystem.delete_file(old)
        return True

    def discard_unfinished(self) -> None:
        """Remove checkpoints that were being written when their group ended."""
        kept = {one.checkpoint.path for one in self.manager.kept} | set(self._doomed) | self._needed
        number = self.iteration
        while True:
            path = posixpath.join(self.path, storage.checkpoint_dir_name(number))
            if path not in kept:
                if not storage.exists(self.filesystem, path):
                    return
                storage.delete(self.filesystem, path)
            number += 1

    def result(self, error: Exception | None = None, value: Any = None) -> Result:
        """What the run has come to."""
        if self.metrics is None and isinstance(value, Mapping):
            self.metrics = dict(value)  # a function that returns its metrics instead of reporting them
            self._append(self.metrics)
        if self.iteration or error is not None or self.metrics is not None:
            self.save()
        if error is not None:
            self._write_error(error)
        filesystem, path = self.filesystem, self.path
        return Result(
            metrics=self.metrics,
            checkpoint=self.latest,
            error=error,
            path=path,
            metrics_dataframe=lambda: frame_of(filesystem, path),
            best_checkpoints=[(one.checkpoint, one.metrics) for one in self.manager.kept],
            _storage_filesystem=filesystem,
            return_value=value,
        )

    # ------------------------------------------------------------ inside

    def _append(self, row: Mapping[str, Any]) -> None:
        line = dumps(row).encode() + b"\n"
        if not storage.is_local(self.filesystem):
            self._lines.append(line)
            return
        os.makedirs(self.path, exist_ok=True)
        with open(os.path.join(self.path, RESULT_FILE), "ab", buffering=0) as stream:
            stream.write(line)

    def _delete(self, checkpoint: Checkpoint) -> None:
        if checkpoint.path in self._needed:
            self._doomed[checkpoint.path] = checkpoint  # its validation is still reading it
        else:
            remove(checkpoint)

    def _write_error(self, error: Exception) -> None:
        import cloudpickle

        text = posixpath.join(self.path, ERROR_FILE)
        storage.write_bytes(self.filesystem, text, str(error).encode())
        try:
            data = cloudpickle.dumps(error)
        except (TypeError, pickle.PicklingError, AttributeError):
            return  # the text is there
        storage.write_bytes(self.filesystem, posixpath.join(self.path, ERROR_PICKLE_FILE), data)
