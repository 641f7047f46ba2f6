"""HEBO: heteroscedastic evolutionary Bayesian optimization."""

from __future__ import annotations

import math
from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load, pandas
from rayjup.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized, Uniform, walk
from rayjup.tune.search.searcher import SpaceSearcher
from rayjup.tune.search.variants import is_grid


class HEBOSearch(SpaceSearcher):
    """Suggests what HEBO does.

    Parameters
    ----------
    space
        A ``DesignSpace`` of HEBO's; by default, the Tuner's space.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    evaluated_rewards
        Values of these, which are then not tried but learnt from.
    random_state_seed
        Seed.
    max_concurrent
        So many suggestions are made at a time.
    **kwargs
        Given to ``HEBO``.
    """

    def __init__(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        evaluated_rewards: list[Any] | None = None,
        random_state_seed: int | None = None,
        max_concurrent: int = 8,
        **kwargs: Any,
    ) -> None:
        load("hebo.optimizers.hebo", "HEBOSearch", "HEBO")
        super().__init__(space, metric, mode, points_to_evaluate)
        if space is not None and not isinstance(space, dict):
            self._given_space = space
        if max_concurrent <= 0:
            raise ValueError(f"HEBOSearch: max_concurrent is {max_concurrent}; it must be at least 1")
        self._rewards = evaluated_rewards
        self._seed = random_state_seed
        self._at_a_time = max_concurrent
        self._options = kwargs
        self._optimizer: Any = None
        self._suggestions: list[Any] = []
        self._live: dict[str, Any] = {}

    def _start(self) -> None:
        optimizer = load("hebo.optimizers.hebo", "HEBOSearch", "HEBO").HEBO
        if self._seed is not None:
            import numpy as np

            np.random.seed(self._seed)
            load("torch", "HEBOSearch", "torch").random.manual_seed(self._seed)
        self._optimizer = optimizer(space=self._given_space, **self._options)
        if self._points:
            frame = pandas("HEBOSearch").DataFrame([flatten(point) for point in self._points])
            if self._rewards:
                import numpy as np

                sign = -1.0 if self._mode == "max" else 1.0
                self._optimizer.observe(frame, np.array(self._rewards, dtype=float).reshape(-1, 1) * sign)
            else:
                self._suggestions = [frame.iloc[[i]] for i in range(len(frame))]

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What HEBO suggests."""
        self._ready()
        if self._optimizer is None:
            self._start()
        if not self._suggestions:
            frame = self._optimizer.suggest(n_suggestions=self._at_a_time)
            self._suggestions = [frame.iloc[[i]] for i in range(len(frame))]
        row = self._suggestions.pop(0)
        self._live[trial_id] = row
        return {name: _plain(row[name].iloc[0]) for name in row.columns}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell HEBO how it ended."""
        row = self._live.pop(trial_id, None)
        if row is None or not result or error:
            return
        value = self._value(result)
        if not math.isnan(value):
            import numpy as np

            self._optimizer.observe(row, np.array([[value]]))

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a configuration that was evaluated elsewhere."""
        if self._optimizer is None:
            self._start()
        if not error and not math.isnan(value):
            import numpy as np

            sign = -1.0 if self._mode == "max" else 1.0
            frame = pandas("HEBOSearch").DataFrame([flatten(parameters)])
            self._optimizer.observe(frame, np.array([[value * sign]]))

    def save(self, checkpoint_path: str) -> None:
        """Write its state to a file."""
        super().save(checkpoint_path)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], prefix: str = "") -> Any:
        """A ``DesignSpace`` of a space of Tune's domains."""
        design = load("hebo.design_space.design_space", "HEBOSearch", "HEBO").DesignSpace
        params: list[dict[str, Any]] = []
        for path, domain in walk(spec):
            name = prefix + "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(f"HEBOSearch can't search the grid {name!r}: use tune.choice([...]) instead")
            sampler = domain.get_sampler()
            if isinstance(sampler, Quantized):
                sampler = sampler.get_sampler()
            log = isinstance(sampler, LogUniform)
            if isinstance(domain, Categorical) and isinstance(sampler, Uniform):
                params.append({"name": name, "type": "cat", "categories": list(domain.categories)})
            elif isinstance(domain, Float) and isinstance(sampler, (Uniform, LogUniform)):
                params.append(
                    {"name": name, "type": "pow" if log else "num", "lb": domain.lower, "ub": domain.upper}
                )
            elif isinstance(domain, Integer) and isinstance(sampler, (Uniform, LogUniform)):
                kind = "pow_int" if log else "int"
                params.append({"name": name, "type": kind, "lb": domain.lower, "ub": domain.upper - 1})
            else:
                raise ValueError(f"HEBOSearch can't sample the parameter {name!r}: {domain!r} by {sampler}")
        return design().parse(params)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
