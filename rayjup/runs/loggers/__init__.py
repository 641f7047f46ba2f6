"""Callbacks that write what trials report.

`base` has the contract (`LoggerCallback`). `json_lines`, `csv_table` and `tensorboard` write into the
trial's directory, laid out as Ray does it; `mlflow`, `wandb`, `comet` and `aim` are thin adapters over
their services' own clients, imported when used.
"""

from __future__ import annotations

from typing import Any

from rayjup.runs.loggers.base import LoggerCallback
from rayjup.runs.loggers.csv_table import CSVLoggerCallback
from rayjup.runs.loggers.json_lines import JsonLoggerCallback
from rayjup.runs.loggers.tensorboard import TBXLoggerCallback

__all__ = [
    "CSVLoggerCallback",
    "JsonLoggerCallback",
    "LoggerCallback",
    "TBXLoggerCallback",
    "default_loggers",
]


def default_loggers() -> list[Any]:
    """Those that every experiment has."""
    return [CSVLoggerCallback(), JsonLoggerCallback(), TBXLoggerCallback()]
