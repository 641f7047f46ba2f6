"""``ray.timeline``: what ran where and when, as a trace."""

from __future__ import annotations

import json
from typing import Any

from rayjup.core import session as sessions
from rayjup.observe.trace import events_of
from rayjup.util.state import _source, _tables

_TIMEOUT_S = 30.0


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """The tasks that are remembered, as a trace for https://ui.perfetto.dev or chrome://tracing.

    There is one row per process of each node. Tasks are shown with their phases, as far as these were
    measured, and with arrows from where they were submitted.

    Parameters
    ----------
    filename
        Write the trace to this file instead of returning it.

    Returns
    -------
    list of dict
        Events in the trace event format; None with ``filename``.

    Raises
    ------
    RaySystemError
        This process is not connected to a cluster.

    Examples
    --------
    >>> import rayjup as ray
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> @ray.remote
    ... def work():
    ...     return 1
    >>> ray.get(work.remote())
    1
    >>> any(event["name"] == "task:execute" for event in ray.timeline())
    True
    """
    sessions.connected()
    events = events_at(None)
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None


def events_at(address: str | None) -> list[dict[str, Any]]:
    """The trace of any cluster of this user, by its name, id or address."""
    source = _source.find(address)
    try:
        tasks, _ = _tables.gather_tasks(source, _TIMEOUT_S)
    finally:
        source.close()
    return events_of(tasks.rows)
