"""Small helpers of Tune (mirrors ``ray.tune.utils``)."""

from __future__ import annotations

from rayjup.tune.utils.util import (
    UtilMonitor,
    date_str,
    diagnose_serialization,
    validate_save_restore,
    wait_for_gpu,
    warn_if_slow,
)

__all__ = [
    "UtilMonitor",
    "date_str",
    "diagnose_serialization",
    "validate_save_restore",
    "wait_for_gpu",
    "warn_if_slow",
]
