"""An experiment out of its journal: trials as they were, and search, scheduler and stopper told the same
story again."""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Callable
from typing import Any

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.checkpoints import CheckpointManager, Reported
from rayjup.runs.config import CheckpointConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.storage import StorageContext
from rayjup.tune.execution import journal, records
from rayjup.tune.execution.controller import TuneController
from rayjup.tune.experiment.trial import Trial

logger = logging.getLogger(__name__)


class Replay:
    """Reads a journal. Without a controller it only collects the trials (for analysis)."""

    def __init__(
        self,
        place: StorageContext,
        checkpoint_config: CheckpointConfig | None = None,
        controller: TuneController | None = None,
    ) -> None:
        self.trials: dict[str, Trial] = {}
        self._place = place
        self._checkpoint_config = checkpoint_config or CheckpointConfig()
        self._controller = controller
        self._deleted: set[str] = set()

    def read(self, path: str) -> dict[str, Trial]:
        """All trials of the journal at ``path``."""
        handlers: dict[str, Callable[..., None]] = {
            records.ADDED: self._added,
            records.STATUS: self._status,
            records.RESULT: self._result,
            records.CHECKPOINT: self._checkpoint,
            records.COMPLETE: self._complete,
            records.ERROR: self._error,
            records.CHANGED: self._changed,
            records.DELETED: self._forget,
        }
        controller = self._controller
        if controller is not None:
            controller.replaying = True
        for kind, *rest in journal.read(path):
            handler = handlers.get(kind)
            if handler is not None:
                handler(*rest)
        self._drop_missing()
        if controller is not None:
            controller.replaying = False
            controller.effects.clear()
        return self.trials

    # ------------------------------------------------------------ records

    def _added(self, trial_id: str, fields: dict[str, Any]) -> None:
        trial = Trial(
            fields["trainable_name"],
            config=fields["config"],
            trial_id=trial_id,
            evaluated_params=fields["evaluated_params"],
            experiment_tag=fields["experiment_tag"],
            placement_group_factory=fields["resources"],
            stopping_criterion=fields["stopping_criterion"],
            checkpoint_config=self._checkpoint_config,
            max_failures=fields["max_failures"],
            log_to_file=fields["log_to_file"],
            restore_path=fields["restore_path"],
            _setup_default_resource=False,
        )
        trial.custom_dirname = fields["dirname"]
        trial.custom_trial_name = fields["name"]
        trial.set_storage(self._place)
        trial._manager = CheckpointManager(self._checkpoint_config)
        self.trials[trial_id] = trial
        if self._controller is not None:
            self._controller.search_alg.on_trial_made_again(trial)
            self._controller.add_trial(trial)

    def _status(self, trial_id: str, status: str, at: float) -> None:
        trial = self.trials[trial_id]
        if self._controller is not None:
            self._controller._set_status(trial, status)
        trial.status = status
        if status == Trial.RUNNING:
            trial.start_time = trial.start_time or at
            trial.restore_from = None

    def _result(self, trial_id: str, result: dict[str, Any]) -> None:
        trial = self.trials[trial_id]
        result["config"] = trial.config
        trial.update_last_result(result)
        controller = self._controller
        if controller is not None and trial.status == Trial.RUNNING:
            if controller.stopper is not None:
                controller.stopper(trial_id, result)
            controller.scheduler.on_trial_result(controller, trial, result)
            controller.search_alg.on_trial_result(trial_id, result)

    def _checkpoint(self, trial_id: str, path: tuple[bool, str], metrics: dict[str, Any], index: int) -> None:
        trial = self.trials[trial_id]
        trial.checkpoint_index = index
        trial.checkpoints.kept.append(Reported(self._at(path), metrics))

    def _complete(self, trial_id: str) -> None:
        trial = self.trials[trial_id]
        controller = self._controller
        if controller is not None:
            result = trial.last_result if trial.has_reported_at_least_once else None
            controller.scheduler.on_trial_complete(controller, trial, trial.last_result)
            controller.search_alg.on_trial_complete(trial_id, result=result)

    def _error(self, trial_id: str, final: bool, count: int, text: tuple[str, str]) -> None:
        trial = self.trials[trial_id]
        trial.num_errors = count
        trial.error = TuneError(f"{text[0]}: {text[1]}")
        controller = self._controller
        if controller is not None and final:
            controller.scheduler.on_trial_error(controller, trial)
            controller.search_alg.on_trial_complete(trial_id, error=True)

    def _changed(
        self,
        trial_id: str,
        config: dict[str, Any],
        restore: tuple[bool, str] | None,
        tag: str,
        resources: Any,
    ) -> None:
        trial = self.trials[trial_id]
        trial.set_config(config)
        trial.set_experiment_tag(tag)
        trial.placement_group_factory = resources
        trial.restore_from = self._at(restore) if restore is not None else None

    def _forget(self, path: tuple[bool, str]) -> None:
        gone = self._at(path).path
        self._deleted.add(gone)
        name = posixpath.basename(posixpath.dirname(gone))
        for trial in self.trials.values():
            if trial.dirname == name:
                manager = trial.checkpoints
                manager.kept = [one for one in manager.kept if one.checkpoint.path != gone]

    def _at(self, path: tuple[bool, str]) -> Checkpoint:
        inside, text = path
        if inside:
            return Checkpoint(
                posixpath.join(self._place.experiment_fs_path, text), self._place.storage_filesystem
            )
        return Checkpoint(text)

    def _drop_missing(self) -> None:
        """Checkpoints that were written down and are not there (removed by hand, or with a lost machine)."""
        for trial in self.trials.values():
            kept = trial.checkpoints.kept
            there = [c for c in kept if storage.exists(c.checkpoint.filesystem, c.checkpoint.path)]
            if len(there) < len(kept):
                trial.checkpoints.kept = there


def restore(
    controller: TuneController,
    place: StorageContext,
    checkpoint_config: CheckpointConfig,
    *,
    unfinished: str = "resume",
    errored: str = "skip",
    finished: str = "skip",
) -> None:
    """Bring a controller to where its experiment's journal ends, and let trials go on as asked.

    Each of the three is ``"resume"`` (from the last checkpoint), ``"restart"`` (from the beginning) or
    ``"skip"``.
    """
    replay = Replay(place, checkpoint_config, controller)
    trials = replay.read(os.path.join(place.experiment_local_path, journal.FILE))
    for trial in trials.values():
        if trial.status == Trial.TERMINATED:
            wanted = finished
        elif trial.status == Trial.ERROR:
            wanted = errored
        else:
            wanted = unfinished
        trial.num_restored_errors = trial.num_errors
        if wanted == "skip":
            if not trial.is_finished():
                controller._set_status(trial, Trial.TERMINATED)
            continue
        if wanted == "restart":
            trial.restore_from = None
            trial.checkpoints.kept.clear()
            trial._last_result = {}
            trial._analysis = {}
            trial._results = 0
        if trial.status in (Trial.ERROR, Trial.TERMINATED):
            trial.error = None
        # Paused ones stay so: the scheduler says when they go on.
        if trial.status != Trial.PAUSED or wanted == "restart":
            controller._set_status(trial, Trial.PENDING)
