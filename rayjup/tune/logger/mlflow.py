"""The logger for MLflow (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.loggers.mlflow import MLflowLoggerCallback

__all__ = ["MLflowLoggerCallback"]
