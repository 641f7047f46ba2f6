"""XGBoost's collective: a tracker beside rank 0, which all workers join."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayjup.train.backend import Backend, BackendConfig

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup

_here: dict[str, Any] = {}  # of a worker's process: the tracker (rank 0), and how to join it


@dataclass
class XGBoostConfig(BackendConfig):
    """How workers find each other.

    Parameters
    ----------
    xgboost_communicator
        ``"rabit"``, XGBoost's own collective.
    """

    xgboost_communicator: str = "rabit"

    def __post_init__(self) -> None:
        if self.xgboost_communicator != "rabit":
            raise ValueError(
                f"XGBoostConfig: xgboost_communicator is {self.xgboost_communicator!r}; there is 'rabit' only"
            )

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return XGBoostBackend

    @property
    def framework(self) -> str:
        """``"xgboost"``."""
        return "xgboost"

    @property
    def train_func_context(self) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """The collective, for as long as the function runs."""
        return communicator

    @property
    def preload(self) -> tuple[str, ...]:
        """XGBoost and pandas."""
        return ("pandas", "xgboost")


class XGBoostBackend(Backend):
    """Starts the tracker."""

    def on_training_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Start the tracker beside rank 0 and tell all ranks."""
        size = len(worker_group)
        arguments = worker_group.execute_single(
            0, start_tracker, size, worker_group.workers[0].info["node_ip"]
        )
        import rayjup

        rayjup.get(
            [
                worker.actor.execute.remote(
                    remember, {**arguments, "dmlc_task_id": f"{worker.world_rank:08d}"}
                )
                for worker in worker_group.workers
            ]
        )


def start_tracker(size: int, address: str) -> dict[str, Any]:
    """On rank 0's worker: start the tracker; what workers need to join."""
    from rayjup.runs.extras import load

    tracker_module = load("xgboost.tracker", "XGBoostTrainer", "xgboost")
    # By task id: ranks of the collective are then the ranks of the run.
    tracker = tracker_module.RabitTracker(n_workers=size, host_ip=address, sortby="task")
    tracker.start()
    arguments: dict[str, Any] = tracker.worker_args()
    _here["tracker"] = tracker
    threading.Thread(target=tracker.wait_for, daemon=True, name="xgboost-tracker").start()
    return arguments


def remember(arguments: dict[str, Any]) -> None:
    """On a worker: keep how to join."""
    _here["arguments"] = arguments


@contextlib.contextmanager
def communicator() -> Iterator[None]:
    """Be a member of the collective. Without a tracker (``num_workers=0``) there is nothing to join."""
    arguments = _here.get("arguments")
    if arguments is None:
        yield
        return
    from xgboost.collective import CommunicatorContext

    with CommunicatorContext(**arguments):
        yield
