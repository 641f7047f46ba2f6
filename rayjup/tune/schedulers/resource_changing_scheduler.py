"""A scheduler that also changes what trials ask for, while the experiment runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.runs.placement import PlacementGroupFactory
from rayjup.tune.schedulers.trial_scheduler import (
    FIFOScheduler,
    TrialScheduler,
    check_metric_and_mode,
    value_of,
)

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial


class DistributeResources:
    """Shares what is free among all trials equally.

    Parameters
    ----------
    add_bundles
        Whether trials get more bundles like their last one, rather than larger ones.
    increase_by
        In steps of this, such as ``{"CPU": 1}``; by default, in steps of what trials began with.
    increase_by_times
        So many steps at most; -1: without end.
    reserve_resources
        So much is left alone.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: dict[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: dict[str, float] | None = None,
    ) -> None:
        if increase_by_times == 0 or increase_by_times < -1:
            raise ValueError(f"increase_by_times is {increase_by_times}; it must be at least 1, or -1")
        self.add_bundles = add_bundles
        self.increase_by = increase_by or {}
        self.increase_by_times = increase_by_times
        self.reserve_resources = reserve_resources or {}

    def __call__(
        self,
        tune_controller: TuneController,
        trial: Trial,
        result: dict[str, Any],
        scheduler: ResourceChangingScheduler,
    ) -> PlacementGroupFactory | None:
        """What the trial should ask for; None for what it began with."""
        base = scheduler.base_trial_resources or trial.placement_group_factory
        living = [
            t for t in tune_controller.get_live_trials() if t.status in ("RUNNING", "PENDING", "PAUSED")
        ]
        share = self._share(tune_controller, len(living) or 1)
        steps = self._steps(base, share)
        return self._grown(base, steps)

    def _share(self, tune_controller: TuneController, trials: int) -> dict[str, float]:
        totals = tune_controller.total_resources()
        return {
            name: max(0.0, totals.get(name, 0.0) - self.reserve_resources.get(name, 0.0)) / trials
            for name in ("CPU", "GPU")
        }

    def _step(self, base: PlacementGroupFactory) -> dict[str, float]:
        bundle = base.bundles[-1] if self.add_bundles else base.required_resources
        return self.increase_by or {k: v for k, v in bundle.items() if k in ("CPU", "GPU")}

    def _steps(self, base: PlacementGroupFactory, share: dict[str, float]) -> int:
        step = {name: amount for name, amount in self._step(base).items() if amount > 0}
        if not step:
            return 0
        required = base.required_resources
        room = min((share.get(name, 0.0) - required.get(name, 0.0)) / amount for name, amount in step.items())
        steps = max(0, math.floor(room + 1e-9))
        return min(steps, self.increase_by_times) if self.increase_by_times > 0 else steps

    def _grown(self, base: PlacementGroupFactory, steps: int) -> PlacementGroupFactory:
        bundles: list[dict[str, float]] = [dict(bundle) for bundle in base.bundles]
        step = self._step(base)
        if base.head_bundle_is_empty:
            bundles.insert(0, {})
        if self.add_bundles:
            bundles += [dict(step) for _ in range(steps)]
        else:
            for name, amount in step.items():
                bundles[-1][name] = bundles[-1].get(name, 0.0) + amount * steps
        return PlacementGroupFactory(list(bundles), strategy=base.strategy)  # type: ignore[arg-type]


