"""Callbacks that write what trials report (mirrors ``ray.tune.logger``); they live in
`rayjup.runs.loggers`."""

from __future__ import annotations

import json
from typing import Any

from rayjup.runs.loggers import CSVLoggerCallback, JsonLoggerCallback, LoggerCallback, TBXLoggerCallback
from rayjup.runs.loggers.json_lines import dumps

__all__ = ["CSVLoggerCallback", "JsonLoggerCallback", "LoggerCallback", "TBXLoggerCallback", "pretty_print"]


def pretty_print(result: dict[str, Any], exclude: set[str] | None = None) -> str:
    """A result as indented text, without parameters and what is None.

    Examples
    --------
    >>> from rayjup.tune.logger import pretty_print
    >>> print(pretty_print({"loss": 0.5, "config": {"lr": 1}, "by": {"a": 1}}))
    by:
      a: 1
    loss: 0.5
    """
    skipped = {"config", *(exclude or ())}
    shown = {name: value for name, value in result.items() if value is not None and name not in skipped}
    return "\n".join(_lines(json.loads(dumps(shown)), 0))


def _lines(value: dict[str, Any], depth: int) -> list[str]:
    found = []
    for name in sorted(value):
        inner = value[name]
        if isinstance(inner, dict) and inner:
            found += [f"{'  ' * depth}{name}:", *_lines(inner, depth + 1)]
        else:
            found.append(f"{'  ' * depth}{name}: {inner}")
    return found
