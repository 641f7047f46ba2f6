"""Source lines of code that is in no file (cells of a notebook), for tracebacks in other processes."""

from __future__ import annotations

import linecache
import os
from typing import Any

from rayjup.core.references import functions_of


def sources_of(root: Any) -> dict[str, list[str]]:
    """The lines behind a function or class and the functions it uses, by the name of their source.

    Only of sources that other processes cannot read by themselves.
    """
    found: dict[str, list[str]] = {}
    for function in functions_of(root):
        name = function.__code__.co_filename
        if name not in found and not os.path.exists(name):
            lines = linecache.getlines(name)
            if lines:
                found[name] = lines
    return found


def show_sources(sources: dict[str, list[str]]) -> None:
    """Let tracebacks, debuggers and ``inspect`` of this process find the lines."""
    for name, lines in sources.items():
        # Without a time of change: an entry that linecache never throws away.
        linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
