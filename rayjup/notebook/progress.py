"""How far a loop on the cluster has got, in the cell that runs it."""

from __future__ import annotations

import time
import uuid
from typing import Any

from rayjup.notebook import cells

_INTERVAL_S = 0.25


class Progress:
    """A bar that is updated in place; called with (finished, failed, all)."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._id = uuid.uuid4().hex
        self._began = time.monotonic()
        self._shown_at: float | None = None
        cells.quieten()

    def __call__(self, finished: int, failed: int, total: int) -> None:
        now = time.monotonic()
        done = finished + failed == total
        if not done and self._shown_at is not None and now - self._shown_at < _INTERVAL_S:
            return
        text = f"{finished + failed:,} of {total:,} items, {now - self._began:.1f} s"
        if failed:
            text += f", {failed:,} failed"
        share = (finished + failed) / total if total else 1.0
        html = f'<progress max="1" value="{share:.4f}" style="width:20em"></progress> <small>{text}</small>'
        self._shell.display_pub.publish(
            data={"text/plain": text, "text/html": html},
            metadata={},
            transient={"display_id": self._id},
            update=self._shown_at is not None,
        )
        self._shown_at = now
