"""How files are brought to remote storage (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.config import SyncConfig

__all__ = ["SyncConfig"]
