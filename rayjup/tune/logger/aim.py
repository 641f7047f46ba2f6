"""The logger for Aim (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.loggers.aim import AimLoggerCallback

__all__ = ["AimLoggerCallback"]
