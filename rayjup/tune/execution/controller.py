"""The trial loop as a state machine: events in, effects out; no clock, no files, no processes.

`TuneController` knows all trials and asks the search algorithm, the scheduler and the stopper. Who drives
it (`loop`) tells it what happened (`started`, `reported`, `saved`, `ended`, `failed`, `lost`) and carries
out what it puts into `effects`, a list of tuples:

``("added", trial)``, ``("status", trial)``, ``("result", trial, result)``, ``("checkpoint", trial,
reported)``,
``("complete", trial, result)``, ``("error", trial, final)``, ``("changed", trial)``: to be written down and
told to callbacks.
``("go", trial)``, ``("save", trial)``, ``("stop", trial, save)``: to be sent to the trial's runner.
``("delete", checkpoint)``: to be removed from storage.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.checkpoints import CheckpointManager, look_up
from rayjup.runs.config import FailureConfig
from rayjup.runs.errors import TuneError
from rayjup.tune.experiment.trial import Trial
from rayjup.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler
from rayjup.tune.search.generator import SearchAlgorithm
from rayjup.tune.stopper import Stopper


class TuneController:
    """What schedulers get; all trials and what becomes of them.

    Parameters
    ----------
    search_alg, scheduler, stopper
        Who makes trials, decides on them, and ends them.
    failure_config
        What happens after failures.
    room
        Whether a trial could be started now (asked of who drives the machine).
    """

    def __init__(
        self,
        search_alg: SearchAlgorithm,
        scheduler: TrialScheduler | None = None,
        stopper: Stopper | None = None,
        failure_config: FailureConfig | None = None,
        room: Callable[[Trial], bool] = lambda trial: True,
        can_save: bool = True,
    ) -> None:
        self.search_alg = search_alg
        self.scheduler = scheduler or FIFOScheduler()
        self.stopper = stopper
        self.failure_config = failure_config or FailureConfig()
        self.can_save = can_save
        self.effects: list[tuple[Any, ...]] = []
        self.replaying = False
        self.stopping = False
        self.failure: Exception | None = None
        self.iteration = 0
        self._room = room
        self.all_trials: list[Trial] = []  # in the order they were made
        self._trials: dict[str, Trial] = {}
        self._waiting: dict[str, Trial] = {}  # PENDING, in order
        self._live: dict[str, Trial] = {}  # neither TERMINATED nor ERROR
        self._held: set[str] = set()  # on a runner, whatever their state says
        self._saves: set[str] = set()  # to be saved before they go on
        self._pinned: collections.Counter[str] = collections.Counter()
        self._doomed: dict[str, Checkpoint] = {}  # to be deleted once nobody starts from them

    # ------------------------------------------------------------ for schedulers

    def get_trials(self) -> list[Trial]:
        """All trials."""
        return list(self.all_trials)

    def get_live_trials(self) -> set[Trial]:
        """Those that are not over."""
        return set(self._live.values())

    def get_trial(self, trial_id: str) -> Trial | None:
        """One trial."""
        return self._trials.get(trial_id)

    def waiting(self) -> list[Trial]:
        """Those that wait to be run, in the order they were made."""
        return list(self._waiting.values())

    def has_room(self, trial: Trial) -> bool:
        """Whether a trial could be started now."""
        return trial.trial_id not in self._held and self._room(trial)

    def first_waiting(self) -> Trial | None:
        """The first that waits and for which there is room; paused ones come last."""
        for trial in self._waiting.values():
            if self.has_room(trial):
                return trial
        for trial in self._live.values():
            if trial.status == Trial.PAUSED and self.has_room(trial):
                return trial
        return None

    def request_stop_trial(self, trial: Trial) -> None:
        """End a trial at the next chance."""
        self.stop_trial(trial)

    def stop_trial(self, trial: Trial) -> None:
        """End a trial, whether it runs, waits or is paused."""
        if self.replaying or trial.is_finished():
            return
        running = trial.status == Trial.RUNNING
        if not running:
            self.scheduler.on_trial_remove(self, trial)
        else:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)
        self._finish(trial, trial.last_result)
        if trial.trial_id in self._held:
            self.effects.append(("stop", trial, False))

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Let a trial rest (after a checkpoint, unless it makes its own); it is chosen again by the
        scheduler."""
        if self.replaying or trial.is_finished() or trial.status == Trial.PAUSED:
            return
        self._set_status(trial, Trial.PAUSED)
        if hasattr(self.search_alg, "on_pause"):
            self.search_alg.on_pause(trial.trial_id)
        if trial.trial_id in self._held:
            self.effects.append(("stop", trial, should_checkpoint and self.can_save))

    def unpause_trial(self, trial: Trial) -> None:
        """Let a paused trial wait to be run."""
        if not self.replaying and trial.status == Trial.PAUSED:
            self._set_status(trial, Trial.PENDING)

    def save_trial(self, trial: Trial) -> None:
        """Have a checkpoint made of a running trial before it goes on."""
        if not self.replaying and self.can_save and trial.trial_id in self._held:
            self._saves.add(trial.trial_id)

    def exploit(self, trial: Trial, checkpoint: Checkpoint, config: dict[str, Any], tag: str = "") -> None:
        """Let a trial go on from another one's checkpoint, with other parameters."""
        if self.replaying:
            return
        self._unpin(trial)
        trial.set_config(config)
        if tag:
            trial.set_experiment_tag(tag)
        trial.restore_from = Checkpoint(checkpoint.path, checkpoint.filesystem)
        self._pinned[checkpoint.path] += 1
        self.effects.append(("changed", trial))
        if trial.status == Trial.RUNNING:
            self._set_status(trial, Trial.PAUSED)
            self.effects.append(("stop", trial, False))

    def change_resources(self, trial: Trial, resources: Any) -> None:
        """Let a paused or waiting trial ask for something else from its next start on."""
        if not self.replaying:
            trial.update_resources(resources)
            self.effects.append(("changed", trial))

    def add_trial(self, trial: Trial) -> None:
        """Take a trial in."""
        self._trials[trial.trial_id] = trial
        self.all_trials.append(trial)
        trial._manager = trial._manager or CheckpointManager(trial.checkpoint_config)
        trial.checkpoints._delete = self._delete
        if not trial.is_finished():
            self._live[trial.trial_id] = trial
        if trial.status == Trial.PENDING:
            self._waiting[trial.trial_id] = trial
        self.scheduler.on_trial_add(self, trial)
        self.effects.append(("added", trial))

    def total_resources(self) -> dict[str, float]:
        """What the cluster has, as far as who drives the machine has said so."""
        return dict(self.resources)

    resources: dict[str, float] = {}

    def __repr__(self) -> str:
        counts = collections.Counter(trial.status for trial in self._trials.values())
        return f"TuneController({dict(counts)}, {self.scheduler.debug_string()!r})"

    # ------------------------------------------------------------ events

    def next_trial(self) -> Trial | None:
        """Which trial is to be started now; makes new ones as needed."""
        if self.stopping:
            return None
        while True:
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is not None:
                return chosen
            if self._waiting and not all(t.trial_id in self._held for t in self._waiting.values()):
                return None  # there are trials, but no room for them
            if not self.make_trial():
                return None

    def make_trial(self) -> bool:
        """Have one more trial made; False if there is none now."""
        if self.stopping or self.search_alg.is_finished():
            return False
        trial = self.search_alg.next_trial()
        if trial is None:
            return False
        self.add_trial(trial)
        return True

    def started(self, trial: Trial, location: tuple[str | None, int | None] = (None, None)) -> None:
        """A trial was given to a runner."""
        self._held.add(trial.trial_id)
        trial.num_started += 1
        trial.set_location(location)
        if trial.status == Trial.PAUSED and hasattr(self.search_alg, "on_unpause"):
            self.search_alg.on_unpause(trial.trial_id)
        self._set_status(trial, Trial.RUNNING)

    def reported(self, trial: Trial, result: dict[str, Any], checkpoint: Checkpoint | None = None) -> None:
        """A trial has reported."""
        if checkpoint is not None:
            self._register(trial, checkpoint, result)
        if trial.status != Trial.RUNNING:
            return  # it was ended or paused, and has not heard of that yet
        result["config"] = trial.config
        self._unpin(trial)
        trial.update_last_result(result)
        self.effects.append(("result", trial, result))
        try:
            missing = None if result.get("done") else self._missing_metric(result)
            done = missing is None and self._is_over(trial, result)
        except TuneError as error:
            missing, done = error, False
        if missing is not None:
            self._give_up(trial, missing)
        elif done:
            self.scheduler.on_trial_complete(self, trial, result)
            self._finish(trial, result)
            self.effects.append(("stop", trial, bool(trial.checkpoint_at_end) and self.can_save))
        else:
            decision = self.scheduler.on_trial_result(self, trial, result)
            if trial.status == Trial.RUNNING or decision != TrialScheduler.NOOP:
                self.search_alg.on_trial_result(trial.trial_id, result)
            self._decide(trial, result, decision)
        if self.stopper is not None and not self.stopping and self.stopper.stop_all():
            self.stop_all()

    def saved(self, trial: Trial, checkpoint: Checkpoint, metrics: dict[str, Any]) -> None:
        """A checkpoint that was asked for is there."""
        self._register(trial, checkpoint, metrics)
        if trial.status == Trial.RUNNING:
            self.effects.append(("go", trial))

    def ended(self, trial: Trial) -> None:
        """A trial has come to its end by itself, or has left its runner."""
        self._held.discard(trial.trial_id)
        self._saves.discard(trial.trial_id)
        if trial.status == Trial.RUNNING:
            result = trial.last_result
            self.scheduler.on_trial_complete(self, trial, result)
            self._finish(trial, result)

    def failed(self, trial: Trial, error: Exception) -> None:
        """A trial has failed, on its runner or with it."""
        self._held.discard(trial.trial_id)
        self._saves.discard(trial.trial_id)
        if trial.is_finished():
            return  # it was over anyway
        self._fail(trial, error)

    def lost(self, trial: Trial) -> None:
        """A trial comes back without fault of its own, not begun or not known how far."""
        self._held.discard(trial.trial_id)
        self._saves.discard(trial.trial_id)
        if not trial.is_finished() and trial.status != Trial.PAUSED:
            self._set_status(trial, Trial.PENDING)

    def check_time(self) -> None:
        """Ask the stopper whether the experiment is over, without a result."""
        if self.stopper is not None and not self.stopping and self.stopper.stop_all():
            self.stop_all()

    def stop_all(self) -> None:
        """End all trials, and make no new ones."""
        self.stopping = True
        self.search_alg.set_finished()
        for trial in list(self._live.values()):
            self.stop_trial(trial)

    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self._held and (self.stopping or (not self._live and self.search_alg.is_finished()))

    def take_effects(self) -> list[tuple[Any, ...]]:
        """What is to be done; the list begins anew."""
        effects, self.effects = self.effects, []
        return effects

    def running(self) -> int:
        """How many trials are on runners."""
        return len(self._held)

    # ------------------------------------------------------------ inside

    def _is_over(self, trial: Trial, result: dict[str, Any]) -> bool:
        over = trial.should_stop(result)
        if self.stopper is not None:
            over = bool(self.stopper(trial.trial_id, result)) or over
        return over

    def _missing_metric(self, result: dict[str, Any]) -> TuneError | None:
        for name, owner in (
            (self.search_alg.metric, self.search_alg),
            (self.scheduler.metric, self.scheduler),
        ):
            wanted = name if isinstance(name, (list, tuple)) else [name]
            for one in wanted:
                if one and one != "_metric" and look_up(result, one) is None:
                    who = type(getattr(owner, "searcher", owner)).__name__
                    return TuneError(
                        f"a result has no metric {one!r}, by which {who} was told to optimize; "
                        f"it has {sorted(k for k in result if k != 'config')}. Report it, or change "
                        f"metric= in TuneConfig"
                    )
        return None

    def _decide(self, trial: Trial, result: dict[str, Any], decision: str) -> None:
        if decision == TrialScheduler.STOP:
            if not trial.is_finished():
                self._finish(trial, result)
                self.effects.append(("stop", trial, bool(trial.checkpoint_at_end) and self.can_save))
        elif decision == TrialScheduler.PAUSE:
            self.pause_trial(trial)
        elif decision == TrialScheduler.CONTINUE or trial.status == Trial.RUNNING:
            if trial.status != Trial.RUNNING:
                return  # ended while the scheduler looked at others
            if trial.trial_id in self._saves:
                self._saves.discard(trial.trial_id)
                self.effects.append(("save", trial))
            else:
                self.effects.append(("go", trial))

    def _finish(self, trial: Trial, result: dict[str, Any]) -> None:
        self._unpin(trial)
        self._set_status(trial, Trial.TERMINATED)
        self.search_alg.on_trial_complete(
            trial.trial_id, result=result if trial.has_reported_at_least_once else None
        )
        self.effects.append(("complete", trial, result))

    def _give_up(self, trial: Trial, error: Exception) -> None:
        """A failure that no second try would mend."""
        trial.max_failures = 0
        trial.num_restored_errors = trial.num_errors
        self._fail(trial, error)
        self.effects.append(("stop", trial, False))

    def _fail(self, trial: Trial, error: Exception) -> None:
        trial.num_errors += 1
        trial.error = error
        again = trial.should_recover() and not self.stopping and not self.failure_config.fail_fast
        if again:
            self.effects.append(("error", trial, False))
            self._set_status(trial, Trial.PENDING)
            return
        self._unpin(trial)
        self._set_status(trial, Trial.ERROR)
        self.scheduler.on_trial_error(self, trial)
        self.search_alg.on_trial_complete(trial.trial_id, error=True)
        self.effects.append(("error", trial, True))
        if self.failure_config.fail_fast and not self.stopping:
            if self.failure_config.fail_fast == "raise":
                self.failure = error
            self.stop_all()

    def _register(self, trial: Trial, checkpoint: Checkpoint, metrics: dict[str, Any]) -> None:
        trial.checkpoint_index += 1
        kept = {k: v for k, v in metrics.items() if k != "config"}
        trial.checkpoints.register(checkpoint, kept)
        self.effects.append(("checkpoint", trial, trial.checkpoints.latest))

    def _set_status(self, trial: Trial, status: str) -> None:
        if trial.status == status:
            return
        trial.set_status(status)
        if status == Trial.PENDING:
            self._waiting[trial.trial_id] = trial
        else:
            self._waiting.pop(trial.trial_id, None)
        if trial.is_finished():
            self._live.pop(trial.trial_id, None)
        else:
            self._live[trial.trial_id] = trial
        self.effects.append(("status", trial))

    def _unpin(self, trial: Trial) -> None:
        checkpoint, trial.restore_from = trial.restore_from, None
        if checkpoint is None or checkpoint.path not in self._pinned:
            return
        self._pinned[checkpoint.path] -= 1
        if self._pinned[checkpoint.path] <= 0:
            del self._pinned[checkpoint.path]
            doomed = self._doomed.pop(checkpoint.path, None)
            if doomed is not None:
                self.effects.append(("delete", doomed))

    def _delete(self, checkpoint: Checkpoint) -> None:
        if checkpoint.path in self._pinned:
            self._doomed[checkpoint.path] = checkpoint
        else:
            self.effects.append(("delete", checkpoint))
