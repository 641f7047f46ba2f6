"""Checkpoints."""

from __future__ import annotations

from rayjup.runs.checkpoint import Checkpoint

__all__ = ["Checkpoint"]
