"""HyperOpt: tree-structured Parzen estimators."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.tune.search.sample import (
    Categorical,
    Domain,
    Float,
    Integer,
    LogUniform,
    Normal,
    Quantized,
    Uniform,
)
from rayjup.tune.search.searcher import SpaceSearcher
from rayjup.tune.search.variants import is_grid


def _hyperopt() -> Any:
    return load("hyperopt", "HyperOptSearch", "hyperopt")


class HyperOptSearch(SpaceSearcher):
    """Suggests what HyperOpt's TPE does.

    Parameters
    ----------
    space
        A space of HyperOpt's; by default, the Tuner's.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    n_initial_points
        So many are drawn at random before the model is used.
    random_state_seed
        Seed.
    gamma
        The share of results that counts as good.
    """

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        n_initial_points: int = 20,
        random_state_seed: int | None = None,
        gamma: float = 0.25,
    ) -> None:
        _hyperopt()
        super().__init__(space, metric, mode, points_to_evaluate)
        self._initial = n_initial_points
        self._gamma = gamma
        self._random = np.random.default_rng(random_state_seed)
        self._domain: Any = None
        self._trials: Any = None
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What HyperOpt suggests."""
        self._ready()
        hyperopt = _hyperopt()
        if self._domain is None:
            self._domain = hyperopt.base.Domain(lambda space: space, self._given_space)
            if self._points:
                flat = [flatten(point) for point in self._points]
                self._trials = hyperopt.fmin.__globals__["generate_trials_to_calculate"](flat)
            else:
                self._trials = hyperopt.Trials()
            self._trials.refresh()
        waiting = [t for t in self._trials.trials if t["state"] == hyperopt.JOB_STATE_NEW]
        waiting = [t for t in waiting if t["tid"] not in self._numbers.values()]
        if waiting:
            document = waiting[0]
        else:
            number = self._trials.new_trial_ids(1)
            self._trials.refresh()
            seed = int(self._random.integers(2**31 - 1))
            (document,) = hyperopt.tpe.suggest(
                number, self._domain, self._trials, seed, n_startup_jobs=self._initial, gamma=self._gamma
            )
            self._trials.insert_trial_docs([document])
            self._trials.refresh()
        self._numbers[trial_id] = document["tid"]
        values = hyperopt.base.spec_from_misc(document["misc"])
        memo = self._domain.memo_from_config(values)
        found: dict[str, Any] = hyperopt.pyll.rec_eval(
            self._domain.expr, memo=memo, print_node_on_error=False
        )
        return dict(found)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell HyperOpt how it ended."""
        number = self._numbers.get(trial_id)
        if number is None:
            return
        hyperopt = _hyperopt()
        document = next(t for t in self._trials._dynamic_trials if t["tid"] == number)
        value = math.nan if error or not result else self._value(result)
        if math.isnan(value):
            document["state"] = hyperopt.JOB_STATE_ERROR
            document["misc"]["error"] = ("the trial failed", "")
        else:
            document["state"] = hyperopt.JOB_STATE_DONE
            document["result"] = {"loss": value, "status": "ok"}
        self._trials.refresh()

    def __getstate__(self) -> dict[str, Any]:
        # HyperOpt's domain holds a function; it is made anew from the space.
        import cloudpickle

        state = dict(self.__dict__)
        state["_domain"] = cloudpickle.dumps(self._domain)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        import cloudpickle

        self.__dict__.update(state)
        self._domain = cloudpickle.loads(state["_domain"])

    def get_state(self) -> dict[str, Any]:
        """All that it has learnt."""
        return self.__getstate__()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` gave."""
        self.__setstate__(state)

    def save(self, checkpoint_path: str) -> None:
        """Write its state to a file."""
        super().save(checkpoint_path)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        """HyperOpt's expressions of a space of Tune's domains; nested as it is."""
        return {
            name: converted
            for name, value in spec.items()
            if (converted := _convert(f"{prefix}{name}", value)) is not _LEFT_OUT
        }


_LEFT_OUT = object()


def _convert(name: str, value: Any) -> Any:
    if is_grid(value):
        raise ValueError(
            f"HyperOptSearch can't search the grid {name!r}: use tune.choice([...]) in its place"
        )
    if isinstance(value, Domain):
        return _expression(_hyperopt().hp, name, value)
    if isinstance(value, Mapping):
        inner = HyperOptSearch.convert_search_space(dict(value), f"{name}/")
        return inner if inner else _LEFT_OUT
    return _LEFT_OUT


def _expression(hp: Any, name: str, domain: Domain) -> Any:
    sampler = domain.get_sampler()
    quantum: Any = None
    if isinstance(sampler, Quantized):
        quantum, sampler = sampler.q, sampler.get_sampler()
    if isinstance(domain, Categorical) and isinstance(sampler, Uniform):
        choices = [_convert(f"{name}/{i}", v) for i, v in enumerate(domain.categories)]
        plain = domain.categories
        return hp.choice(name, [p if c is _LEFT_OUT else c for p, c in zip(plain, choices, strict=True)])
    if isinstance(domain, (Float, Integer)):
        whole = isinstance(domain, Integer)
        low, high = domain.lower, domain.upper
        if isinstance(sampler, LogUniform):
            if whole or quantum:
                step = quantum or 1
                made = hp.qloguniform(
                    name, math.log(low), math.log(high - (1 if whole and not quantum else 0)), step
                )
                return _scope().int(made) if whole else made
            return hp.loguniform(name, math.log(low), math.log(high))
        if isinstance(sampler, Normal):
            return (
                hp.qnormal(name, sampler.mean, sampler.sd, quantum)
                if quantum
                else (hp.normal(name, sampler.mean, sampler.sd))
            )
        if isinstance(sampler, Uniform):
            if whole:
                return _scope().int(hp.quniform(name, low, high if quantum else high - 1, quantum or 1))
            return hp.quniform(name, low, high, quantum) if quantum else hp.uniform(name, low, high)
    raise ValueError(f"HyperOptSearch can't sample the parameter {name!r}: {domain!r} by {sampler}")


def _scope() -> Any:
    return load("hyperopt.pyll", "HyperOptSearch", "hyperopt").scope
