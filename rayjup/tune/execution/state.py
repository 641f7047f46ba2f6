"""What a display sees of an experiment: one row on the cluster's board, renewed while it runs."""

from __future__ import annotations

import collections
import math
import threading
import time
from typing import Any

from rayjup.runs.board import Board
from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.progress import AUTO_KEYS
from rayjup.tune.experiment.trial import Trial

_ROWS = 100  # of the trials on the board
_POINTS = 60  # of a trial's curve
_INTERVAL_S = 0.25


class RunState:
    """Gathers what is shown: counts, the best so far, trials with their newest metrics and curves.

    Requests of those who watch (``{"stop": trial id or "*"}``) come back through `take_requests`.
    """

    def __init__(self, name: str, path: str, metric: str | None, mode: str | None, total: int) -> None:
        self.interrupted = False
        self._board = Board("tune", name, self._ask)
        self._name, self._path = name, path
        self._metric, self._mode = metric, mode
        self._total = total
        self._curves: dict[str, collections.deque[float]] = {}
        self._best: tuple[float, str] | None = None
        self._requests: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._published_at = 0.0
        self._recent: collections.OrderedDict[str, Trial] = collections.OrderedDict()

    def result(self, trial: Trial, result: dict[str, Any]) -> None:
        """A trial has reported."""
        self._recent[trial.trial_id] = trial
        self._recent.move_to_end(trial.trial_id)
        if len(self._recent) > _ROWS:
            old, _ = self._recent.popitem(last=False)
            self._curves.pop(old, None)
        metric = self._metric
        if metric is None:
            return
        value = look_up(result, metric) if isinstance(metric, str) else None
        if not isinstance(value, (int, float)) or math.isnan(value):
            return
        curve = self._curves.get(trial.trial_id)
        if curve is None:
            curve = self._curves[trial.trial_id] = collections.deque(maxlen=_POINTS)
        curve.append(float(value))
        if (
            self._best is None
            or (self._mode == "max" and value > self._best[0])
            or (self._mode == "min" and value < self._best[0])
        ):
            self._best = (float(value), trial.trial_id)

    def publish(self, controller: Any, *, last: bool = False) -> None:
        """Renew the row, a few times a second."""
        now = time.monotonic()
        if not last and now - self._published_at < _INTERVAL_S:
            return
        self._published_at = now
        row = self.row(controller)
        self._board.post(row)
        if last:
            self._board.close("interrupted" if self.interrupted else "finished")

    def row(self, controller: Any) -> dict[str, Any]:
        """What is on the board."""
        trials = list(controller._trials.values())
        counts = collections.Counter(trial.status for trial in trials)
        shown = dict(self._recent)
        for trial in controller._live.values():
            if len(shown) >= _ROWS:
                break
            shown.setdefault(trial.trial_id, trial)
        best = None
        if self._best is not None:
            value, trial_id = self._best
            winner = controller.get_trial(trial_id)
            best = {"trial_id": trial_id, "value": value}
            if winner is not None:
                best["config"] = _short(winner.evaluated_params or winner.config)
        return {
            "name": self._name,
            "path": self._path,
            "metric": self._metric,
            "mode": self._mode,
            "total": controller.search_alg.total_samples or self._total,
            "counts": dict(counts),
            "best": best,
            "trials": [self._trial(trial) for trial in shown.values()],
        }

    def take_requests(self) -> list[dict[str, Any]]:
        """What those who watch have asked for."""
        with self._lock:
            requests, self._requests = self._requests, []
        return requests

    def _ask(self, request: dict[str, Any]) -> None:
        with self._lock:
            self._requests.append(request)

    def _trial(self, trial: Trial) -> dict[str, Any]:
        result = trial._last_result
        metrics = {
            name: value
            for name, value in flatten({k: v for k, v in result.items() if k not in AUTO_KEYS}).items()
            if isinstance(value, (int, float))
        }
        return {
            "trial_id": trial.trial_id,
            "status": trial.status,
            "config": _short(trial.evaluated_params or trial.config),
            "metrics": dict(list(metrics.items())[:8]),
            "iteration": result.get("training_iteration", 0),
            "seconds": result.get("time_total_s", 0.0),
            "curve": list(self._curves.get(trial.trial_id, ())),
            "error": str(trial.error)[:200] if trial.error is not None else None,
        }


def _short(config: Any) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (int, float, bool, type(None))) else str(value)[:40]
        for name, value in list(flatten(config).items())[:12]
    }
