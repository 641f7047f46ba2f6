"""``progress.csv``: one row per report."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.loggers.base import FileLogger, trial_directory
from rayjup.runs.result import PROGRESS_FILE


class CSVLoggerCallback(FileLogger):
    """Writes ``progress.csv`` into each trial's directory; its columns are those of the first report."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: dict[Any, list[str]] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Go on with a table that is there already."""
        file = os.path.join(trial_directory(trial), PROGRESS_FILE)
        if trial in self._columns or not os.path.exists(file) or not os.path.getsize(file):
            return
        with open(file, newline="") as stream:
            self._columns[trial] = next(csv.reader(stream))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Append a row; what the table has no column for is left out."""
        flat = flatten({k: v for k, v in result.items() if k != "config"})
        config = result.get("config")
        if config:
            for key, value in flatten(config).items():
                flat[f"config/{key}"] = value
        columns = self._columns.get(trial)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if columns is None:
            columns = self._columns[trial] = list(flat)
            writer.writerow(columns)
        writer.writerow([flat.get(column, "") for column in columns])
        self.append(os.path.join(trial.local_path, PROGRESS_FILE), text.getvalue().encode())

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Write what waits."""
        self.flush_file(os.path.join(trial.local_path, PROGRESS_FILE))
        self._columns.pop(trial, None)
