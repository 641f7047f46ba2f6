"""From effects to records of the journal: what is written down of what happens."""

from __future__ import annotations

import posixpath
import time
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.storage import StorageContext
from rayjup.tune.execution.journal import Journal
from rayjup.tune.experiment.trial import Trial

ADDED = "T"
STATUS = "S"
RESULT = "R"
CHECKPOINT = "K"
COMPLETE = "C"
ERROR = "E"
CHANGED = "G"
DELETED = "D"
INTERRUPTED = "I"


class Recorder:
    """Writes effects into the journal. Paths are written relative to the experiment, which may be moved."""

    def __init__(self, journal: Journal, place: StorageContext) -> None:
        self._journal = journal
        self._root = place.experiment_fs_path
        self._configs: dict[str, Any] = {}

    def record(self, effect: tuple[Any, ...]) -> None:
        """Write an effect down, if it is needed to go on."""
        kind = effect[0]
        add = self._journal.add
        if kind == "result":
            trial, result = effect[1], effect[2]
            add(RESULT, trial.trial_id, {k: v for k, v in result.items() if k != "config"})
        elif kind == "status":
            add(STATUS, effect[1].trial_id, effect[1].status, time.time())
        elif kind == "added":
            trial = effect[1]
            add(ADDED, trial.trial_id, self._trial(trial))
        elif kind == "complete":
            add(COMPLETE, effect[1].trial_id)
        elif kind == "checkpoint":
            trial, reported = effect[1], effect[2]
            if reported is not None:
                path = self._relative(reported.checkpoint)
                add(CHECKPOINT, trial.trial_id, path, reported.metrics, trial.checkpoint_index)
        elif kind == "error":
            trial = effect[1]
            add(ERROR, trial.trial_id, effect[2], trial.num_errors, _text_of(trial.error))
        elif kind == "changed":
            trial = effect[1]
            restore = self._relative(trial.restore_from) if trial.restore_from is not None else None
            tag, resources = trial.experiment_tag, trial.placement_group_factory
            add(CHANGED, trial.trial_id, dict(trial.config), restore, tag, resources)
        elif kind == "delete":
            add(DELETED, self._relative(effect[1]))

    def interrupted(self) -> None:
        """The user has ended the experiment before its end."""
        self._journal.add(INTERRUPTED, time.time())

    def flush(self) -> None:
        """Write what waits to the file."""
        self._journal.flush()

    def close(self) -> None:
        """Write what waits and close the file."""
        self._journal.close()

    def _relative(self, checkpoint: Checkpoint) -> tuple[bool, str]:
        """Path of a checkpoint: relative to the experiment if it lies in there."""
        if checkpoint.path.startswith(self._root + "/"):
            return True, posixpath.relpath(checkpoint.path, self._root)
        return False, checkpoint.path

    def _trial(self, trial: Trial) -> dict[str, Any]:
        return {
            "trainable_name": trial.trainable_name,
            "config": trial.config,
            "evaluated_params": trial.evaluated_params,
            "experiment_tag": trial.experiment_tag,
            "dirname": trial.dirname,
            "name": trial.custom_trial_name,
            "resources": trial.placement_group_factory,
            "stopping_criterion": trial.stopping_criterion,
            "max_failures": trial.max_failures,
            "log_to_file": trial.log_to_file,
            "restore_path": trial.restore_path,
        }


def _text_of(error: Exception | None) -> tuple[str, str]:
    return type(error).__name__, str(error)
