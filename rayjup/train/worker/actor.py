"""The worker: an actor that runs the training function in a thread and hands out what happens.

``poll`` is answered when there is something to tell, so nobody asks in vain. What it gives, in order:
``("report", index, metrics, checkpoint, complete, validation)``, ``("finished", value)``,
``("failed", error, text, at, follows)``, ``("ask", number, mode, timeout_s)``,
``("meet", number, what, payload)``.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import rayjup
from rayjup.runs.errors import TrialStopped
from rayjup.runs.session import use
from rayjup.train.preemption import PreemptionInfo
from rayjup.train.reporting import CheckpointConsistencyMode, ReportedCheckpoint
from rayjup.train.worker.calling import call_train_function
from rayjup.train.worker.failures import describe, follows_another, sendable
from rayjup.train.worker.session import TrainSession, WorkerContext


class RayTrainWorker:
    """One worker of a training run."""

    def __init__(self) -> None:
        self._events: collections.deque[tuple[Any, ...]] = collections.deque()
        self._changed = threading.Condition()
        self._session: TrainSession | None = None
        self._thread: threading.Thread | None = None
        self._answers: dict[int, list[ReportedCheckpoint]] = {}
        self._asked = 0
        self._met: dict[int, tuple[str, Any]] = {}
        self._meetings = 0

    # ------------------------------------------------------------ before training

    def info(self) -> dict[str, Any]:
        """Where this worker is and what it has."""
        context = rayjup.get_runtime_context()
        from rayjup.util.node import get_node_ip_address

        return {
            "node_id": context.get_node_id(),
            "node_ip": get_node_ip_address(),
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "accelerators": context.get_accelerator_ids(),
        }

    def execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function here, outside of training."""
        return function(*args, **kwargs)

    def start(
        self,
        function: Callable[..., Any],
        config: dict[str, Any] | None,
        context: WorkerContext,
        around: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        """Start the training function in a thread of its own."""
        if context.log_level is not None:
            logging.getLogger("rayjup.train").setLevel(context.log_level)
        session = TrainSession(context, self._put)
        session.ask_reported = self._ask
        session.meet = self._meet
        self._session = session
        run = copy_context()

        def main() -> None:
            self._put(self._outcome(session, lambda: call_train_function(function, config, around)))

        self._thread = threading.Thread(target=run.run, args=(main,), name="training", daemon=True)
        self._thread.start()

    def _outcome(self, session: TrainSession, call: Callable[[], Any]) -> tuple[Any, ...]:
        try:
            with use(session):
                value = call()
            session.finish_uploads()
        except TrialStopped:
            return ("finished", None)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the rank's failure
            text = describe(error)
            return ("failed", sendable(error, text), text, time.time(), follows_another(error))
        try:
            import cloudpickle

            cloudpickle.dumps(value)
        except Exception as error:  # noqa: BLE001 - pickling calls user code, which may raise anything
            kind = type(value).__name__
            problem = TypeError(f"what the training function returned ({kind}) can't be sent: {error}")
            return ("failed", problem, f"{type(problem).__name__}: {problem}", time.time(), False)
        return ("finished", value)

    # ------------------------------------------------------------ during training

    def poll(self, timeout_s: float) -> list[tuple[Any, ...]]:
        """What has happened since the last call; waits for something."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._events), timeout_s)
            found = list(self._events)
            self._events.clear()
        return found

    def release(self, index: int) -> None:
        """All ranks have made this report."""
        if self._session is not None:
            self._session.release(index)

    def preempt(self, info: PreemptionInfo) -> None:
        """Nodes of the run are about to be taken away."""
        if self._session is not None:
            self._session.preemption = info

    def answer(self, number: int, reported: list[ReportedCheckpoint]) -> None:
        """What ``get_all_reported_checkpoints`` asked for."""
        with self._changed:
            self._answers[number] = reported
            self._changed.notify_all()

    def met(self, number: int, error: str, payload: Any) -> None:
        """All ranks have come to a meeting."""
        with self._changed:
            self._met[number] = (error, payload)
            self._changed.notify_all()

    def stack(self) -> str:
        """Where the training function is now."""
        thread = self._thread
        frame = sys._current_frames().get(thread.ident or 0) if thread is not None else None
        return "".join(traceback.format_stack(frame)[-3:]) if frame is not None else ""

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Have the training function end at its report; whether it has ended."""
        if self._session is not None:
            self._session.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    # ------------------------------------------------------------ inside

    def _put(self, event: tuple[Any, ...]) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _ask(self, mode: CheckpointConsistencyMode, timeout_s: float | None) -> list[ReportedCheckpoint]:
        with self._changed:
            self._asked += 1
            number = self._asked
        self._put(("ask", number, mode, timeout_s))
        with self._changed:
            if not self._changed.wait_for(lambda: number in self._answers, timeout_s):
                raise TimeoutError(f"the checkpoints of the run were not known within {timeout_s} s")
            return self._answers.pop(number)

    def _meet(self, what: str, payload: Any) -> Any:
        with self._changed:
            number = self._meetings
            self._meetings += 1
        self._put(("meet", number, what, payload))
        with self._changed:
            self._changed.wait_for(lambda: number in self._met)
            error, brought = self._met.pop(number)
        if error:
            raise RuntimeError(error)
        return brought
