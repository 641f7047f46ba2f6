"""What goes with mlflow (under its path of Ray 2.0 and later)."""

from __future__ import annotations

from rayjup.runs.loggers.mlflow import MLflowLoggerCallback, setup_mlflow

__all__ = ["MLflowLoggerCallback", "setup_mlflow"]
