"""How far calls are, as HTML and as text, and what they wait for. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_STYLE = "font-size:12px;color:var(--jp-ui-font-color2,inherit);margin:.2em 0"

PHASES = {
    "environment": "runtime environment",
    "resources": "waiting for resources",
    "actor": "actor being made",
    "arguments": "waiting for other calls",
    "starting": "starting",
    "running": "running",
}


@dataclass(slots=True)
class Counts:
    """Calls by state."""

    total: int = 0
    done: int = 0  # failed ones, too
    failed: int = 0
    running: int = 0

    @property
    def waiting(self) -> int:
        """Neither running nor done."""
        return max(0, self.total - self.done - self.running)


def duration(seconds: float) -> str:
    """Seconds for people.

    Examples
    --------
    >>> duration(3.21), duration(75), duration(7300)
    ('3.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rate_text(rate: float) -> str:
    """Calls per second, or seconds per call."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def progress_text(counts: Counts, elapsed_s: float, rate: float, why: str) -> str:
    """One line on calls that are under way."""
    parts = []
    if counts.total > 1:
        parts.append(f"{counts.done:,} of {counts.total:,} calls")
        states = [
            f"{number:,} {name}"
            for number, name in (
                (counts.running, "running"),
                (counts.waiting, "waiting"),
                (counts.failed, "failed"),
            )
            if number
        ]
        if states:
            parts.append(", ".join(states))
    else:
        parts.append("1 call " + ("running" if counts.running else "waiting"))
    parts.append(duration(elapsed_s))
    if rate > 0 and counts.total > 1:
        left = (counts.total - counts.done) / rate
        parts.append(f"{rate_text(rate)}, {duration(left)} left" if left else rate_text(rate))
    if why:
        parts.append(why)
    return " · ".join(parts)


def progress_html(counts: Counts, text: str) -> str:
    """The same with a bar."""
    share = counts.done / counts.total if counts.total else 0.0
    bar = f'<progress max="1" value="{share:.4f}" style="width:14em;vertical-align:middle"></progress> '
    return (
        f'<div class="rayjup-progress" style="{_STYLE}">{bar if counts.total > 1 else ""}{escape(text)}</div>'
    )


def finished_text(counts: Counts, elapsed_s: float, interrupted: bool) -> str:
    """One line on calls that were waited for."""
    calls = f"{counts.total:,} call{'' if counts.total == 1 else 's'}"
    if interrupted:
        return f"Interrupted after {counts.done:,} of {calls} and {duration(elapsed_s)}"
    if counts.done < counts.total:
        calls = f"{counts.done:,} of {calls}"
    text = f"{calls} in {duration(elapsed_s)}"
    if counts.total > 1 and elapsed_s > 0:
        text += f" ({rate_text(counts.done / elapsed_s)})"
    return text + (f", {counts.failed:,} failed" if counts.failed else "")


def finished_html(text: str, spent: Mapping[str, float]) -> str:
    """The same; what the time went to shows when the mouse is over it."""
    title = spent_text(spent)
    return f'<div class="rayjup-progress" style="{_STYLE}" title="{escape(title)}">{escape(text)}</div>'


def spent_text(spent: Mapping[str, float]) -> str:
    """``"running 3.0 s, starting 0.5 s"``: seen four times a second, so it is rough."""
    parts = [f"{PHASES[phase]} {duration(s)}" for phase, s in sorted(spent.items(), key=lambda x: -x[1])]
    return ", ".join(parts) + ("; %ray_why says more" if parts else "")


def obstacle(snapshot: Mapping[str, Any], waits_for_arguments: int) -> tuple[str, str]:
    """What calls wait for of which none runs: the phase, and a sentence.

    Parameters
    ----------
    snapshot
        That of the cluster.
    waits_for_arguments
        How many of the calls need what other calls return.
    """
    building = [row for row in snapshot.get("runtime_envs") or [] if row.get("state") == "BUILDING"]
    if building:
        fields = ", ".join(sorted(building[0].get("runtime_env") or {}))
        return "environment", f"the runtime environment ({fields}) is being built"
    for demand in snapshot.get("demand") or []:
        wanted = demand.get("resources") or {}
        nodes = [node for node in snapshot.get("nodes") or [] if node.get("alive", True)]
        named = _amounts(wanted)
        if not any(_holds(node.get("resources_total") or {}, wanted) for node in nodes):
            most = {
                name: max((n.get("resources_total", {}).get(name, 0) for n in nodes), default=0)
                for name in wanted
            }
            return "resources", f"no node has {named} (the most: {_amounts(most)})"
        if not any(_holds(node.get("resources_available") or {}, wanted) for node in nodes):
            free = snapshot.get("resources_available") or {}
            return "resources", f"waits for {named} (free: {_amounts({n: free.get(n, 0) for n in wanted})})"
    actors = [a for a in snapshot.get("actors") or [] if a.get("pending") and a.get("state") != "ALIVE"]
    made = [a for a in actors if a.get("state") in ("PENDING_CREATION", "RESTARTING", "DEPENDENCIES_UNREADY")]
    if made:
        return "actor", f"the actor {made[0].get('class_name')} is being made"
    if waits_for_arguments:
        return "arguments", "waits for the results of other calls"
    return "starting", "a process is being started"


def _holds(has: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(has.get(name, 0) + 1e-9 >= amount for name, amount in wanted.items())


def _amounts(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in resources.items()) or "nothing"


def speed(history: Sequence[tuple[float, int]]) -> float:
    """Calls per second over what is remembered of (time, done)."""
    if len(history) < 2:
        return 0.0
    (began, before), (now, done) = history[0], history[-1]
    return max(0.0, (done - before) / (now - began)) if now > began else 0.0
