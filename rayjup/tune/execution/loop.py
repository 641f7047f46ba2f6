"""Drives an experiment: starts trials, takes in what they report, and carries out what the controller
decides."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

import rayjup
from rayjup.exceptions import RayActorError, RayError
from rayjup.runs import registry, storage
from rayjup.runs.callback import CallbackList
from rayjup.runs.config import SyncConfig
from rayjup.runs.full_disk import FullDisk
from rayjup.runs.storage import StorageContext
from rayjup.tune.execution import spec as told
from rayjup.tune.execution.controller import TuneController
from rayjup.tune.execution.errors import as_seen_by_users
from rayjup.tune.execution.journal import Journal
from rayjup.tune.execution.pool import RunnerPool, Slot
from rayjup.tune.execution.records import Recorder
from rayjup.tune.execution.spec import RunnerSetup, TrialSpec
from rayjup.tune.execution.state import RunState
from rayjup.tune.experiment.trial import Trial

logger = logging.getLogger(__name__)

_FLUSH_S = 0.05  # reports gather for so long before a runner sends them
_LONGEST_WAIT_S = 1.0  # a runner with nothing to tell answers after this, so that it hears of new commands
_CHUNK_S = 0.1  # so much work of short trials is sent ahead to a runner
_MOST_AHEAD = 200
_STOP_GRACE_S = 5.0  # a trial that does not come to its next report after it was stopped loses its process
_WARN_LACKING_S = 10.0


class TuneLoop:
    """Runs one experiment to its end.

    Parameters
    ----------
    controller
        The state machine with all trials.
    place
        Where the experiment is kept.
    setup
        What runners are told.
    callbacks
        Who is told of events.
    recorder
        Who writes the journal.
    state
        What displays see.
    """

    def __init__(
        self,
        controller: TuneController,
        place: StorageContext,
        setup: RunnerSetup,
        callbacks: CallbackList,
        journal: Journal,
        state: RunState,
        *,
        max_concurrent: int | None = None,
        one_trial_per_process: bool = False,
        spare: dict[str, float] | None = None,
        sync: SyncConfig | None = None,
        every_turn: Callable[[bool], None] = lambda done: None,
    ) -> None:
        self.controller = controller
        self._place = place
        self._setup = setup
        self._callbacks = callbacks
        self._recorder = Recorder(journal, place)
        self._disk = callbacks.disk = FullDisk(place.experiment_local_path)
        self._state = state
        self._pool = RunnerPool(setup, max_concurrent, spare)
        self._one_per_process = one_trial_per_process
        self._sync = sync or SyncConfig()
        self._synced_at = time.monotonic()
        self._every_turn = every_turn
        self._slot_of: dict[str, Slot] = {}
        self._trial_seconds: float | None = None  # what short trials take, on average
        self._began: dict[str, float] = {}
        self._suspects: set[str] = set()  # lost with a process, not known by whose fault: sent alone
        self._warned_lacking = False
        self._waiting_since = time.monotonic()
        controller._room = self._has_room

    def run(self) -> None:
        """Until nothing is left to do; KeyboardInterrupt ends the experiment cleanly and is not raised."""
        controller = self.controller
        self._pool.refresh()
        controller.resources = self._pool.totals
        try:
            while not controller.is_finished():
                self._turn()
        except KeyboardInterrupt:
            logger.warning("interrupted: the experiment ends; Tuner.restore(path, trainable) goes on with it")
            self._state.interrupted = True
            self._recorder.interrupted()
        finally:
            self._finish()
        if controller.failure is not None:
            raise controller.failure

    # ------------------------------------------------------------ one turn

    def _turn(self) -> None:
        controller = self.controller
        controller.iteration += 1
        trials = self._trials()
        if self._callbacks.wants("on_step_begin"):
            self._callbacks.on_step_begin(iteration=controller.iteration, trials=trials)
        for request in self._state.take_requests():
            self._obey(request)
        controller.check_time()
        self._carry_out()
        self._start_trials()
        self._keep_one_ahead()
        self._carry_out()
        self._send()
        self._receive()
        self._carry_out()
        with self._disk.tolerated("the experiment's journal"):
            self._recorder.flush()
        self._callbacks.on_step_end(iteration=controller.iteration, trials=trials)
        self._state.publish(controller)
        self._every_turn(False)
        self._sync_now_and_then()

    def _trials(self) -> list[Trial]:
        return self.controller.all_trials

    def _obey(self, request: dict[str, Any]) -> None:
        """What somebody has asked for at a display."""
        if request.get("stop") == "*":
            self.controller.stop_all()
        elif (trial := self.controller.get_trial(str(request.get("stop")))) is not None:
            self.controller.stop_trial(trial)

    # ------------------------------------------------------------ starting

    def _has_room(self, trial: Trial) -> bool:
        resources = trial.placement_group_factory
        return self._pool.idle(resources) is not None or self._can_make(resources)

    def _can_make(self, resources: Any) -> bool:
        return self._pool.can_make(resources) and self._pool.may_start()

    def _start_trials(self) -> None:
        controller = self.controller
        while not controller.stopping:
            trial = controller.next_trial()
            if trial is None:
                self._make_room()
                return
            resources = trial.placement_group_factory
            slot = self._pool.idle(resources)
            if slot is None:
                if not self._can_make(resources):
                    return
                self._pool.make(resources)
                # The trial waits until its runner is there; the next one may need another runner.
                if self._pool.starting() >= len(controller._waiting):
                    return
                if not self._prepare_more():
                    return
                continue
            self._give(slot, trial)
            self._send_ahead(slot)

    def _prepare_more(self) -> bool:
        """Whether there is another trial for which a runner should be started already."""
        controller = self.controller
        if len(controller._waiting) > self._pool.starting():
            return True
        return controller.search_alg.independent and controller.make_trial()

    def _make_room(self) -> None:
        """Trials wait and none can start: free what is idle, or say what is missing."""
        waiting = next(iter(self.controller._waiting.values()), None)
        if waiting is None or self.controller.running():
            self._waiting_since = time.monotonic()
            return
        if self._pool.free_others(waiting.placement_group_factory):
            return
        if self._warned_lacking or time.monotonic() - self._waiting_since < _WARN_LACKING_S:
            return
        self._warned_lacking = True
        lacking = self._pool.lacks(waiting.placement_group_factory)
        wanted = waiting.placement_group_factory.required_resources
        if lacking:
            logger.warning(
                "no trial can start: each asks for %s, and the cluster has no %s (it has %s). Ask for "
                "less with "
                "tune.with_resources(trainable, ...), or add nodes.",
                wanted,
                lacking,
                self._pool.totals,
            )
        else:
            logger.warning(
                "no trial could start for %.0f s: each asks for %s, which others hold now. They wait.",
                _WARN_LACKING_S,
                wanted,
            )

    def _give(self, slot: Slot, trial: Trial) -> None:
        slot.trials[trial.trial_id] = trial
        self._slot_of[trial.trial_id] = slot
        slot.commands.append(("run", self._spec(trial)))
        slot.quiet_turns = 0
        restored = trial.restore_from is not None or trial.latest_checkpoint_result is not None
        self.controller.started(trial)
        info = {"iteration": self.controller.iteration, "trials": self._trials(), "trial": trial}
        if restored:
            self._callbacks.on_trial_restore(**info)
        self._callbacks.on_trial_start(**info)

    def _send_ahead(self, slot: Slot) -> None:
        """Short trials that do not depend on each other are sent many at a time."""
        if self._are_short() and self.controller.search_alg.independent:
            count = min(_MOST_AHEAD, int(_CHUNK_S / max(self._trial_seconds or 0.0, 1e-5)))
            self._give_more(slot, count - 1)

    def _keep_one_ahead(self) -> None:
        """A searcher that learns from results is asked for one more short trial per runner, which begins
        when the one before it ends: the way to the runner and the searcher's thinking cost no time then.
        Who has set a limit of concurrent trials wants no more than those suggested at once."""
        if self.controller.search_alg.independent or self._pool.limited or not self._are_short():
            return
        for slot in self._pool.slots:
            if slot.is_up and not slot.worn and len(slot.trials) == 1 and slot.stop_asked_at is None:
                self._give_more(slot, 1)

    def _are_short(self) -> bool:
        """Whether trials may be sent to a runner that has one: they are short, and none waits for others."""
        return (
            self._trial_seconds is not None
            and self._trial_seconds < _CHUNK_S
            and not self._one_per_process
            and not self.controller.stopping
            and type(self.controller.scheduler).__name__ == "FIFOScheduler"
        )

    def _give_more(self, slot: Slot, count: int) -> None:
        controller = self.controller
        if not self._suspects.isdisjoint(slot.trials):
            return
        for _ in range(count):
            if not controller._waiting and not controller.make_trial():
                return
            trial = next(iter(controller._waiting.values()))
            if trial.placement_group_factory != slot.resources or trial.trial_id in controller._held:
                return
            if trial.trial_id in self._suspects:
                return
            self._give(slot, trial)

    def _spec(self, trial: Trial) -> TrialSpec:
        assert trial.storage is not None
        checkpoint = trial.restore_from
        progress = None
        latest = trial.latest_checkpoint_result
        if checkpoint is None and latest is not None:
            checkpoint = latest.checkpoint
            progress = progress_of(latest.metrics)
        elif checkpoint is not None:
            progress = progress_of(self._metrics_at(checkpoint))
        return TrialSpec(
            trial_id=trial.trial_id,
            trial_name=str(trial),
            experiment_name=self._place.experiment_dir_name,
            config=trial.config,
            storage=trial.storage,
            local_dir=trial.local_path if self._place.is_local else trial.storage.trial_local_path,
            resources=trial.placement_group_factory,
            stopping_criterion=trial.stopping_criterion,
            restore_from=checkpoint,
            progress=progress if self._is_function() else None,
            checkpoint_index=trial.checkpoint_index,
            checkpoint_frequency=trial.checkpoint_config.checkpoint_frequency or 0,
            checkpoint_at_end=bool(trial.checkpoint_config.checkpoint_at_end) and not self._setup.lockstep,
            log_to_file=trial.log_to_file,
        )

    def _is_function(self) -> bool:
        return not self.controller.can_save

    def _metrics_at(self, checkpoint: Any) -> dict[str, Any]:
        """What was reported with a checkpoint, of whatever trial."""
        for trial in self.controller._trials.values():
            for reported in trial.checkpoints.kept:
                if reported.checkpoint.path == checkpoint.path:
                    return reported.metrics
        return {}

    # ------------------------------------------------------------ talking to runners

    def _send(self) -> None:
        """Call every runner that has something to do and is not busy with a call."""
        for slot in self._pool.slots:
            if slot.ref is None and slot.is_up and slot.trials:
                commands, slot.commands = slot.commands, []
                wait_s = min(_LONGEST_WAIT_S, 0.1 * 2 ** min(slot.quiet_turns, 5))
                slot.ref = slot.actor.advance.remote(commands, wait_s)

    def _receive(self) -> None:
        """Wait for answers, and take in all that are there."""
        by_ref = {slot.ref: slot for slot in self._pool.slots if slot.ref is not None}
        if not by_ref:
            if not self.controller.is_finished():
                time.sleep(0.01)  # nothing runs: trials wait for room, or a searcher for results
            return
        refs = list(by_ref)
        ready, _ = rayjup.wait(refs, num_returns=1, timeout=0.2)
        if ready and len(refs) > 1:
            ready, _ = rayjup.wait(refs, num_returns=len(refs), timeout=0)
        for ref in ready:
            self._answered(by_ref[ref], ref)
        self._end_the_stuck()

    def _answered(self, slot: Slot, ref: Any) -> None:
        slot.ref = None
        try:
            answer = rayjup.get(ref)
        except RayActorError as error:
            self._died(slot, error)
            return
        except RayError as error:
            self._died(slot, as_seen_by_users(error))
            return
        if not slot.is_up:
            slot.is_up = True
            slot.pid = answer[0]
            return
        slot.quiet_turns = 0 if answer else slot.quiet_turns + 1
        for kind, trial_id, *rest in answer:
            trial = slot.trials.get(trial_id)
            if trial is not None:
                self._event(slot, trial, kind, rest)
        if slot.worn and not slot.trials:
            self._pool.end(slot)

    def _event(self, slot: Slot, trial: Trial, kind: str, rest: list[Any]) -> None:
        controller = self.controller
        if kind == told.REPORTED:
            result, checkpoint = rest
            controller.reported(trial, result, checkpoint)
        elif kind == told.STARTED:
            trial.set_location((rest[1], rest[0]))
            slot.begun = trial.trial_id
            self._began[trial.trial_id] = time.monotonic()
        elif kind == told.SAVED:
            controller.saved(trial, *rest)
        else:
            slot.trials.pop(trial.trial_id, None)
            self._slot_of.pop(trial.trial_id, None)
            slot.begun = None
            slot.stop_asked_at = None
            began = self._began.pop(trial.trial_id, None)
            if kind == told.RETURNED:
                controller.lost(trial)
                self._trial_seconds = None
            elif kind == told.ENDED:
                self._suspects.discard(trial.trial_id)
                controller.ended(trial)
                if began is not None:
                    self._learn_length(trial, slot)
            else:
                controller.failed(trial, as_seen_by_users(rest[0]))
            slot.worn = slot.worn or self._one_per_process

    def _learn_length(self, trial: Trial, slot: Slot) -> None:
        seconds = float(trial.last_result.get("time_since_restore") or 0.0)
        if self._trial_seconds is None:
            # The first trials pay for imports; what follows shows what they really take.
            self._trial_seconds = max(seconds, 1e-3)
        else:
            self._trial_seconds += 0.2 * (seconds - self._trial_seconds)

    def _died(self, slot: Slot, error: Exception) -> None:
        """A runner has gone. The trial it was at has failed; those behind it had no part in that."""
        self._pool.end(slot)
        trials = list(slot.trials.values())
        for trial in trials:
            self._slot_of.pop(trial.trial_id, None)
        if not trials:
            if not slot.is_up:
                raise error  # it could not even be started
            return
        guilty = trials[0] if len(trials) == 1 else None
        for trial in trials:
            if guilty is not None:
                self._suspects.discard(trial.trial_id)
                self.controller.failed(trial, error)
            else:
                # Its answer was lost with it, so nobody knows which trial it was at: each is tried alone.
                self._suspects.add(trial.trial_id)
                self.controller.lost(trial)
        self._trial_seconds = None

    def _end_the_stuck(self) -> None:
        """A trial that was told to stop and does not report any more loses its process."""
        now = time.monotonic()
        for slot in list(self._pool.slots):
            if slot.stop_asked_at is not None and now - slot.stop_asked_at > _STOP_GRACE_S:
                trials = list(slot.trials.values())
                self._pool.end(slot)
                for trial in trials:
                    self._slot_of.pop(trial.trial_id, None)
                    if trial.is_finished() or trial.status == Trial.PAUSED:
                        self.controller.ended(trial)
                    else:
                        self.controller.lost(trial)

    # ------------------------------------------------------------ effects

    def _carry_out(self) -> None:
        controller = self.controller
        while controller.effects:
            for effect in controller.take_effects():
                self._recorder.record(effect)
                kind = effect[0]
                if kind in ("go", "save", "stop"):
                    self._command(effect)
                elif kind == "delete":
                    storage.delete(effect[1].filesystem, effect[1].path)
                else:
                    self._tell(kind, effect)

    def _command(self, effect: tuple[Any, ...]) -> None:
        kind, trial, *rest = effect
        slot = self._slot_of.get(trial.trial_id)
        if slot is None or (kind == "go" and not self._setup.lockstep):
            return
        slot.commands.append((kind, trial.trial_id, *rest))
        if kind == "stop" and slot.stop_asked_at is None:
            slot.stop_asked_at = time.monotonic()

    def _tell(self, kind: str, effect: tuple[Any, ...]) -> None:
        trial = effect[1]
        info = {"iteration": self.controller.iteration, "trials": self._trials(), "trial": trial}
        if kind == "result":
            self._callbacks.on_trial_result(**info, result=effect[2])
            self._state.result(trial, effect[2])
        elif kind == "complete":
            self._callbacks.on_trial_complete(**info)
        elif kind == "checkpoint":
            self._callbacks.on_trial_save(**info)
            if self._callbacks.wants("on_checkpoint") and effect[2] is not None:
                self._callbacks.on_checkpoint(**info, checkpoint=effect[2].checkpoint)
        elif kind == "error":
            trial.num_errors -= 1  # counted by the controller already
            with self._disk.tolerated("the errors of trials"):
                trial.handle_error(trial.error)
            if not effect[2]:
                self._callbacks.on_trial_recover(**info)
            else:
                self._callbacks.on_trial_error(**info)

    # ------------------------------------------------------------ the end

    def _sync_now_and_then(self) -> None:
        if not self._place.is_local and time.monotonic() - self._synced_at > self._sync.sync_period:
            self._place.sync_up()
            self._synced_at = time.monotonic()

    def _finish(self) -> None:
        try:
            self._pool.end_all()
        finally:
            self._carry_out()
            with self._disk.tolerated("the experiment's journal"):
                self._recorder.close()
            self._callbacks.on_step_end(iteration=self.controller.iteration, trials=self._trials())
            self._callbacks.on_experiment_end(trials=self._trials())
            with self._disk.tolerated("the state of callbacks"):
                self._callbacks.save_to_dir(self._place.experiment_local_path)
            self._state.publish(self.controller, last=True)
            self._every_turn(True)
            self._place.sync_up()


def progress_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """Where a trial's counters stood at a checkpoint."""
    return {
        "iteration": metrics.get("training_iteration", 0),
        "time_total": metrics.get("time_total_s", 0.0),
        "timesteps_total": metrics.get("timesteps_total"),
        "episodes_total": metrics.get("episodes_total"),
    }


def lockstep_needed(controller: TuneController) -> bool:
    """Whether trials have to wait after each report for a decision."""
    from rayjup.tune.stopper import TimeoutStopper

    plain = type(controller.scheduler).__name__ == "FIFOScheduler"
    return not plain or not (controller.stopper is None or isinstance(controller.stopper, TimeoutStopper))


def make_setup(trainable: Any, controller: TuneController, *, chdir: bool, reuse: bool) -> RunnerSetup:
    """What runners are told of an experiment."""
    lockstep = lockstep_needed(controller)
    return RunnerSetup(
        trainable=trainable,
        registered=registry.export(registry.ENVIRONMENT, registry.INPUT),
        lockstep=lockstep,
        change_directory=chdir and not int(os.environ.get("RAY_CHDIR_TO_TRIAL_DIR", "1") == "0"),
        reuse=reuse,
        flush_s=_FLUSH_S,
        tell_ends=not controller.search_alg.independent,
    )
