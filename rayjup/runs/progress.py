"""What is added to every reported result: iteration, times, and where it ran."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

TRAINING_ITERATION = "training_iteration"
TIME_TOTAL_S = "time_total_s"
TIME_THIS_ITER_S = "time_this_iter_s"
DONE = "done"
SHOULD_CHECKPOINT = "should_checkpoint"
DEFAULT_METRIC = "_metric"
CHECKPOINT_DIR_NAME = "checkpoint_dir_name"

AUTO_KEYS = frozenset(
    {
        "training_iteration",
        "time_total_s",
        "time_this_iter_s",
        "timestamp",
        "date",
        "done",
        "pid",
        "hostname",
        "node_ip",
        "config",
        "trial_id",
        "experiment_tag",
        "time_since_restore",
        "timesteps_since_restore",
        "iterations_since_restore",
        "timesteps_total",
        "episodes_total",
        "should_checkpoint",
        "checkpoint_dir_name",
        "trainable_name",
        "experiment_id",
    }
)


class Progress:
    """Counts iterations, time, steps and episodes of one run, and fills them into its results."""

    def __init__(self, trial_id: str | None = None) -> None:
        self.trial_id = trial_id
        self.iteration = 0
        self.time_total = 0.0
        self.timesteps_total: int | None = None
        self.episodes_total: int | None = None
        self.restored()

    def restored(self) -> None:
        """Begin to count anew what is counted since the last restore."""
        self.time_since_restore = 0.0
        self.timesteps_since_restore = 0
        self.iterations_since_restore = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep."""
        return {
            "iteration": self.iteration,
            "time_total": self.time_total,
            "timesteps_total": self.timesteps_total,
            "episodes_total": self.episodes_total,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.iteration = state.get("iteration", 0)
        self.time_total = state.get("time_total", 0.0)
        self.timesteps_total = state.get("timesteps_total")
        self.episodes_total = state.get("episodes_total")
        self.restored()

    def fill(self, result: dict[str, Any], seconds: float, *, debug_only: bool = False) -> dict[str, Any]:
        """Count one result that took ``seconds``, and add to it what it does not say itself."""
        seconds = result.get(TIME_THIS_ITER_S, seconds)
        self.iteration += 1
        self.iterations_since_restore += 1
        self.time_total += seconds
        self.time_since_restore += seconds
        steps = result.get("timesteps_this_iter")
        if result.get("timesteps_total") is not None:
            self.timesteps_total = result["timesteps_total"]
        elif steps is not None:
            self.timesteps_total = (self.timesteps_total or 0) + steps
            self.timesteps_since_restore += steps
        episodes = result.get("episodes_this_iter")
        if result.get("episodes_total") is not None:
            self.episodes_total = result["episodes_total"]
        elif episodes is not None:
            self.episodes_total = (self.episodes_total or 0) + episodes
        if self.timesteps_total is not None:
            result.setdefault("timesteps_total", self.timesteps_total)
        if self.episodes_total is not None:
            result.setdefault("episodes_total", self.episodes_total)
        now = time.time()
        result.setdefault("timestamp", int(now))
        result.setdefault(DONE, False)
        result.setdefault(TRAINING_ITERATION, self.iteration)
        for key, value in self.automatic(now, seconds, debug_only=debug_only).items():
            result.setdefault(key, value)
        return result

    def automatic(self, now: float, seconds: float, *, debug_only: bool = False) -> dict[str, Any]:
        """The part of a result that no user reports."""
        added: dict[str, Any] = {
            "trial_id": self.trial_id,
            "date": _date(int(now)),
            TIME_THIS_ITER_S: seconds,
            TIME_TOTAL_S: self.time_total,
            "pid": os.getpid(),
            "hostname": host_name(),
            "node_ip": node_ip(),
            "time_since_restore": self.time_since_restore,
            "iterations_since_restore": self.iterations_since_restore,
        }
        if self.timesteps_since_restore:
            added["timesteps_since_restore"] = self.timesteps_since_restore
        if debug_only:
            return {key: added[key] for key in ("trial_id", "date", "pid", "hostname", "node_ip")}
        return added


@functools.lru_cache(maxsize=8)
def _date(second: int) -> str:
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(second))


@functools.lru_cache(maxsize=1)
def host_name() -> str:
    """This machine's name."""
    return socket.gethostname()


@functools.lru_cache(maxsize=1)
def node_ip() -> str:
    """This node's address."""
    from rayjup.util.node import get_node_ip_address

    return get_node_ip_address()
