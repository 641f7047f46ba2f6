"""The contract of loggers, and how they write files without holding them open."""

from __future__ import annotations

import os
from typing import Any

from rayjup.runs.callback import Callback


class LoggerCallback(Callback):
    """A callback that writes what trials report. Subclasses define ``log_trial_…``; a trial's start comes
    first."""

    def log_trial_start(self, trial: Any) -> None:
        """Begin to log a trial (again, if it goes on after a failure)."""

    def log_trial_restore(self, trial: Any) -> None:
        """The trial goes on from a checkpoint."""

    def log_trial_save(self, trial: Any) -> None:
        """The trial has a new checkpoint."""

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """The trial has reported ``result``."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """The trial has ended."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log the result."""
        self.log_trial_result(iteration, trial, result)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log the start."""
        self.log_trial_start(trial)

    def on_trial_restore(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log that it goes on."""
        self.log_trial_restore(trial)

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log the checkpoint."""
        self.log_trial_save(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log the end."""
        self.log_trial_end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Log the failure."""
        self.log_trial_end(trial, failed=True)


class FileLogger(LoggerCallback):
    """A logger of one file per trial.

    Lines gather and are appended together at the end of each turn of the driver, so that no number of
    trials runs out of open files.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[bytes]] = {}

    def append(self, path: str, data: bytes) -> None:
        """Write ``data`` to the end of a file, soon."""
        waiting = self._waiting.get(path)
        if waiting is None:
            waiting = self._waiting[path] = []
        waiting.append(data)

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, {}
        for path, lines in waiting.items():
            with _appending(path) as stream:
                stream.write(b"".join(lines))

    def flush_file(self, path: str) -> None:
        """Write what waits for one file."""
        lines = self._waiting.pop(path, None)
        if lines:
            with _appending(path) as stream:
                stream.write(b"".join(lines))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write what waits."""
        if self._waiting:
            self.flush()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Write what waits."""
        self.flush()


def _appending(path: str) -> Any:
    try:
        return open(path, "ab", buffering=0)
    except FileNotFoundError:  # somebody has removed the trial's directory
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "ab", buffering=0)


def trial_directory(trial: Any) -> str:
    """The trial's directory, made if it is not there."""
    trial.init_local_path()
    found: str = trial.local_path
    return found


def parameters_of(trial: Any) -> dict[str, Any]:
    """What the search gave the trial; all of its config where nothing was searched."""
    found: dict[str, Any] = getattr(trial, "evaluated_params", None) or trial.config
    return found
