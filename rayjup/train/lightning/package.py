"""Lightning itself, under whichever of its two names is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

from rayjup.runs.extras import load


def lightning_part(part: str) -> Any:
    """A module of Lightning, such as ``strategies``."""
    name = "lightning.pytorch" if importlib.util.find_spec("lightning") is not None else "pytorch_lightning"
    return load(f"{name}.{part}" if part else name, "rayjup.train.lightning", "lightning")
