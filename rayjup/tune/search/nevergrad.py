"""Nevergrad: optimizers without derivatives."""

from __future__ import annotations

import inspect
from typing import Any

from rayjup.runs.checkpoints import flatten
from rayjup.runs.extras import load
from rayjup.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized, Uniform, walk
from rayjup.tune.search.searcher import SpaceSearcher
from rayjup.tune.search.variants import is_grid


class NevergradSearch(SpaceSearcher):
    """Suggests what an optimizer of Nevergrad does.

    Parameters
    ----------
    optimizer
        A class of Nevergrad's, such as ``ng.optimizers.OnePlusOne``, or a made optimizer; NGOpt by default.
    optimizer_kwargs
        Given to the class.
    space
        A parametrization of Nevergrad's; by default, the Tuner's space.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    """

    def __init__(
        self,
        optimizer: Any = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
    ) -> None:
        ng = load("nevergrad", "NevergradSearch", "nevergrad")
        super().__init__(space, metric, mode, points_to_evaluate)
        if not isinstance(space, dict) and space is not None:
            self._given_space = space
        self._options = optimizer_kwargs or {}
        self._class = optimizer if optimizer is not None else ng.optimizers.NGOpt
        self._optimizer: Any = None
        if not inspect.isclass(self._class) and hasattr(self._class, "ask"):
            if self._options:
                raise ValueError(
                    "NevergradSearch: optimizer_kwargs go with a class; a made optimizer was given"
                )
            self._optimizer = self._class
            self._given_space = self._optimizer.parametrization
        self._live: dict[str, Any] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What the optimizer asks for."""
        self._ready()
        if self._optimizer is None:
            options = {"budget": 100, **self._options}
            self._optimizer = self._class(parametrization=self._given_space, **options)
            for point in self._points:
                self._optimizer.suggest(**flatten(point))
        candidate = self._optimizer.ask()
        self._live[trial_id] = candidate
        if candidate.kwargs:
            return dict(candidate.kwargs)
        found = candidate.value
        return dict(found if isinstance(found, dict) else found[1])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the optimizer how it ended."""
        candidate = self._live.pop(trial_id, None)
        if candidate is not None and result and not error:
            self._optimizer.tell(candidate, self._value(result))

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """Nevergrad's parametrization of a space of Tune's domains."""
        ng = load("nevergrad", "NevergradSearch", "nevergrad")
        found: dict[str, Any] = {}
        for path, domain in walk(spec):
            name = "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(
                    f"NevergradSearch can't search the grid {name!r}: use tune.choice([...]) instead"
                )
            sampler = domain.get_sampler()
            if isinstance(sampler, Quantized):
                sampler = sampler.get_sampler()
            if isinstance(domain, (Float, Integer)) and isinstance(sampler, (Uniform, LogUniform)):
                whole = isinstance(domain, Integer)
                upper = domain.upper - 1 if whole else domain.upper
                if isinstance(sampler, LogUniform):
                    made = ng.p.Log(lower=domain.lower, upper=upper)
                else:
                    made = ng.p.Scalar(lower=domain.lower, upper=upper)
                found[name] = made.set_integer_casting() if whole else made
            elif isinstance(domain, Categorical) and isinstance(sampler, Uniform):
                found[name] = ng.p.Choice(choices=domain.categories)
            else:
                raise ValueError(
                    f"NevergradSearch can't sample the parameter {name!r}: {domain!r} by {sampler}"
                )
        return ng.p.Instrumentation(**found)
