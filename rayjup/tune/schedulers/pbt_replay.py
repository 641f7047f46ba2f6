"""One trial along the path that a member of a population has taken."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rayjup.tune.schedulers.pbt import read_policy
from rayjup.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial


class PopulationBasedTrainingReplay(FIFOScheduler):
    """Runs one trial with the parameters that changed over time as in a run of `PopulationBasedTraining`.

    Parameters
    ----------
    policy_file
        ``pbt_policy_<trial>.txt`` of the best trial, from the experiment's directory.
    """

    def __init__(self, policy_file: str) -> None:
        path = os.path.expanduser(policy_file)
        if not os.path.exists(path):
            raise ValueError(f"PopulationBasedTrainingReplay: there is no policy file {policy_file!r}")
        self.policy_file = path
        self.experiment_tag, self.config, self._policy = self._load(path)
        self.current_config = self.config
        self.current_step = 0
        self._trial_id: str | None = None
        self._passed = 0

    @staticmethod
    def _load(path: str) -> tuple[str, dict[str, Any], list[tuple[float, dict[str, Any]]]]:
        """The parameters at the beginning, and when they changed to what."""
        changes = read_policy(path)
        if not changes:
            raise ValueError(f"the policy file {path!r} is empty: that trial was never changed")
        # From the last change backwards: each was made on a copy of a trial that may have been changed
        # before.
        policy: list[tuple[float, dict[str, Any]]] = []
        last: float | None = None
        for _, _, _, good_step, _, config in reversed(changes):
            if last is not None and good_step >= last:
                continue  # undone by a later copy
            policy.append((good_step, config))
            last = good_step
        policy.reverse()
        first = next(old for _, _, _, step, old, _ in changes if step == policy[0][0])
        return str(changes[-1][0]), first, policy

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Give the trial the parameters of the beginning; there may be one only."""
        if self._trial_id is not None and self._trial_id != trial.trial_id:
            raise ValueError(
                "PopulationBasedTrainingReplay runs one trial; set num_samples=1 and search nothing"
            )
        self._trial_id = trial.trial_id
        if not tune_controller.replaying:
            trial.set_config({**trial.config, **self.config})

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """At the times of the policy, change the parameters: save, and go on from there with others."""
        self.current_step = result.get("training_iteration", 0)
        if self._passed >= len(self._policy) or self.current_step < self._policy[self._passed][0]:
            return TrialScheduler.CONTINUE
        _, config = self._policy[self._passed]
        self._passed += 1
        self.current_config = config
        if tune_controller.replaying:
            return TrialScheduler.NOOP
        tune_controller.pause_trial(trial)
        trial.set_config({**trial.config, **config})
        tune_controller.effects.append(("changed", trial))
        return TrialScheduler.NOOP

    def debug_string(self) -> str:
        """How far it is."""
        return f"PopulationBasedTraining replay: step {self.current_step}, perturb {self._passed}"
