"""The logger for Comet (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.loggers.comet import CometLoggerCallback

__all__ = ["CometLoggerCallback"]
