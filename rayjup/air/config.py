"""Settings of runs (under their path of Ray 2.0 to 2.6)."""

from __future__ import annotations

from rayjup.runs.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, SyncConfig

__all__ = ["CheckpointConfig", "FailureConfig", "RunConfig", "ScalingConfig", "SyncConfig"]
