"""What goes with wandb (under its path of Ray 2.0 and later)."""

from __future__ import annotations

from rayjup.runs.loggers.wandb import WandbLoggerCallback, setup_wandb

__all__ = ["WandbLoggerCallback", "setup_wandb"]
