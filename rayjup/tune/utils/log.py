"""How much Tune prints."""

from __future__ import annotations

from enum import IntEnum

_level = 3


class Verbosity(IntEnum):
    """Levels of ``verbose``."""

    V0_MINIMAL = 0
    V1_EXPERIMENT = 1
    V2_TRIAL_NORM = 2
    V3_TRIAL_DETAILS = 3


_ipython_disabled = False


def set_verbosity(level: int | Verbosity) -> None:
    """Set how much is printed."""
    global _level
    _level = int(level)


def has_verbosity(level: int | Verbosity) -> bool:
    """Whether so much is to be printed."""
    return _level >= int(level)


def disable_ipython() -> None:
    """Let reports be plain text even in a notebook."""
    global _ipython_disabled
    _ipython_disabled = True


def ipython_disabled() -> bool:
    """Whether `disable_ipython` was called."""
    return _ipython_disabled
