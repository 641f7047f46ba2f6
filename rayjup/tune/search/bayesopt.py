"""BayesianOptimization: a Gaussian process over real parameters."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.extras import load
from rayjup.tune.search.sample import Float, Quantized, walk
from rayjup.tune.search.searcher import Searcher, SpaceSearcher
from rayjup.tune.search.variants import is_grid


class BayesOptSearch(SpaceSearcher):
    """Suggests what the ``bayesian-optimization`` package does; for real parameters without scale.

    Parameters
    ----------
    space
        Bounds by name: ``{"x": (0, 1)}``; by default, the Tuner's space.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    utility_kwargs
        Of the acquisition function (upper confidence bound): ``kappa`` and the like.
    random_state
        Seed.
    random_search_steps
        So many are drawn at random before the model is used.
    patience
        After so many suggestions that were tried already, the search ends.
    skip_duplicate
        Whether such are passed over.
    analysis
        An earlier experiment to learn from.
    repeat_float_precision
        Decimals by which suggestions count as equal.
    """

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        utility_kwargs: dict[str, Any] | None = None,
        random_state: int = 42,
        random_search_steps: int = 10,
        verbose: int = 0,
        patience: int = 5,
        skip_duplicate: bool = True,
        analysis: Any = None,
        repeat_float_precision: int = 5,
    ) -> None:
        load("bayes_opt", "BayesOptSearch", "bayesian-optimization")
        super().__init__(space, metric, mode, points_to_evaluate)
        if patience <= 0:
            raise ValueError(f"BayesOptSearch: patience is {patience}; it must be above 0")
        self._acquisition = dict(utility_kwargs or {})
        self._seed = random_state
        self._random_steps = random_search_steps
        self._verbose = verbose
        self._patience = patience
        self._skip = skip_duplicate
        self._decimals = repeat_float_precision
        self._analysis = analysis
        self._optimizer: Any = None
        self._live: dict[str, dict[str, float]] = {}
        self._seen: defaultdict[str, int] = defaultdict(int)
        self._waiting: list[tuple[dict[str, float], float]] = []
        self._finished = False
        self._utility: tuple[Any, ...] = ()

    def _start(self) -> None:
        bayes_opt = load("bayes_opt", "BayesOptSearch", "bayesian-optimization")
        kind = self._acquisition.pop("kind", "ucb")
        if kind != "ucb":
            raise ValueError(
                f"BayesOptSearch: the acquisition function {kind!r} is not known; there is 'ucb'"
            )
        if hasattr(bayes_opt, "acquisition"):
            known = {k: v for k, v in self._acquisition.items() if k in ("kappa", "exploration_decay")}
            options = {"acquisition_function": bayes_opt.acquisition.UpperConfidenceBound(**known)}
        else:  # before version 2, which Nevergrad pins
            known = {"kappa": 2.576, "xi": 0.0, **self._acquisition}
            self._utility = (bayes_opt.UtilityFunction(kind=kind, **known),)
            options = {}
        self._optimizer = bayes_opt.BayesianOptimization(
            f=None,
            pbounds=self._given_space,
            random_state=self._seed,
            verbose=self._verbose,
            allow_duplicate_points=True,
            **options,
        )
        if self._analysis is not None:
            self.register_analysis(self._analysis)

    def suggest(self, trial_id: str) -> Any:
        """What the model suggests."""
        self._ready()
        if self._optimizer is None:
            self._start()
        if self._finished:
            return Searcher.FINISHED
        if self._points:
            config = flatten(self._points.pop(0))
        elif len(self._live) < self._random_steps and not self._waiting_is_used():
            config = self._drawn()
        else:
            found = self._optimizer.suggest(*self._utility)
            config = {name: float(value) for name, value in found.items()}
        key = json.dumps({name: round(value, self._decimals) for name, value in sorted(config.items())})
        self._seen[key] += 1
        if self._seen[key] > 1 and self._skip:
            if self._seen[key] > self._patience:
                self._finished = True
                return Searcher.FINISHED
            config = self._drawn()
        self._live[trial_id] = config
        return dict(config)

    def _waiting_is_used(self) -> bool:
        return len(self._optimizer.space) >= self._random_steps

    def _drawn(self) -> dict[str, float]:
        rng = self._optimizer._random_state
        return {name: float(rng.uniform(*bounds)) for name, bounds in self._given_space.items()}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the model how it ended."""
        config = self._live.get(trial_id)
        if config is not None and result and not error:
            self._optimizer.register(params=config, target=-self._value(result))

    def register_analysis(self, analysis: Any) -> None:
        """Learn from an earlier experiment."""
        for trial in analysis.trials:
            value = look_up(trial.last_result, self._metric)
            if value is not None:
                target = value if self._mode == "max" else -value
                params = {name: trial.config[name] for name in self._given_space}
                self._optimizer.register(params=params, target=target)

    def get_state(self) -> dict[str, Any]:
        """All that it has learnt."""
        return dict(self.__dict__)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` gave."""
        self.__dict__.update(state)

    def save(self, checkpoint_path: str) -> None:
        """Write its state to a file."""
        super().save(checkpoint_path)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """Bounds of a space of Tune's domains."""
        bounds: dict[str, Any] = {}
        for path, domain in walk(spec):
            name = "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(
                    f"BayesOptSearch can't search the grid {name!r}: give values to the others, or use "
                    f"another searcher"
                )
            if not isinstance(domain, Float):
                raise ValueError(
                    f"BayesOptSearch knows real parameters only, and {name!r} is {domain!r}; use "
                    f"tune.uniform, or "
                    "OptunaSearch"
                )
            if isinstance(domain.get_sampler(), Quantized):
                warnings.warn(
                    f"BayesOptSearch does not round: {name!r} is sampled without its quantum", stacklevel=3
                )
            bounds[name] = (domain.lower, domain.upper)
        return {**spec, **bounds} if join else bounds
