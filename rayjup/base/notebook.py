"""What a notebook tells the parts below it, which don't know it and may not be loaded yet.

A program leaves all this as it is, and pays a look at a variable when it connects or waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

cell: int | None = None
"""The cell from which calls come now."""

lines_per_s: float | None = None
"""So many printed lines per second each process may send to the driver on the average; None: all."""

waits: dict[int, Sequence[Any]] | None = None
"""By thread, the refs for whose values it waits now; None: nobody wants to know."""

on_connected: Callable[[Any], None] | None = None
"""Called with the ``Runtime`` of a connection that has just been made."""

on_display: Callable[[], None] | None = None
"""Called by what is about to show in the running cell by itself how far it is."""

on_data_progress: Callable[[Any], None] | None = None
"""Called now and then with the ``rayjup.data.stats.RunStats`` of a dataset that runs on the cluster."""
