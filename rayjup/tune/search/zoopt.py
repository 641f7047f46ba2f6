"""ZOOpt: zeroth-order optimization (asynchronous racos)."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized, Uniform, walk
from rayjup.tune.search.searcher import Searcher, SpaceSearcher
from rayjup.tune.search.variants import is_grid


class ZOOptSearch(SpaceSearcher):
    """Suggests what ZOOpt does.

    Parameters
    ----------
    algo
        ``"asracos"``; there is no other.
    budget
        So many trials there will be.
    dim_dict
        Dimensions of ZOOpt's by name; by default, the Tuner's space.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    parallel_num
        So many trials run at the same time.
    **kwargs
        Given to ZOOpt's ``Parameter``.
    """

    def __init__(
        self,
        algo: str = "asracos",
        budget: int | None = None,
        dim_dict: dict[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        parallel_num: int = 1,
        **kwargs: Any,
    ) -> None:
        load("zoopt", "ZOOptSearch", "zoopt")
        if algo.lower() not in ("asracos", "sracos"):
            raise ValueError(f"ZOOptSearch: the algorithm {algo!r} is not known; there is 'asracos'")
        if budget is None:
            raise ValueError("ZOOptSearch needs a budget: the number of trials")
        super().__init__(dim_dict, metric, mode, points_to_evaluate)
        self._budget = budget
        self._parallel = parallel_num
        self._options = kwargs
        self._optimizer: Any = None
        self._live: dict[str, Any] = {}

    def _start(self) -> None:
        zoopt = load("zoopt", "ZOOptSearch", "zoopt")
        tune = load("zoopt.algos.opt_algorithms.racos.sracos", "ZOOptSearch", "zoopt").SRacosTune
        names = list(self._given_space)
        options = dict(self._options)
        if self._points:
            options["init_samples"] = [[flatten(point)[name] for name in names] for point in self._points]
        parameter = zoopt.Parameter(budget=self._budget, **options)
        dimension = zoopt.Dimension2([self._given_space[name] for name in names])
        self._optimizer = tune(dimension=dimension, parameter=parameter, parallel_num=self._parallel)

    def suggest(self, trial_id: str) -> Any:
        """What ZOOpt suggests."""
        self._ready()
        if self._optimizer is None:
            self._start()
        solution = self._optimizer.suggest()
        if isinstance(solution, str):
            return Searcher.FINISHED if solution == "FINISHED" else None
        if solution is None:
            return None
        self._live[trial_id] = solution
        return dict(zip(self._given_space, solution.get_x(), strict=True))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell ZOOpt how it ended."""
        solution = self._live.pop(trial_id, None)
        if solution is not None and result and not error:
            self._optimizer.complete(solution, self._value(result))

    def save(self, checkpoint_path: str) -> None:
        """Write its state to a file."""
        super().save(checkpoint_path)

    @staticmethod
    def convert_search_space(spec: dict[str, Any], join: bool = False) -> dict[str, Any]:
        """ZOOpt's dimensions of a space of Tune's domains."""
        kinds = load("zoopt", "ZOOptSearch", "zoopt").ValueType
        found: dict[str, Any] = {}
        for path, domain in walk(spec):
            name = "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(
                    f"ZOOptSearch can't search the grid {name!r}: use tune.choice([...]) instead"
                )
            sampler = domain.get_sampler()
            quantum: Any = None
            if isinstance(sampler, Quantized):
                quantum, sampler = sampler.q, sampler.get_sampler()
            if isinstance(sampler, LogUniform) or not isinstance(sampler, Uniform):
                raise ValueError(f"ZOOptSearch can't sample the parameter {name!r}: {domain!r} by {sampler}")
            if isinstance(domain, Float):
                found[name] = (kinds.CONTINUOUS, [domain.lower, domain.upper], quantum or 1e-12)
            elif isinstance(domain, Integer):
                found[name] = (kinds.DISCRETE, [domain.lower, domain.upper - 1], True)
            elif isinstance(domain, Categorical):
                found[name] = (kinds.GRID, list(domain.categories))
        return {**spec, **found} if join else found
