"""Lightning's classes, under whichever of its two names is installed."""

from __future__ import annotations

from typing import Any

from rayjup.runs.extras import base_class


def lightning_class(part: str, name: str) -> Any:
    """A class of Lightning to derive from; without Lightning one that says so when an object is made."""
    places = (f"lightning.pytorch.{part}", f"pytorch_lightning.{part}")
    return base_class(places, name, "rayjup.train.lightning", "lightning")
