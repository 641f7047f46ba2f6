"""What goes with comet (under its path of Ray 2.0 and later)."""

from __future__ import annotations

from rayjup.runs.loggers.comet import CometLoggerCallback

__all__ = ["CometLoggerCallback"]
