"""What a job logs and how: ``LoggingConfig``, applied to the root logger of each of its processes."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_ENCODINGS = ("TEXT", "JSON")
# What is told of every record; the others of the standard library only where they are asked for.
_ALWAYS = ("asctime", "levelname", "message", "filename", "lineno", "process")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}

Context = Callable[[], Mapping[str, Any]]
"""Gives the ids and names of the process and of the call in which it is asked."""


@dataclass
class LoggingConfig:
    """How the driver, tasks and actors of a job log.

    Parameters
    ----------
    encoding
        ``"TEXT"`` or ``"JSON"`` (one object per line).
    log_level
        Level of the root logger: a name such as ``"INFO"``, or a number.
    additional_log_standard_attrs
        Attributes of ``logging.LogRecord`` that are logged as well, such as ``"name"``.

    Raises
    ------
    ValueError
        For an encoding, level or attribute that does not exist.

    Examples
    --------
    >>> import rayjup as ray
    >>> config = ray.LoggingConfig(encoding="JSON", additional_log_standard_attrs=["name"])
    >>> context = ray.init(logging_config=config, ignore_reinit_error=True)
    """

    encoding: str = "TEXT"
    log_level: str | int = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in _ENCODINGS:
            raise ValueError(f"LoggingConfig(encoding={self.encoding!r}): it must be 'TEXT' or 'JSON'")
        if isinstance(self.additional_log_standard_attrs, str) or not hasattr(
            self.additional_log_standard_attrs, "__iter__"
        ):
            raise TypeError(
                "LoggingConfig(additional_log_standard_attrs=…) must be a list of names, not "
                f"{self.additional_log_standard_attrs!r}"
            )
        unknown = [name for name in self.additional_log_standard_attrs if name not in _STANDARD]
        if unknown:
            raise ValueError(
                f"LoggingConfig(additional_log_standard_attrs=…) holds {unknown[0]!r}, which is no attribute "
                f"of a log record. There are: {', '.join(sorted(_STANDARD))}."
            )

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> LoggingConfig:
        """The configuration with the parameters in a dict."""
        return cls(**config)

    def to_dict(self) -> dict[str, Any]:
        """The parameters as a dict, as :meth:`from_dict` takes it."""
        return {**vars(self), "additional_log_standard_attrs": list(self.additional_log_standard_attrs)}

    def apply(self, context: Context) -> None:
        """Set up this process's root logger: its level, and one handler to standard error."""
        root = logging.getLogger()
        try:
            root.setLevel(self.log_level)
        except ValueError as error:
            raise ValueError(
                f"LoggingConfig(log_level={self.log_level!r}): there is no such level. Use 'DEBUG', 'INFO', "
                "'WARNING', 'ERROR', 'CRITICAL', or a number."
            ) from error
        for handler in list(root.handlers):
            if type(handler) is logging.StreamHandler:  # another one would say everything twice
                root.removeHandler(handler)
        handler = logging.StreamHandler(sys.stderr)
        kind = JSONFormatter if self.encoding == "JSON" else TextFormatter
        handler.setFormatter(kind(self.additional_log_standard_attrs, context))
        root.addHandler(handler)


class _Formatter(logging.Formatter):
    def __init__(self, attributes: list[str], context: Context) -> None:
        super().__init__()
        self._attributes = [name for name in attributes if name not in _ALWAYS]
        self._context = context

    def details(self, record: logging.LogRecord) -> dict[str, Any]:
        """What is told of a record besides its text: attributes asked for, the user's extras, the context."""
        out = {name: getattr(record, name, None) for name in self._attributes}
        out |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        out |= self._context()
        out["timestamp_ns"] = time.time_ns()
        return out


class TextFormatter(_Formatter):
    """One line per record (and those of a traceback), details at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        where = f"{record.filename}:{record.lineno}"
        text = f"{self.formatTime(record)}\t{record.levelname} {where} -- {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        details = " ".join(f"{name}={value}" for name, value in self.details(record).items())
        return f"{text} {details}"


class JSONFormatter(_Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        row: dict[str, Any] = {
            "asctime": self.formatTime(record),
            "levelname": record.levelname,
            "message": record.getMessage(),
            "filename": record.filename,
            "lineno": record.lineno,
            "process": record.process,
        }
        if record.exc_info:
            row["exc_text"] = self.formatException(record.exc_info)
        row |= self.details(record)
        return json.dumps(row, default=str)
