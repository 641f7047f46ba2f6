"""What a process counts and measures of its requests: cheap to add to, added up by the controller."""

from __future__ import annotations

import bisect
from typing import Any

# Upper bounds of the classes into which durations are counted, in milliseconds: 12 % apart.
BOUNDS = tuple(0.05 * 1.125**n for n in range(150))
_SLOTS = len(BOUNDS) + 1


class Measures:
    """Requests by result, and how long they took."""

    __slots__ = ("by_route", "counts", "errors", "requests", "total_ms")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.total_ms = 0.0
        self.counts = [0] * _SLOTS
        self.by_route: dict[tuple[str, str, int], int] = {}  # route, method, status

    def add(self, ms: float, failed: bool) -> None:
        """Count a request."""
        self.requests += 1
        self.total_ms += ms
        if failed:
            self.errors += 1
        self.counts[bisect.bisect_left(BOUNDS, ms)] += 1

    def add_http(self, route: str, method: str, status: int, ms: float) -> None:
        """Count a request over HTTP."""
        self.add(ms, status >= 500)
        key = (route, method, status)
        self.by_route[key] = self.by_route.get(key, 0) + 1

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "total_ms": self.total_ms,
            "counts": {i: n for i, n in enumerate(self.counts) if n},
            "by_route": list(self.by_route.items()),
        }


def percentile(counts: dict[int, int], share: float) -> float:
    """The duration, in milliseconds, below which this share of the counted requests lies."""
    total = sum(counts.values())
    if not total:
        return 0.0
    left = share * total
    for slot in sorted(counts):
        left -= counts[slot]
        if left <= 0:
            return BOUNDS[min(slot, len(BOUNDS) - 1)]
    return BOUNDS[-1]


def difference(now: dict[int, int], before: dict[int, int]) -> dict[int, int]:
    """What was counted between two snapshots."""
    return {slot: count - before.get(slot, 0) for slot, count in now.items() if count > before.get(slot, 0)}
