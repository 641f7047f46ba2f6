"""What a run writes to the log."""

from __future__ import annotations

from dataclasses import dataclass

_LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG", "NOTSET")


@dataclass
class LoggingConfig:
    """How much a run says.

    Parameters
    ----------
    log_level
        Level of the logger ``rayjup.train`` on the workers and where the run is led.
    """

    log_level: str = "INFO"

    def __post_init__(self) -> None:
        if self.log_level not in _LEVELS:
            raise ValueError(f"LoggingConfig: log_level is {self.log_level!r}; it must be one of {_LEVELS}")
