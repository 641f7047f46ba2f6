"""Population based training (Jaderberg et al., "Population Based Training of Neural Networks")."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rayjup.runs.errors import TuneError
from rayjup.tune.schedulers.trial_scheduler import (
    FIFOScheduler,
    TrialScheduler,
    check_metric_and_mode,
    check_mode,
    value_of,
)
from rayjup.tune.search.sample import Domain, Function
from rayjup.tune.search.variants import format_vars

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial

logger = logging.getLogger(__name__)


class _Member:
    """What is remembered of a trial."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.score: float | None = None
        self.time = 0.0
        self.perturbed_at = 0.0
        self.seen_at = 0.0
        self.waits = False  # for the others, with `synch`


class PopulationBasedTraining(FIFOScheduler):
    """Lets bad trials go on from good ones' checkpoints, with changed parameters.

    Parameters
    ----------
    time_attr
        The metric that counts time.
    metric, mode
        What is optimized.
    perturbation_interval
        How often a trial is looked at, in units of ``time_attr``.
    burn_in_period
        How long it is left alone at first.
    hyperparam_mutations
        What is changed and how: a list of values (the neighbour is taken), a domain or a function (drawn
        anew, or multiplied by one of ``perturbation_factors``), or a dictionary of such.
    quantile_fraction
        The share of the trials that is bad, and that is good; at most 0.5.
    resample_probability
        How likely a parameter is drawn anew rather than perturbed.
    perturbation_factors
        What numbers are multiplied by.
    custom_explore_fn
        Called with the changed config; returns what is taken.
    log_config
        Whether changes are written to ``pbt_policy_<trial>.txt`` in the experiment's directory.
    require_attrs
        Whether every result must have ``time_attr`` and ``metric``.
    synch
        Whether all trials wait for each other before they are changed.

    Examples
    --------
    >>> from rayjup import tune
    >>> from rayjup.tune.schedulers import PopulationBasedTraining
    >>> pbt = PopulationBasedTraining(
    ...     time_attr="training_iteration", perturbation_interval=4,
    ...     hyperparam_mutations={"lr": tune.uniform(1e-4, 1e-1)},
    ... )
    """

    _supports_buffered_results = False

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        burn_in_period: float = 0.0,
        hyperparam_mutations: dict[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        resample_probability: float = 0.25,
        perturbation_factors: tuple[float, float] = (1.2, 0.8),
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
    ) -> None:
        name = type(self).__name__
        mutations = hyperparam_mutations or {}
        for key, value in mutations.items():
            if not isinstance(value, (dict, list, tuple, Domain)) and not callable(value):
                raise TypeError(
                    f"{name}: hyperparam_mutations[{key!r}] must be a list of values, a domain, a "
                    f"function or a "
                    f"dictionary of such, not {value!r}"
                )
            if isinstance(value, Function):
                raise ValueError(
                    f"{name}: hyperparam_mutations[{key!r}] can't be sample_from(); give the function"
                )
        if not mutations and not custom_explore_fn:
            raise TuneError(
                f"{name} needs hyperparam_mutations or a custom_explore_fn: what is to be changed?"
            )
        if not 0 <= quantile_fraction <= 0.5:
            raise ValueError(f"{name}: quantile_fraction is {quantile_fraction}; it must lie in [0, 0.5]")
        if perturbation_interval <= 0:
            raise ValueError(f"{name}: perturbation_interval is {perturbation_interval}; it must be above 0")
        check_mode(name, mode)
        self._time_attr = time_attr
        self._metric, self._mode = metric, mode
        self._interval = perturbation_interval
        self._burn_in = burn_in_period
        self._mutations = mutations
        self._quantile = quantile_fraction
        self._resample = resample_probability
        self._factors = perturbation_factors
        self._custom = custom_explore_fn
        self._log = log_config
        self._require = require_attrs
        self._synch = synch
        self._random = random.Random(random.getrandbits(64))
        self._members: dict[str, _Member] = {}
        self._perturbed = 0
        self._checkpoints_asked = 0
        self._sign: float | None = None

    def reset_stats(self) -> None:
        """Count changes anew."""
        self._perturbed = 0
        self._checkpoints_asked = 0

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        """Take it into the population; parameters that its config lacks are drawn."""
        self._sign = check_metric_and_mode(type(self).__name__, self._metric, self._mode)
        self._members[trial.trial_id] = _Member(trial.experiment_tag)
        if not tune_controller.replaying:
            for key, found in self._initial(self._mutations, trial.config).items():
                trial.config[key] = found
                trial.evaluated_params.setdefault(key, found)

    def _initial(self, mutations: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for key, space in mutations.items():
            if isinstance(space, Mapping):
                inner = self._initial(space, config.get(key, {}))
                if inner:
                    drawn[key] = {**config.get(key, {}), **inner}
            elif key not in config:
                drawn[key] = self._drawn(space)
        return drawn

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """When its time has come: remember it, and change it if it is one of the bad ones."""
        now, score = value_of(result, self._time_attr), value_of(result, self._metric)
        if now is None or score is None:
            if self._require:
                missing = self._time_attr if now is None else self._metric
                raise TuneError(
                    f"{type(self).__name__}: the result of {trial} has no {missing!r}; report it, or pass "
                    "require_attrs=False"
                )
            return TrialScheduler.CONTINUE
        member = self._members[trial.trial_id]
        member.seen_at = now
        if now < self._burn_in or now - member.perturbed_at < self._interval:
            return TrialScheduler.CONTINUE
        assert self._sign is not None
        member.score = self._sign * score
        member.time = now
        if self._synch:
            return self._wait_for_others(tune_controller, trial, member)
        member.perturbed_at = now
        lower, upper = self._quantiles(tune_controller)
        if trial.trial_id in upper:
            self._checkpoints_asked += 1
            tune_controller.save_trial(trial)
            return TrialScheduler.CONTINUE
        if trial.trial_id in lower and self._exploit(tune_controller, trial, upper):
            return TrialScheduler.NOOP
        waiting = any(not tune_controller.has_room(other) for other in tune_controller.waiting())
        return TrialScheduler.PAUSE if waiting else TrialScheduler.CONTINUE

    def _wait_for_others(self, tune_controller: TuneController, trial: Trial, member: _Member) -> str:
        """All are changed at the same time, once all have come so far."""
        member.waits = True
        living = {t.trial_id: t for t in tune_controller.get_live_trials()}
        behind = [other for key, other in self._members.items() if key in living and not other.waits]
        if behind:
            return TrialScheduler.PAUSE
        lower, upper = self._quantiles(tune_controller)
        latest = max(other.seen_at for key, other in self._members.items() if key in living)
        for key in living:
            self._members[key].waits = False
            self._members[key].perturbed_at = latest
        decision = TrialScheduler.CONTINUE
        for key, other in living.items():
            if key in lower and self._exploit(tune_controller, other, upper):
                if key == trial.trial_id:
                    decision = TrialScheduler.NOOP
            elif key == trial.trial_id and key in upper:
                tune_controller.save_trial(trial)
        return decision

    def _quantiles(self, tune_controller: TuneController) -> tuple[list[str], list[str]]:
        """The bad ones and the good ones."""
        scored = [
            (member.score, key)
            for key, member in self._members.items()
            if member.score is not None
            and not math.isnan(member.score)
            and (found := tune_controller.get_trial(key)) is not None
            and not found.is_finished()
        ]
        scored.sort(key=lambda pair: pair[0])
        if len(scored) <= 1:
            return [], []
        count = math.ceil(len(scored) * self._quantile)
        if count > len(scored) / 2:
            count = len(scored) // 2
        if count == 0:
            return [], []
        keys = [key for _, key in scored]
        return keys[:count], keys[-count:]

    def last_scores(self, trials: list[Trial]) -> list[float]:
        """The scores of those that were looked at."""
        found = [self._members[trial.trial_id].score for trial in trials if trial.trial_id in self._members]
        return [score for score in found if score is not None]

    def _exploit(self, tune_controller: TuneController, trial: Trial, upper: list[str]) -> bool:
        """Let a trial go on from a good one's checkpoint; False if there is none yet."""
        donors = [key for key in upper if key != trial.trial_id]
        if not donors:
            return False
        donor = tune_controller.get_trial(self._random.choice(donors))
        checkpoint = donor.checkpoint if donor is not None else None
        if donor is None or checkpoint is None:
            logger.info("%s: the trial %s has no checkpoint to go on from yet", type(self).__name__, donor)
            return False
        member, good = self._members[trial.trial_id], self._members[donor.trial_id]
        config = self._explored(tune_controller, trial, donor)
        self._perturbed += 1
        if self._log and not tune_controller.replaying:
            self._write(trial, donor, member, good, config)
        changed = {(key,): config[key] for key in self._mutations if key in config}
        member.tag = f"{good.tag}@perturbed[{format_vars(changed)}]"
        member.score = good.score
        member.perturbed_at = good.time
        tune_controller.exploit(trial, checkpoint, config, member.tag)
        return True

    def _explored(self, tune_controller: TuneController, trial: Trial, donor: Trial) -> dict[str, Any]:
        config = copy.deepcopy(donor.config)
        config = self._changed(config, self._mutations)
        if self._custom is not None:
            found = self._custom(config)
            if not isinstance(found, dict):
                raise TuneError(
                    f"{type(self).__name__}: custom_explore_fn must return the config, not {found!r}"
                )
            config = found
        return config

    def _changed(self, config: dict[str, Any], mutations: Mapping[str, Any]) -> dict[str, Any]:
        for key, space in mutations.items():
            if isinstance(space, Mapping):
                config[key] = self._changed(dict(config.get(key, {})), space)
            elif isinstance(space, (list, tuple)):
                values = list(space)
                if self._random.random() < self._resample or config.get(key) not in values:
                    config[key] = self._random.choice(values)
                else:
                    step = self._random.choice([-1, 1])
                    place = min(max(values.index(config[key]) + step, 0), len(values) - 1)
                    config[key] = values[place]
            elif key not in config or self._random.random() < self._resample:
                config[key] = self._drawn(space)
            elif isinstance(config[key], (int, float)) and not isinstance(config[key], bool):
                kind = type(config[key])
                config[key] = kind(config[key] * self._random.choice(self._factors))
            else:
                config[key] = self._drawn(space)
        return config

    def _drawn(self, space: Any) -> Any:
        if isinstance(space, Domain):
            return space.sample(random_state=self._random.getrandbits(32))
        if isinstance(space, (list, tuple)):
            return self._random.choice(list(space))
        return space()

    def _write(
        self, trial: Trial, donor: Trial, member: _Member, good: _Member, config: dict[str, Any]
    ) -> None:
        """One line per change: whom, from whom, when, and both configs."""
        from rayjup.runs.loggers.json_lines import dumps

        line = dumps([member.tag, good.tag, member.time, good.time, donor.config, config])
        directory = trial.local_experiment_path
        for name in (f"pbt_policy_{trial.trial_id}.txt", "pbt_global.txt"):
            with open(os.path.join(directory, name), "a") as stream:
                stream.write(line + "\n")

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> None:
        """The others do not wait for it."""
        self._gone(tune_controller, trial)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """The others do not wait for it."""
        self._gone(tune_controller, trial)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        """The others do not wait for it."""
        self._gone(tune_controller, trial)

    def _gone(self, tune_controller: TuneController, trial: Trial) -> None:
        member = self._members.get(trial.trial_id)
        if member is not None:
            member.waits = True

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The one that is furthest behind, so that the population stays together."""
        found = [
            trial
            for trial in tune_controller.get_trials()
            if trial.status in ("PENDING", "PAUSED")
            and tune_controller.has_room(trial)
            and not (self._synch and self._waits(tune_controller, trial))
        ]
        found.sort(key=lambda trial: self._members[trial.trial_id].seen_at)
        return found[0] if found else None

    def _waits(self, tune_controller: TuneController, trial: Trial) -> bool:
        """Whether it waits for others that have not come so far."""
        if not self._members[trial.trial_id].waits:
            return False
        living = tune_controller.get_live_trials()
        return any(not self._members[other.trial_id].waits for other in living)

    def debug_string(self) -> str:
        """How many changes were made."""
        return f"PopulationBasedTraining: {self._checkpoints_asked} checkpoints, {self._perturbed} perturbs"

    def __getstate__(self) -> dict[str, Any]:
        import cloudpickle

        state = dict(self.__dict__)
        state["_mutations"] = cloudpickle.dumps(self._mutations)
        state["_custom"] = cloudpickle.dumps(self._custom)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        import cloudpickle

        self.__dict__.update(state)
        self._mutations = cloudpickle.loads(state["_mutations"])
        self._custom = cloudpickle.loads(state["_custom"])


def read_policy(path: str) -> list[list[Any]]:
    """The changes in a policy file, oldest first."""
    with open(path) as stream:
        return [json.loads(line) for line in stream if line.strip()]
