"""What a run shows of itself: a row on the cluster's board, and a display in the cell that runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.runs.board import Board
from rayjup.runs.result import Result
from rayjup.train.display import RunDisplay

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup
    from rayjup.train.controller.leader import Leader

_HISTORY = 100


class Publisher:
    """Says what a run does.

    Parameters
    ----------
    leader
        Whose run it is.
    on_request
        Takes what watchers ask for.
    """

    def __init__(self, leader: Leader, on_request: Callable[[dict[str, Any]], None]) -> None:
        self._leader = leader
        self._board = Board("train", leader.job.run_id, on_request)
        self._ranks: list[dict[str, Any]] = []
        self._phase = "starting"
        self._note = ""
        self._dirty = True
        self._closed = False
        self._since = time.time()
        # A trial's run is shown by its experiment.
        self._display = RunDisplay(leader.job.name) if leader.trial is None else None
        self._post()

    # ------------------------------------------------------------ events

    def phase(self, phase: str) -> None:
        """The run has come to another phase."""
        self._phase = phase
        self._dirty = True

    def workers(self, group: WorkerGroup) -> None:
        """The workers are up."""
        self._phase = "running"
        self._ranks = [
            {
                "rank": worker.world_rank,
                "node_id": worker.info["node_id"],
                "host": worker.info["hostname"],
                "pid": worker.info["pid"],
                "gpus": worker.info["accelerators"].get("GPU", []),
                "state": "running",
            }
            for worker in group.workers
        ]
        self._dirty = True

    def rank(self, rank: int, state: str) -> None:
        """A rank has come to another state."""
        if rank < len(self._ranks):
            self._ranks[rank]["state"] = state
        self._dirty = True

    def behind(self, ranks: tuple[int, ...]) -> None:
        """These ranks keep the others waiting."""
        for rank in ranks:
            self._ranks[rank]["state"] = "hangs?"
        self._dirty = True

    def failed(self, text: str) -> None:
        """Workers have failed."""
        self._note = text
        self._dirty = True

    def reported(self) -> None:
        """A report was taken in."""
        for row in self._ranks:
            if row["state"] == "hangs?":
                row["state"] = "running"
        self._dirty = True

    def turn(self) -> None:
        """Publish what is new."""
        if self._dirty:
            self._dirty = False
            self._post()

    def close(self, state: str, result: Result | None = None) -> None:
        """The run has ended."""
        if self._closed:
            return
        self._closed = True
        self._phase = state
        for row in self._ranks:
            if row["state"] == "running":
                row["state"] = state
        self._post(last=True)
        self._board.close(state)

    # ------------------------------------------------------------ inside

    def row(self) -> dict[str, Any]:
        """What is published."""
        leader = self._leader
        ledger, machine = leader.ledger, leader.machine
        return {
            "name": leader.job.name,
            "state": self._phase,
            "attempt": machine.attempt,
            "failures": machine.failures,
            "workers": [dict(one) for one in self._ranks],
            "iteration": ledger.iteration,
            "seconds": time.time() - self._since,
            "metrics": ledger.metrics or {},
            "history": list(ledger.points)[-_HISTORY:],
            "checkpoints": [
                {"path": one.checkpoint.path, "status": one.status.value, "metrics": one.metrics}
                for one in ledger.reported()[-20:]
            ],
            "path": ledger.path,
            "note": self._note[-2000:],
            "tune": leader.trial is not None,
        }

    def _post(self, last: bool = False) -> None:
        row = self.row()
        self._board.post(row)
        if self._display is not None:
            self._display.show(row, list(self._leader.ledger.points), last=last)
