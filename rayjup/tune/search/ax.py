"""Ax: Bayesian optimization of the Adaptive Experimentation Platform."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.extras import load
from rayjup.tune.search.sample import Categorical, Float, Integer, LogUniform, Quantized, Uniform, walk
from rayjup.tune.search.searcher import SpaceSearcher
from rayjup.tune.search.variants import is_grid


class AxSearch(SpaceSearcher):
    """Suggests what an ``AxClient`` does.

    Parameters
    ----------
    space
        Ax's parameters, a list of dictionaries; by default, the Tuner's space.
    metric, mode
        What is optimized.
    points_to_evaluate
        Configurations that are tried first.
    parameter_constraints, outcome_constraints
        As Ax writes them: ``"x1 + x2 <= 2"``, ``"m <= 3"``.
    ax_client
        A made client; what it optimizes must have been set.
    **ax_kwargs
        Given to ``AxClient``.
    """

    def __init__(
        self,
        space: Any = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        parameter_constraints: list[str] | None = None,
        outcome_constraints: list[str] | None = None,
        ax_client: Any = None,
        **ax_kwargs: Any,
    ) -> None:
        self._module = "ax.service.ax_client"
        load(self._module, "AxSearch", "ax-platform")
        super().__init__(space, metric, mode, points_to_evaluate)
        if isinstance(space, list):
            self._given_space = space
        self._parameter_constraints = parameter_constraints
        self._outcome_constraints = outcome_constraints
        self._client = ax_client
        self._options = ax_kwargs
        self._ready_client = False
        self._live: dict[str, int] = {}
        if ax_client is not None and self._given_space is None:
            self._given_space = list(ax_client.experiment.parameters)

    def _start(self) -> None:
        ax = load(self._module, "AxSearch", "ax-platform")
        self._ready_client = True
        if self._client is None:
            self._client = ax.AxClient(**{"verbose_logging": False, **self._options})
        try:
            has_experiment = bool(self._client.experiment)
        except (AssertionError, ValueError):
            has_experiment = False
        if not has_experiment:
            objectives = {self._metric: ax.ObjectiveProperties(minimize=self._mode == "min")}
            self._client.create_experiment(
                parameters=self._given_space,
                objectives=objectives,
                parameter_constraints=self._parameter_constraints,
                outcome_constraints=self._outcome_constraints,
            )

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What Ax suggests."""
        self._ready()
        if not self._ready_client:
            self._start()
        if self._points:
            found, number = self._client.attach_trial(flatten(self._points.pop(0)))
        else:
            found, number = self._client.get_next_trial()
        self._live[trial_id] = number
        return dict(found)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Ax how it ended."""
        number = self._live.pop(trial_id, None)
        if number is None:
            return
        if error or not result:
            self._client.log_trial_failure(trial_index=number)
            return
        names = [self._metric]
        if self._client.experiment.optimization_config is not None:
            names += [c.metric.name for c in self._client.experiment.optimization_config.outcome_constraints]
        data = {name: (float(look_up(result, name)), None) for name in names}
        self._client.complete_trial(trial_index=number, raw_data=data)

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> list[dict[str, Any]]:
        """Ax's parameters of a space of Tune's domains."""
        found: list[dict[str, Any]] = []
        for path, domain in walk(spec):
            name = "/".join(map(str, path))
            if is_grid(domain):
                raise ValueError(f"AxSearch can't search the grid {name!r}: use tune.choice([...]) instead")
            sampler = domain.get_sampler()
            if isinstance(sampler, Quantized):
                sampler = sampler.get_sampler()
            if isinstance(domain, (Float, Integer)) and isinstance(sampler, (Uniform, LogUniform)):
                whole = isinstance(domain, Integer)
                found.append(
                    {
                        "name": name,
                        "type": "range",
                        "bounds": [domain.lower, domain.upper - 1 if whole else domain.upper],
                        "value_type": "int" if whole else "float",
                        "log_scale": isinstance(sampler, LogUniform),
                    }
                )
            elif isinstance(domain, Categorical) and isinstance(sampler, Uniform):
                found.append({"name": name, "type": "choice", "values": list(domain.categories)})
            else:
                raise ValueError(f"AxSearch can't sample the parameter {name!r}: {domain!r} by {sampler}")
        return found
