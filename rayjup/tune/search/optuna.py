"""Optuna: all its samplers, spaces defined by running them, several objectives, constraints."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.extras import load
from rayjup.tune.search.sample import (
    Categorical,
    Domain,
    Float,
    Integer,
    LogUniform,
    Quantized,
    Uniform,
    walk,
)
from rayjup.tune.search.searcher import (
    UNDEFINED_METRIC_MODE,
    UNDEFINED_SEARCH_SPACE,
    UNRESOLVED_SEARCH_SPACE,
    Searcher,
)
from rayjup.tune.search.variants import has_unresolved, is_grid


class OptunaSearch(Searcher):
    """Suggests what an Optuna study asks for.

    Parameters
    ----------
    space
        Optuna distributions by name, or a function of an Optuna trial that suggests values (and may return
        constants). By default, the Tuner's space.
    metric, mode
        What is optimized; lists for several objectives.
    points_to_evaluate
        Configurations that are tried first.
    sampler
        An Optuna sampler; TPE by default.
    study_name, storage
        Where the study is kept, for example a database that other programs watch; in memory by default.
    seed
        Of the default sampler.
    evaluated_rewards
        Values of ``points_to_evaluate``, which are then not tried but learnt from.

    Examples
    --------
    >>> from rayjup import tune
    >>> from rayjup.tune.search.optuna import OptunaSearch
    >>> search = OptunaSearch(metric="loss", mode="min", seed=1)
    >>> search.set_search_properties(None, None, {"x": tune.uniform(0, 1)})
    True
    >>> 0 <= search.suggest("first")["x"] <= 1
    True
    """

    def __init__(
        self,
        space: Any = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        sampler: Any = None,
        study_name: str | None = None,
        storage: Any = None,
        seed: int | None = None,
        evaluated_rewards: list[Any] | None = None,
    ) -> None:
        self._optuna = load("optuna", "OptunaSearch", "rayjup[tune]")
        super().__init__(metric, mode)
        if isinstance(space, Mapping) and space and has_unresolved(space):
            warnings.warn(
                UNRESOLVED_SEARCH_SPACE.format(cls="OptunaSearch", par="domains", space="space"), stacklevel=2
            )
            space = self.convert_search_space(dict(space))
        elif isinstance(space, list):
            raise TypeError(
                "OptunaSearch: a list of parameters belongs to the past; give a dictionary of Optuna "
                "distributions, or a function of an Optuna trial"
            )
        self._space = space
        self._points = copy.deepcopy(points_to_evaluate or [])
        self._rewards = evaluated_rewards
        if evaluated_rewards is not None:
            from rayjup.tune.utils.util import validate_warmstart

            if callable(space):
                raise TypeError(
                    "OptunaSearch: evaluated_rewards can't be used with a space that is a function"
                )
            names = list(space) if isinstance(space, Mapping) else []
            validate_warmstart(names, self._points, evaluated_rewards, bool(names))
        if sampler is not None and seed is not None:
            warnings.warn("OptunaSearch: seed is not used, since a sampler was given", stacklevel=2)
        if sampler is not None and not isinstance(sampler, self._optuna.samplers.BaseSampler):
            raise TypeError(f"OptunaSearch: sampler must be an Optuna sampler (an object), not {sampler!r}")
        self._seed = seed
        self._sampler = sampler
        self._study_name = study_name or "optuna"
        self._storage = storage
        self._trials: dict[str, Any] = {}
        self._completed: set[str] = set()
        self._study: Any = None
        self._was_replayed = False
        if self._space is not None and self._metric and self._mode:
            self._set_up()

    def _set_up(self) -> None:
        optuna = self._optuna
        modes = self._mode if isinstance(self._mode, (list, tuple)) else [self._mode]
        directions = ["minimize" if mode == "min" else "maximize" for mode in modes if mode != "obs"]
        sampler = self._sampler or optuna.samplers.TPESampler(seed=self._seed)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = optuna.create_study(
                storage=self._storage,
                sampler=sampler,
                pruner=optuna.pruners.NopPruner(),
                study_name=self._study_name,
                directions=directions,
                load_if_exists=True,
            )
        finally:
            optuna.logging.set_verbosity(level)
        if self._rewards is not None:
            for point, value in zip(self._points, self._rewards, strict=True):
                self.add_evaluated_point(point, value)
        else:
            for point in self._points:
                self._study.enqueue_trial(flatten(point))

    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        """Take metric, mode and space from the Tuner."""
        if self._space is not None and config and has_unresolved(config):
            return False
        if self._space is None:
            self._space = self.convert_search_space(config)
        self._metric = metric or self._metric
        self._mode = mode or self._mode
        if self._metric is None or self._mode is None:
            raise ValueError(
                UNDEFINED_METRIC_MODE.format(cls="OptunaSearch", metric=self._metric, mode=self._mode)
            )
        if self._study is None:
            self._set_up()
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What the study asks for next."""
        if self._space is None or (isinstance(self._space, Mapping) and self._space is None):
            raise RuntimeError(UNDEFINED_SEARCH_SPACE.format(cls="OptunaSearch", space="{...}"))
        if self._study is None:
            raise RuntimeError(
                UNDEFINED_METRIC_MODE.format(cls="OptunaSearch", metric=self._metric, mode=self._mode)
            )
        if self._was_replayed and not self._study.get_trials(deepcopy=False, states=self._waiting()):
            # What is in the study was not drawn by this sampler: with its seed it would draw the same again.
            self._was_replayed = False
            self._study.sampler.reseed_rng()
        if callable(self._space):
            if trial_id not in self._trials:
                self._trials[trial_id] = self._study.ask()
            trial = self._trials[trial_id]
            started = time.monotonic()
            constants = self._space(trial)
            if time.monotonic() - started > 1:
                warnings.warn(
                    "OptunaSearch: the function that defines the space took longer than a second. It "
                    "should only "
                    "suggest values; the training belongs into the trainable",
                    stacklevel=2,
                )
            if constants is not None and not isinstance(constants, dict):
                raise TypeError(
                    f"OptunaSearch: the function that defines the space must return a dictionary or None, "
                    f"not {constants!r}"
                )
            return {**trial.params, **(constants or {})}
        if trial_id not in self._trials:
            self._trials[trial_id] = self._study.ask(fixed_distributions=self._space)
        return dict(self._trials[trial_id].params)

    def _waiting(self) -> tuple[Any, ...]:
        return (self._optuna.trial.TrialState.WAITING,)

    def on_trial_suggested_again(self, trial_id: str, config: dict[str, Any]) -> None:
        """Put it into the study as it was suggested; nothing is sampled."""
        if self._study is None:
            return
        self._was_replayed = True
        if callable(self._space):
            self._study.enqueue_trial({k: v for k, v in config.items() if _is_value(v)})
            self.suggest(trial_id)
            return
        self._study.enqueue_trial({name: config[name] for name in self._space if name in config})
        self.suggest(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the study, for samplers that look at values on the way."""
        if isinstance(self.metric, (list, tuple)) or trial_id not in self._trials:
            return  # Optuna has no intermediate values of several objectives
        value = look_up(result, self.metric)
        step = int(result.get("training_iteration", 0))
        if value is not None:
            self._trials[trial_id].report(value, step)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how it ended."""
        trial = self._trials.get(trial_id)
        if trial is None or trial_id in self._completed:
            return
        self._completed.add(trial_id)
        state = self._optuna.trial.TrialState
        values: Any = None
        if result is not None:
            if isinstance(self.metric, (list, tuple)):
                modes = self._mode if isinstance(self._mode, (list, tuple)) else [self._mode]
                shown = [(m, look_up(result, n)) for m, n in zip(modes, self.metric, strict=True)]
                values = [value for mode, value in shown if mode != "obs"]
                missing = any(value is None for value in values)
            else:
                values = look_up(result, self.metric)
                missing = values is None
            if missing or error:
                values = None
        final = state.COMPLETE if values is not None else state.FAIL if error else state.PRUNED
        try:
            self._study.tell(trial, values, state=final)
        except ValueError as problem:  # NaN is no value for Optuna
            self._study.tell(trial, None, state=state.FAIL)
            warnings.warn(f"Optuna takes the trial {trial_id} as failed: {problem}", stacklevel=2)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Put a configuration that was evaluated elsewhere into the study."""
        if self._study is None or self._space is None:
            raise RuntimeError(UNDEFINED_SEARCH_SPACE.format(cls="OptunaSearch", space="{...}"))
        if callable(self._space):
            raise TypeError("OptunaSearch can't take points while its space is a function")
        states = self._optuna.trial.TrialState
        state = states.FAIL if error else states.PRUNED if pruned else states.COMPLETE
        several = isinstance(value, (list, tuple))
        flat = flatten(parameters)
        trial = self._optuna.trial.create_trial(
            state=state,
            value=value if not several and state is states.COMPLETE else None,
            values=list(value) if several and state is states.COMPLETE else None,
            params={name: flat[name] for name in self._space if name in flat},
            distributions={name: d for name, d in self._space.items() if name in flat},
            intermediate_values=dict(enumerate(intermediate_values)) if intermediate_values else None,
        )
        self._study.add_trial(trial)

    def get_state(self) -> dict[str, Any]:
        """All but the module of Optuna."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_optuna", "_storage")}

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state["_optuna"] = None
        if not callable(state["_space"]):
            return state
        import cloudpickle

        return {**state, "_space": _Pickled(cloudpickle.dumps(state["_space"]))}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._optuna = load("optuna", "OptunaSearch", "rayjup[tune]")
        if isinstance(self._space, _Pickled):
            self._space = self._space.load()

    def save(self, checkpoint_path: str) -> None:
        """Write the study to a file."""
        import cloudpickle

        with open(checkpoint_path, "wb") as stream:
            cloudpickle.dump(self.get_state(), stream)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> dict[str, Any]:
        """Optuna distributions of a space of Tune's domains, by joined path."""
        optuna = load("optuna", "OptunaSearch", "rayjup[tune]")
        found: dict[str, Any] = {}
        for path, domain in walk(spec):
            name = "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(
                    f"OptunaSearch can't search the grid {name!r}: use tune.choice([...]) in its place, "
                    f"or Optuna's "
                    "GridSampler"
                )
            found[name] = _distribution(optuna, name, domain)
        return found


