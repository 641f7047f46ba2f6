"""``result.json``: one line of JSON per report; ``params.json`` and ``params.pkl``: the trial's
parameters."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from rayjup.runs.loggers.base import FileLogger, trial_directory
from rayjup.runs.result import PARAMS_FILE, PARAMS_PICKLE_FILE, RESULT_FILE


class JsonLoggerCallback(FileLogger):
    """Writes ``result.json``, ``params.json`` and ``params.pkl`` into each trial's directory."""

    def __init__(self) -> None:
        super().__init__()
        self._configs: dict[Any, dict[str, Any]] = {}

    def log_trial_start(self, trial: Any) -> None:
        """Write the parameters, if they are new."""
        trial_directory(trial)
        if self._configs.get(trial) != trial.config:
            self.update_config(trial, trial.config)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Append a line."""
        self.append(os.path.join(trial.local_path, RESULT_FILE), dumps(result).encode() + b"\n")

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """Write what waits."""
        self.flush_file(os.path.join(trial.local_path, RESULT_FILE))
        self._configs.pop(trial, None)

    def update_config(self, trial: Any, config: dict[str, Any]) -> None:
        """Write the parameters."""
        import cloudpickle

        directory = trial_directory(trial)
        self._configs[trial] = dict(config)
        with open(os.path.join(directory, PARAMS_FILE), "wb", buffering=0) as stream:
            stream.write(dumps(config, indent=2).encode())
        with open(os.path.join(directory, PARAMS_PICKLE_FILE), "wb", buffering=0) as stream:
            stream.write(cloudpickle.dumps(config))


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON of anything: numpy values as numbers and lists, what JSON can't say as text.

    Examples
    --------
    >>> import numpy
    >>> from rayjup.runs.loggers.json_lines import dumps
    >>> dumps({"loss": numpy.float32(0.5), "by": {1: numpy.arange(2)}})
    '{"loss": 0.5, "by": {"1": [0, 1]}}'
    """
    try:
        return json.dumps(value, default=plain, indent=indent)
    except TypeError:  # keys that are no strings
        return json.dumps(_with_text_keys(value), default=plain, indent=indent)


def plain(value: Any) -> Any:
    """What JSON says instead of ``value``."""
    if hasattr(value, "item") and getattr(value, "size", 2) == 1 and not getattr(value, "shape", ()):
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return repr(value) if callable(value) else str(value)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_text_keys(inner) for inner in value]
    return value


def is_number(value: Any) -> bool:
    """Whether a plot can show ``value``."""
    return (
        isinstance(value, (int, float)) or (hasattr(value, "item") and getattr(value, "size", 2) == 1)
    ) and not (isinstance(value, float) and math.isnan(value))
