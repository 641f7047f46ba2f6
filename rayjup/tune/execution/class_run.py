"""Trainable classes on a runner: `advance` itself steps them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.progress import DONE, SHOULD_CHECKPOINT, TRAINING_ITERATION, node_ip
from rayjup.runs.trainable import Trainable, TrialInfo
from rayjup.tune.execution import spec as told
from rayjup.tune.execution.errors import trial_error
from rayjup.tune.execution.runner import CheckpointWriter, Inbox, Place, is_late, meets
from rayjup.tune.execution.spec import RunnerSetup, TrialSpec


class ClassRun:
    """Steps one trainable at a time, in the actor's main thread."""

    def __init__(self, trainable: type[Trainable], setup: RunnerSetup, home: str) -> None:
        self._class = trainable
        self._setup = setup
        self._home = home
        self._inbox = Inbox()
        self._events: list[tuple[Any, ...]] = []
        self._spec: TrialSpec | None = None
        self._since = 0.0
        self._waits = False  # for "go"
        self._trainable: Trainable | None = None
        self._writer: CheckpointWriter | None = None

    def advance(self, commands: list[tuple[Any, ...]], wait_s: float) -> list[tuple[Any, ...]]:
        """See `Runner.advance`: step until reports are due, or the driver has to be heard."""
        self._inbox.take(commands)
        self._events += self._inbox.drop_stopped()
        until = time.monotonic() + self._setup.flush_s
        while True:
            spec = self._spec
            if spec is None and not self._inbox.queue:
                break
            try:
                if spec is None:
                    spec = self._begin()
                else:
                    self._obey(spec)
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the trial's error
                assert spec is not None or self._spec is not None
                self._leave(told.FAILED, error)
            if self._waits or time.monotonic() >= until:
                break
        if self._spec is not None and self._inbox.queue and is_late(self._since):
            self._events += self._inbox.give_back()
        events, self._events = self._events, []
        return events

    def end(self) -> None:
        """Clean the trainable up."""
        if self._trainable is not None:
            self._trainable.stop()
            self._trainable = None

    # ------------------------------------------------------------ inside

    def _begin(self) -> TrialSpec:
        spec = self._spec = self._inbox.queue.popleft()
        self._since = time.monotonic()
        self._waits = False
        self._events.append((told.STARTED, spec.trial_id, os.getpid(), node_ip()))
        self._writer = CheckpointWriter(spec)
        info = TrialInfo(spec.trial_name, spec.trial_id, spec.local_dir, spec.resources, spec.experiment_name)
        config = {**spec.config, "__trial_info__": info}
        with Place(spec, self._setup, self._home).entered():
            reused = (
                self._trainable is not None
                and self._setup.reuse
                and self._trainable.reset(dict(config), storage=spec.storage)
            )
            if not reused:
                self.end()
                self._trainable = self._class(config=config, storage=spec.storage)
            assert self._trainable is not None
            if spec.restore_from is not None:
                self._trainable.restore(spec.restore_from)
            if spec.progress:
                self._trainable._progress.set_state(spec.progress)
        return spec

    def _obey(self, spec: TrialSpec) -> None:
        """Do what was asked, or the next step."""
        trial_id = spec.trial_id
        inbox = self._inbox
        if trial_id in inbox.save:
            inbox.save.discard(trial_id)
            self._save(spec)
            self._waits = self._setup.lockstep
            return
        if trial_id in inbox.stop:
            if inbox.stop.pop(trial_id):
                self._save(spec)
            self._leave(told.ENDED)
            return
        if self._waits and trial_id not in inbox.go:
            return
        inbox.go.discard(trial_id)
        self._waits = False
        self._step(spec)

    def _step(self, spec: TrialSpec) -> None:
        assert self._trainable is not None
        with Place(spec, self._setup, self._home).entered():
            result = self._trainable.train()
        result = dict(result)
        over = bool(result.get(DONE)) or meets(spec.stopping_criterion, result)
        often = spec.checkpoint_frequency
        due = bool(often and result[TRAINING_ITERATION] % often == 0) or bool(result.get(SHOULD_CHECKPOINT))
        checkpoint = None
        if due or (over and spec.checkpoint_at_end):
            checkpoint, result["checkpoint_dir_name"] = self._kept(spec)
        self._events.append((told.REPORTED, spec.trial_id, result, checkpoint))
        if over:
            self._leave(told.ENDED)
        else:
            self._waits = self._setup.lockstep

    def _save(self, spec: TrialSpec) -> None:
        assert self._trainable is not None
        checkpoint, _ = self._kept(spec)
        self._events.append((told.SAVED, spec.trial_id, checkpoint, self._trainable._last_result or {}))

    def _kept(self, spec: TrialSpec) -> tuple[Checkpoint, str]:
        assert self._trainable is not None and self._writer is not None
        local = tempfile.mkdtemp(prefix="checkpoint_tmp_")
        try:
            with Place(spec, self._setup, self._home).entered():
                saved = self._trainable.save(local)
            assert saved.checkpoint is not None
            return self._writer.keep(saved.checkpoint, move=True)
        finally:
            shutil.rmtree(local, ignore_errors=True)

    def _leave(self, kind: str, error: BaseException | None = None) -> None:
        """The trial is over here; the trainable stays for the next one, if it may be reused."""
        assert self._spec is not None
        trial_id = self._spec.trial_id
        self._spec = None
        self._waits = False
        if error is not None:
            broken, self._trainable = self._trainable, None
            del broken  # its cleanup might fail like the rest of it
            self._events.append((kind, trial_id, trial_error(error)))
            return
        if not self._setup.reuse:
            try:
                self.end()
            except Exception as failed:  # noqa: BLE001 - a user's cleanup that fails is the trial's error
                self._trainable = None
                self._events.append((told.FAILED, trial_id, trial_error(failed)))
                return
        self._events.append((kind, trial_id))
