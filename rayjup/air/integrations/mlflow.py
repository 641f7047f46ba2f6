"""MLflow."""

from __future__ import annotations

from rayjup.runs.loggers.mlflow import MLflowLoggerCallback, setup_mlflow

__all__ = ["MLflowLoggerCallback", "setup_mlflow"]
