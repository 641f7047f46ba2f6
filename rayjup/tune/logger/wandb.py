"""The logger for Wandb (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.loggers.wandb import WandbLoggerCallback

__all__ = ["WandbLoggerCallback"]
