"""BOHB: a Parzen estimator per rung of HyperBand; goes with `HyperBandForBOHB`."""

from __future__ import annotations

import copy
from typing import Any

from rayjup.runs.checkpoints import look_up, unflatten
from rayjup.runs.extras import load
from rayjup.tune.search.sample import (
    Categorical,
    Float,
    Integer,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
    walk,
)
from rayjup.tune.search.searcher import SpaceSearcher
from rayjup.tune.search.variants import is_grid

_MODULE = "hpbandster.optimizers.config_generators.bohb"

try:
    from hpbandster.optimizers.config_generators.bohb import BOHB  # type: ignore[import-not-found]
except ImportError:
    BOHB = None  # what it is called where HpBandSter is not installed, as in Ray


class _BOHBJobWrapper:
    """A result as HpBandSter takes it."""

    exception = None

    def __init__(self, loss: float, budget: float, config: dict[str, Any]) -> None:
        self.result = {"loss": loss}
        self.kwargs = {"budget": budget, "config": copy.deepcopy(config)}


class TuneBOHB(SpaceSearcher):
    """Suggests what HpBandSter's BOHB does.

    Parameters
    ----------
    space
        A ``ConfigurationSpace``; by default, the Tuner's space.
    bohb_config
        Given to HpBandSter's generator.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    seed
        Of the space.
    max_concurrent
        So many trials run at the same time; 0: without limit.
    """

    def __init__(
        self,
        space: Any = None,
        bohb_config: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        seed: int | None = None,
        max_concurrent: int = 0,
    ) -> None:
        load(_MODULE, "TuneBOHB", "hpbandster")
        load("ConfigSpace", "TuneBOHB", "ConfigSpace")
        super().__init__(space, metric, mode, points_to_evaluate)
        if space is not None and not isinstance(space, dict):
            self._given_space = space
        self._options = bohb_config or {}
        self._seed = seed
        self._max_concurrent = max_concurrent
        self._bohber: Any = None
        self._params: dict[str, dict[str, Any]] = {}
        self._running: set[str] = set()
        self._paused: set[str] = set()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Limit how many trials run."""
        self._max_concurrent = max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What the generator suggests."""
        self._ready()
        if self._bohber is None:
            if self._seed is not None:
                self._given_space.seed(self._seed)
            self._bohber = load(_MODULE, "TuneBOHB", "hpbandster").BOHB(self._given_space, **self._options)
        if self._max_concurrent and len(self._running) >= self._max_concurrent:
            return None
        config = self._points.pop(0) if self._points else self._bohber.get_config(None)[0]
        config = {name: value.item() if hasattr(value, "item") else value for name, value in config.items()}
        self._params[trial_id] = dict(config)
        self._running.add(trial_id)
        return unflatten(dict(config))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the generator what was reached on a rung."""
        if trial_id in self._paused or trial_id not in self._params:
            return
        if look_up(result, "hyperband_info/budget") is not None:
            self._bohber.new_result(self.to_wrapper(trial_id, result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Room for another one."""
        self._params.pop(trial_id, None)
        self._paused.discard(trial_id)
        self._running.discard(trial_id)

    def to_wrapper(self, trial_id: str, result: dict[str, Any]) -> _BOHBJobWrapper:
        """A result as HpBandSter takes it."""
        budget = look_up(result, "hyperband_info/budget")
        return _BOHBJobWrapper(self._value(result), budget, self._params[trial_id])

    def on_pause(self, trial_id: str) -> None:
        """The trial rests at its rung."""
        self._paused.add(trial_id)
        self._running.discard(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """The trial goes on."""
        self._paused.discard(trial_id)
        self._running.add(trial_id)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """A ``ConfigurationSpace`` of a space of Tune's domains."""
        cs = load("ConfigSpace", "TuneBOHB", "ConfigSpace")
        space = cs.ConfigurationSpace()
        for path, domain in walk(spec):
            name = "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(f"TuneBOHB can't search the grid {name!r}: use tune.choice([...]) instead")
            sampler = domain.get_sampler()
            if isinstance(sampler, Quantized):
                sampler = sampler.get_sampler()
            log = isinstance(sampler, LogUniform)
            if isinstance(domain, Categorical) and isinstance(sampler, Uniform):
                parameter = cs.CategoricalHyperparameter(name, list(domain.categories))
            elif isinstance(domain, Float) and isinstance(sampler, Normal):
                parameter = cs.NormalFloatHyperparameter(name, mu=sampler.mean, sigma=sampler.sd)
            elif isinstance(domain, Float) and isinstance(sampler, (Uniform, LogUniform)):
                parameter = cs.UniformFloatHyperparameter(name, domain.lower, domain.upper, log=log)
            elif isinstance(domain, Integer) and isinstance(sampler, (Uniform, LogUniform)):
                parameter = cs.UniformIntegerHyperparameter(name, domain.lower, domain.upper - 1, log=log)
            else:
                raise ValueError(f"TuneBOHB can't sample the parameter {name!r}: {domain!r} by {sampler}")
            (getattr(space, "add", None) or space.add_hyperparameter)(parameter)
        return space
