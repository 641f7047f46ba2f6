"""Checkpoints (under their path of Ray 2.0 to 2.6)."""

from __future__ import annotations

from rayjup.runs.checkpoint import Checkpoint

__all__ = ["Checkpoint"]