class _Pickled:
    """A function that travels by value."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def load(self) -> Callable[..., Any]:
        """The function."""
        import cloudpickle

        function: Callable[..., Any] = cloudpickle.loads(self.data)
        return function


def _is_value(value: Any) -> bool:
    return isinstance(value, (int, float, str, bool, type(None)))


def _distribution(optuna: Any, name: str, domain: Domain) -> Any:
    sampler = domain.get_sampler()
    quantum: Any = None
    if isinstance(sampler, Quantized):
        quantum = sampler.q
        sampler = sampler.get_sampler()
        if isinstance(sampler, LogUniform):
            warnings.warn(
                f"Optuna does not round logarithmic parameters: {name!r} is sampled without its quantum",
                stacklevel=4,
            )
            quantum = None
    distributions = optuna.distributions
    log = isinstance(sampler, LogUniform)
    if isinstance(domain, Float) and isinstance(sampler, (Uniform, LogUniform)):
        return distributions.FloatDistribution(domain.lower, domain.upper, log=log, step=quantum)
    if isinstance(domain, Integer) and isinstance(sampler, (Uniform, LogUniform)):
        # Tune leaves the upper bound out, unless it is quantized; Optuna does not.
        upper = domain.upper if quantum else domain.upper - 1
        return distributions.IntDistribution(domain.lower, upper, log=log, step=quantum or 1)
    if isinstance(domain, Categorical) and isinstance(sampler, Uniform):
        return _categorical(distributions, domain)
    raise ValueError(
        f"OptunaSearch can't sample the parameter {name!r}, {domain!r} by {type(sampler).__name__}; it "
        f"knows uniform, "
        "loguniform, randint, lograndint, their quantized forms, and choice"
    )


def _categorical(distributions: Any, domain: Categorical) -> Any:
    with warnings.catch_warnings():
        # Optuna warns of choices that its databases can't store; ours stay in memory unless the user says so.
        warnings.simplefilter("ignore", UserWarning)
        return distributions.CategoricalDistribution(list(domain.categories))