class DistributeResourcesToTopJob(DistributeResources):
    """Gives all that is free to the trial that is best now.

    Parameters
    ----------
    metric, mode
        What is best; those of the TuneConfig by default. The others are those of `DistributeResources`.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: dict[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: dict[str, float] | None = None,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(add_bundles, increase_by, increase_by_times, reserve_resources)
        self.metric = metric
        self.mode = mode

    def __call__(
        self,
        tune_controller: TuneController,
        trial: Trial,
        result: dict[str, Any],
        scheduler: ResourceChangingScheduler,
    ) -> PlacementGroupFactory | None:
        """All that is free if it is the best, what it began with otherwise."""
        metric, mode = self.metric or scheduler.metric, self.mode or scheduler._mode
        sign = check_metric_and_mode("DistributeResourcesToTopJob", metric, mode)
        base = scheduler.base_trial_resources or trial.placement_group_factory
        living = list(tune_controller.get_live_trials())
        scores = {
            t.trial_id: sign * value_of(t.last_result, metric)
            for t in living
            if value_of(t.last_result, metric) is not None
        }
        if not scores or max(scores, key=lambda key: scores[key]) != trial.trial_id:
            return base
        others = {name: amount * (len(living) - 1) for name, amount in base.required_resources.items()}
        share = self._share(tune_controller, 1)
        free = {name: amount - others.get(name, 0.0) for name, amount in share.items()}
        return self._grown(base, self._steps(base, free))


class ResourceChangingScheduler(TrialScheduler):
    """Wraps another scheduler; after each result a function says what the trial should ask for from now on.

    A trial whose resources change is saved, and goes on with the new ones; it finds them in
    ``trial_resources``.

    Parameters
    ----------
    base_scheduler
        The one that decides all else; FIFO by default.
    resources_allocation_function
        Called with controller, trial, result and this scheduler; gives bundles, or None for no change.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        base_scheduler: TrialScheduler | None = None,
        resources_allocation_function: Callable[..., PlacementGroupFactory | None]
        | None = DistributeResources(),  # noqa: B008
    ) -> None:
        self._base = base_scheduler or FIFOScheduler()
        self._allocate = resources_allocation_function
        self._base_resources: PlacementGroupFactory | None = None
        self._wanted: dict[str, PlacementGroupFactory] = {}

    @property
    def metric(self) -> str | None:
        """What is optimized."""
        return self._base.metric

    @property
    def base_trial_resources(self) -> PlacementGroupFactory | None:
        """What trials asked for at first."""
        return self._base_resources

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Pass them on."""
        self._mode = mode
        return self._base.set_search_properties(metric, mode, **spec)

    def on_trial_add(self, tune_controller: TuneController, trial: Trial, **kwargs: Any) -> None:
        """Remember what it asks for."""
        if self._base_resources is None:
            self._base_resources = trial.placement_group_factory
        self._base.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial, **kwargs: Any) -> None:
        """Pass it on."""
        self._wanted.pop(trial.trial_id, None)
        self._base.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """What the other one decides; a trial that goes on may be paused to get other resources."""
        decision = self._base.on_trial_result(tune_controller, trial, result)
        if decision != TrialScheduler.CONTINUE:
            return decision
        wanted = self.reallocate_trial_resources_if_needed(tune_controller, trial, result)
        if wanted is None:
            return decision
        self._wanted[trial.trial_id] = (
            wanted if isinstance(wanted, PlacementGroupFactory) else (PlacementGroupFactory([wanted]))
        )
        return TrialScheduler.PAUSE

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Pass it on."""
        self._wanted.pop(trial.trial_id, None)
        self._base.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial, **kwargs: Any) -> None:
        """Pass it on."""
        self._wanted.pop(trial.trial_id, None)
        self._base.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: TuneController, **kwargs: Any) -> Trial | None:
        """Give those that wait for it their new resources; then, what the other one chooses."""
        for trial in tune_controller.get_live_trials():
            if trial.trial_id in self._wanted and trial.status in ("PAUSED", "PENDING"):
                self.set_trial_resources(trial, self._wanted.pop(trial.trial_id))
                tune_controller.effects.append(("changed", trial))
        return self._base.choose_trial_to_run(tune_controller)

    def set_trial_resources(
        self, trial: Trial, new_resources: dict[str, float] | PlacementGroupFactory
    ) -> bool:
        """Let a trial ask for something else; False if it does so already."""
        before = trial.placement_group_factory
        trial.update_resources(new_resources)
        return before != trial.placement_group_factory

    def reallocate_trial_resources_if_needed(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> dict[str, float] | PlacementGroupFactory | None:
        """What the trial should ask for, if that is something else than now."""
        if self._allocate is None:
            return None
        wanted = self._allocate(tune_controller, trial, result, self)
        if wanted is None or wanted == trial.placement_group_factory:
            return None
        return wanted

    def debug_string(self) -> str:
        """What the other one says."""
        return f"(ResourceChangingScheduler) {self._base.debug_string()}"

    def save(self, checkpoint_path: str) -> None:
        """Write both states to a file."""
        super().save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Read both states from a file."""
        super().restore(checkpoint_path)
