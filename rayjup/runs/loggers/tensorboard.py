"""``events.out.tfevents…``: what ``tensorboard --logdir ~/ray_results`` shows.

The events are tensorboardX's; they are appended to the file directly, since its writer would cost a thread
and an open file per trial.
"""

from __future__ import annotations

import functools
import os
import struct
import time
import warnings
from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.loggers.base import FileLogger, parameters_of, trial_directory
from rayjup.runs.loggers.json_lines import is_number
from rayjup.runs.progress import host_name

_NOT_SHOWN = frozenset(
    {"config", "pid", "timestamp", "time_total_s", "training_iteration", "done", "should_checkpoint"}
)


@functools.lru_cache(maxsize=1)
def _parts() -> tuple[Any, Any, Any, Any] | None:
    """What is taken from tensorboardX, or None if it is not installed (said once)."""
    try:
        from tensorboardX import summary
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import masked_crc32c
    except ImportError:
        warnings.warn(
            "results are not written for TensorBoard: tensorboardX is not installed "
            "(pip install 'rayjup[tune]')",
            stacklevel=3,
        )
        return None
    return event_pb2.Event, summary_pb2.Summary, masked_crc32c, summary.hparams


class TBXLoggerCallback(FileLogger):
    """Writes an event file into each trial's directory: metrics as ``ray/tune/…``, parameters at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[Any, str] = {}
        self._last: dict[Any, dict[str, float]] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Begin a file (another one, if the trial goes on)."""
        parts = _parts()
        if parts is None:
            return
        if trial in self._files:
            self.flush_file(self._files[trial])
        now = time.time()
        name = f"events.out.tfevents.{str(now)[:10]}.{host_name()}"
        path = os.path.join(trial_directory(trial), name)
        while os.path.exists(path):
            path += ".1"
        self._files[trial] = path
        self._write(trial, parts, parts[0](wall_time=now, file_version="brain.Event:2"))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Append the numbers of a result."""
        parts = _parts()
        if parts is None:
            return
        if trial not in self._files:
            self.log_trial_start(trial)
        event_class, summary_class, _, _ = parts
        step = result.get("timesteps_total") or result.get("training_iteration") or 0
        shown = flatten({k: v for k, v in result.items() if k not in _NOT_SHOWN and v is not None})
        values = []
        numbers: dict[str, float] = {}
        for key, value in shown.items():
            if is_number(value) and not isinstance(value, str):
                numbers[f"ray/tune/{key}"] = number = float(value)
                values.append(summary_class.Value(tag=f"ray/tune/{key}", simple_value=number))
        self._last[trial] = numbers
        event = event_class(wall_time=time.time(), step=int(step), summary=summary_class(value=values))
        self._write(trial, parts, event)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Append the trial's parameters, so that TensorBoard compares trials."""
        parts = _parts()
        path = self._files.pop(trial, None)
        last = self._last.pop(trial, None)
        if parts is None or path is None:
            return
        shown = {
            key: value if isinstance(value, (int, float, str, bool)) else str(value)
            for key, value in flatten(parameters_of(trial)).items()
            if value is not None
        }
        if last and shown:
            self._files[trial] = path
            for part in parts[3](shown, last):
                self._write(trial, parts, parts[0](wall_time=time.time(), summary=part))
            self._files.pop(trial)
        self.flush_file(path)

    def _write(self, trial: Any, parts: tuple[Any, Any, Any, Any], event: Any) -> None:
        data = event.SerializeToString()
        checksum = parts[2]
        header = struct.pack("<Q", len(data))
        record = header + struct.pack("<I", checksum(header)) + data + struct.pack("<I", checksum(data))
        self.append(self._files[trial], record)
