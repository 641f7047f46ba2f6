"""Trainable functions on a runner: one thread runs them one after the other; `advance` waits for what they
report."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from rayjup.runs import function_trainable, session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.errors import TrialStopped
from rayjup.runs.progress import Progress, node_ip
from rayjup.tune.execution import spec as told
from rayjup.tune.execution.errors import trial_error
from rayjup.tune.execution.runner import CheckpointWriter, Inbox, Place, is_late, meets
from rayjup.tune.execution.spec import RunnerSetup, TrialSpec

_MOST_WAITING = 10_000  # a function that reports faster than its reports are fetched waits


class TrialSession(session.RunSession):
    """What a function of a trial finds: `FunctionRun` takes its reports."""

    kind = "tune"

    def __init__(self, owner: FunctionRun, spec: TrialSpec) -> None:
        self.experiment_name = spec.experiment_name
        self.trial_name, self.trial_id = spec.trial_name, spec.trial_id
        self.trial_dir, self.trial_resources = spec.local_dir, spec.resources
        self.storage = spec.storage
        self.spec = spec
        self.progress = Progress(spec.trial_id)
        if spec.progress:
            self.progress.set_state(spec.progress)
        self.writer = CheckpointWriter(spec)
        self.last = time.monotonic()
        self._owner = owner
        self._checkpoint = spec.restore_from

    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, **options: Any) -> None:
        """Add what belongs to every result, keep the checkpoint, and hand both over."""
        now = time.monotonic()
        if checkpoint is not None:
            checkpoint, metrics["checkpoint_dir_name"] = self.writer.keep(checkpoint)
            self._checkpoint = checkpoint
        result = self.progress.fill(metrics, now - self.last)
        self._owner.report(self, result, checkpoint)
        self.last = time.monotonic()

    def get_checkpoint(self) -> Checkpoint | None:
        """What it goes on from: the newest checkpoint."""
        return self._checkpoint


class FunctionRun:
    """Runs functions in one thread that lives as long as the actor."""

    def __init__(self, function: Callable[..., Any], setup: RunnerSetup, home: str) -> None:
        self._function = function
        self._setup = setup
        self._home = home
        self._inbox = Inbox()
        self._changed = threading.Condition()
        self._events: list[tuple[Any, ...]] = []
        self._first_event = 0.0
        self._current: str | None = None
        self._current_since = 0.0
        self._held_up = False  # the function waits to be told to go on
        self._ended = False  # a trial has, since the last answer
        self._ending = False
        self._thread = threading.Thread(target=self._main, daemon=True, name="trials")
        self._thread.start()

    def advance(self, commands: list[tuple[Any, ...]], wait_s: float) -> list[tuple[Any, ...]]:
        """See `Runner.advance`."""
        deadline = time.monotonic() + wait_s
        with self._changed:
            self._inbox.take(commands)
            for event in self._inbox.drop_stopped():
                self._add(event)
            self._changed.notify_all()
            while True:
                now = time.monotonic()
                if self._is_idle() or self._is_held_up() or (self._ended and self._setup.tell_ends):
                    break
                until = deadline
                if self._events:
                    until = min(deadline, self._first_event + self._setup.flush_s)
                if now >= until:
                    break
                self._changed.wait(until - now)
            if self._inbox.queue and self._current is not None and is_late(self._current_since):
                for event in self._inbox.give_back():
                    self._add(event)
            events, self._events = self._events, []
            self._ended = False
            self._changed.notify_all()
            return events

    def end(self) -> None:
        """End the thread at the function's next report."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def report(self, run: TrialSession, result: dict[str, Any], checkpoint: Checkpoint | None) -> None:
        """Called in the thread: hand over a report; returns when the function may go on."""
        trial_id = run.spec.trial_id
        over = meets(run.spec.stopping_criterion, result)
        with self._changed:
            if trial_id in self._inbox.stop or self._ending:
                raise TrialStopped
            while len(self._events) > _MOST_WAITING and not self._ending:
                self._changed.wait()
            self._inbox.go.discard(trial_id)
            self._add((told.REPORTED, trial_id, result, checkpoint))
            if over:
                raise TrialStopped
            if not self._setup.lockstep:
                return
            self._held_up = True
            self._changed.notify_all()
            while not (trial_id in self._inbox.go or trial_id in self._inbox.stop or self._ending):
                self._changed.wait()
            self._held_up = False
            if trial_id in self._inbox.stop or self._ending:
                raise TrialStopped

    # ------------------------------------------------------------ inside

    def _add(self, event: tuple[Any, ...]) -> None:
        if not self._events:
            self._first_event = time.monotonic()
            if self._setup.flush_s > 0 or self._setup.lockstep:
                self._changed.notify_all()
        self._events.append(event)

    def _is_idle(self) -> bool:
        return self._current is None and not self._inbox.queue

    def _is_held_up(self) -> bool:
        """Whether the function waits for the driver, who has to hear of its report first."""
        current = self._current
        return (
            self._held_up
            and current is not None
            and current not in self._inbox.go
            and current not in self._inbox.stop
        )

    def _main(self) -> None:
        while True:
            with self._changed:
                self._current = None
                self._changed.notify_all()
                while not self._inbox.queue and not self._ending:
                    self._changed.wait()
                if self._ending:
                    return
                spec = self._inbox.queue.popleft()
                self._current = spec.trial_id
                self._current_since = time.monotonic()
                self._add((told.STARTED, spec.trial_id, os.getpid(), node_ip()))
            event: tuple[Any, ...] = (told.ENDED, spec.trial_id)
            try:
                run = TrialSession(self, spec)
                with Place(spec, self._setup, self._home).entered():
                    function_trainable.call(self._function, spec.config, run)
            except TrialStopped:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the trial's error
                event = (told.FAILED, spec.trial_id, trial_error(error))
            with self._changed:
                self._inbox.stop.pop(spec.trial_id, None)
                self._ended = True
                self._add(event)
