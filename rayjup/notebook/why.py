"""``%ray_why``: where the time of a cell went.

What processes remember of their calls carries the number of the cell, so a cell's time can be cut where
its calls were made, began and ended. Why calls waited is known from the looks taken while the
cell waited, four times a second (`waiting`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import rayjup
from rayjup.notebook import cells, why_render
from rayjup.notebook.cells import Cell, Cells

Row = Mapping[str, Any]

# What counts where several are true of a moment: a call that runs hides others that wait.
_ORDER = ("running", "reading", "storing", "waiting")
_MARKS = {
    "task:deserialize_arguments": "reading",
    "task:execute": "running",
    "task:store_outputs": "storing",
}


@dataclass(slots=True)
class Calls:
    """The calls of one name."""

    name: str
    count: int = 0
    failed: int = 0
    unfinished: int = 0
    waited: list[float] = field(default_factory=list)  # seconds between call and beginning
    ran: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """Where the time of a cell went."""

    seconds: float
    phases: dict[str, float]  # their sum is ``seconds``
    calls: list[Calls]
    busy: float  # seconds of calls running while the cell did, all together


class WhyDisplay:
    """The account of a cell as a table and a bar; as text, too."""

    def __init__(self, title: str, account: Account) -> None:
        self.title = title
        self.account = account

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": why_render.as_html(self.title, self.account)}

    def __repr__(self) -> str:
        return why_render.as_text(self.title, self.account)


def ray_why(cell: int | None = None) -> WhyDisplay:
    """Where the time of a cell went.

    Parameters
    ----------
    cell : int, optional
        The number that stands beside it; the last cell before this one that has made calls.

    Returns
    -------
    WhyDisplay
        Shown by being the last expression of a cell.

    Raises
    ------
    ConnectionError
        This notebook is connected to no cluster.
    RuntimeError
        The extension is not loaded.
    ValueError
        There is no such cell, or none has made calls.
    """
    watched = cells.current()
    if watched is None:
        raise RuntimeError("cells are not watched: run %load_ext rayjup first")
    if not rayjup.is_initialized():
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    rows = _rows()
    found = _chosen(watched, cell, rows)
    mine = [row for row in rows if row.get("cell") == found.number]
    end = found.ended or time.time()
    title = f"Cell [{found.execution_count}]"
    if found.running:
        title += ", which runs"
    elif found.interrupted:
        title += ", which was interrupted"
    return WhyDisplay(title, account(mine, found.began, end, found.spent))


def _rows() -> list[Row]:
    """All attempts at calls of this connection."""
    from rayjup.util.state import _source, _tables
    from rayjup.util.state._options import DEFAULT_RPC_TIMEOUT

    job = rayjup.get_runtime_context().get_job_id()
    source = _source.find(None)
    try:
        tasks, _ = _tables.gather_tasks(source, DEFAULT_RPC_TIMEOUT)
    finally:
        source.close()
    return [row for row in tasks.rows if row["job_id"] == job]


def _chosen(watched: Cells, execution_count: int | None, rows: Iterable[Row]) -> Cell:
    if execution_count is not None:
        found = watched.by_count(execution_count)
        if found is None:
            raise ValueError(f"no cell [{execution_count}] is remembered since the extension was loaded")
        return found
    now = watched.current
    numbers = {row.get("cell") for row in rows}
    known = [watched.get(number) for number in numbers]
    others = [cell for cell in known if cell is not None and cell is not now]
    if not others:
        raise ValueError("no cell has made calls so far, or nobody remembers them")
    return max(others, key=lambda cell: cell.number)


def account(rows: Sequence[Row], began: float, ended: float, spent: Mapping[str, float]) -> Account:
    """The account of a cell that ran from ``began`` to ``ended`` and made the calls ``rows``.

    Parameters
    ----------
    rows
        Attempts, with the times at which they were made, began and ended, and their phases.
    spent
        Seconds by reason, of the looks that were taken while the cell waited.
    """
    spans: list[tuple[str, float, float]] = []
    calls: dict[str, Calls] = {}
    for row in rows:
        name = row["name"]
        one = calls.setdefault(name, Calls(name))
        created, start, end = row.get("created"), row.get("start"), row.get("end")
        one.count += not row.get("attempt_number")
        one.failed += row["state"] == "FAILED"
        if row["state"] not in ("FAILED", "FINISHED"):
            one.unfinished += 1
            end = None
        if created is not None:
            until = start or end or ended
            spans.append(("waiting", created, until))
            if start is not None:
                one.waited.append(max(0.0, start - created))
        if start is not None:
            one.ran.append((end or ended) - start)
            marks = row.get("marks") if end is not None else None
            spans += [(_MARKS[mark], a, b) for mark, a, b in marks or [("task:execute", start, end or ended)]]
    phases = _cut(spans, began, ended)
    _tell_apart(phases, spent)
    table = sorted(calls.values(), key=lambda one: -sum(one.ran))
    running = ((max(a, began), min(b, ended)) for kind, a, b in spans if kind == "running")
    busy = sum(max(0.0, b - a) for a, b in running)
    return Account(ended - began, phases, table, busy)


def _cut(spans: Iterable[tuple[str, float, float]], began: float, ended: float) -> dict[str, float]:
    """Seconds of ``began`` to ``ended`` by what goes on; ``own``: none of the spans."""
    edges = []
    for kind, start, end in spans:
        start, end = max(start, began), min(end, ended)
        if end > start:
            edges += [(start, kind, 1), (end, kind, -1)]
    edges.sort()
    open_: dict[str, int] = dict.fromkeys(_ORDER, 0)
    phases: dict[str, float] = {}
    now = began
    for at, kind, step in [*edges, (ended, "", 0)]:
        what = next((kind for kind in _ORDER if open_[kind]), "own")
        if at > now:
            phases[what] = phases.get(what, 0.0) + at - now
            now = at
        if step:
            open_[kind] += step
    return phases


def _tell_apart(phases: dict[str, float], spent: Mapping[str, float]) -> None:
    """Divide the time in which calls waited by the reasons that were seen."""
    waiting = phases.pop("waiting", 0.0)
    reasons = {reason: s for reason, s in spent.items() if reason != "running" and s > 0}
    if not reasons:
        if waiting:
            phases["starting"] = waiting
        return
    total = sum(reasons.values())
    for reason, s in reasons.items():
        phases[reason] = waiting * s / total
