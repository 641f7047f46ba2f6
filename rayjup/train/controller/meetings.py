"""Meetings of all ranks: what ``barrier`` and ``broadcast_from_rank_zero`` are made of."""

from __future__ import annotations

from typing import Any


class Meetings:
    """Collects the ranks at each meeting; pure.

    Examples
    --------
    >>> from rayjup.train.controller.meetings import Meetings
    >>> meetings = Meetings()
    >>> meetings.arrive(2, 1, 0, "broadcast", None)
    >>> meetings.arrive(2, 0, 0, "broadcast", "payload")
    ('', 'payload')
    """

    def __init__(self) -> None:
        self._here: dict[int, dict[int, tuple[str, Any]]] = {}

    def arrive(self, size: int, rank: int, number: int, what: str, payload: Any) -> tuple[str, Any] | None:
        """A rank has come to its meeting of this number. When all have: an error's text (or none) and
        what rank
        0 brought."""
        here = self._here.setdefault(number, {})
        here[rank] = (what, payload)
        if len(here) < size:
            return None
        del self._here[number]
        kinds = {rank: kind for rank, (kind, _) in here.items()}
        if len(set(kinds.values())) > 1:
            said = ", ".join(f"rank {r}: {kind}" for r, kind in sorted(kinds.items()))
            return (f"the ranks have met for different things ({said}); all must make the same calls", None)
        return ("", here[0][1])
