"""Random search and grids."""

from __future__ import annotations

import copy
import glob
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from rayjup.runs.checkpoints import flatten, unflatten
from rayjup.tune.experiment.experiment import Experiment, convert_to_experiment_list
from rayjup.tune.experiment.trial import Trial
from rayjup.tune.search.generator import SearchAlgorithm, merge
from rayjup.tune.search.sample import generator_of, walk
from rayjup.tune.search.variants import (
    assign,
    count_variants,
    flatten_resolved,
    format_vars,
    grid_values,
    is_grid,
    mutable,
    variants,
)


class BasicVariantGenerator(SearchAlgorithm):
    """Enumerates grids and draws everything else at random; what is used when no search algorithm is given.

    Parameters
    ----------
    points_to_evaluate
        Configurations (or parts of such) that are tried first.
    max_concurrent
        So many trials run at the same time; 0: as many as there is room for.
    constant_grid_search
        Whether random parameters are drawn once per sample, for all points of the grid.
    random_state
        Seed, or a generator of numpy.

    Examples
    --------
    >>> from rayjup.tune.search import BasicVariantGenerator
    >>> search = BasicVariantGenerator(random_state=1)
    """

    CKPT_FILE_TMPL = "basic-variant-state-{}.json"

    def __init__(
        self,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: Any = None,
    ) -> None:
        self._points = points_to_evaluate or []
        self.max_concurrent = max_concurrent
        self._constant_grid = constant_grid_search
        # Drawn from the global state when nothing is given, as users expect of numpy.random.seed.
        self._random = None if random_state is None else generator_of(random_state)
        self._experiments: list[Experiment] = []
        self._iterator: Iterator[tuple[Experiment, Any, Any]] | None = None
        self._total = 0
        self._made = 0
        self._live: set[str] = set()
        self._ahead: tuple[Experiment, Any, Any] | None = None
        self._finished = False

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return self._total

    @property
    def independent(self) -> bool:
        """Configurations do not depend on results."""
        return not self.max_concurrent

    def add_configurations(self, experiments: Any) -> None:
        """Take experiments."""
        for experiment in convert_to_experiment_list(experiments):
            grids = [value for _, value in walk(experiment.config) if is_grid(value)]
            if any(len(grid_values(value, ())) == 0 for value in grids):
                warnings.warn("a grid_search has no values: there will be no trials", stacklevel=2)
            self._experiments.append(experiment)
            count = count_variants(experiment.config, experiment.num_samples)
            if math.isfinite(count):
                points = self._points[: experiment.num_samples]
                each = int(count) // experiment.num_samples
                self._total += each * (experiment.num_samples - len(points))
                self._total += sum(_combinations(experiment.config, point) for point in points)
        self._iterator = self._configurations()

    def next_trial(self) -> Trial | None:
        """The next trial; None when all are made or enough run."""
        if self.is_finished() or (self.max_concurrent and len(self._live) >= self.max_concurrent):
            return None
        found = self._next()
        if found is None:
            return None
        experiment, config, decided = found
        trial = experiment.make_trial(config, evaluated=flatten_resolved(decided), tag=format_vars(decided))
        self._made += 1
        self._live.add(trial.trial_id)
        return trial

    def on_trial_made_again(self, trial: Trial) -> None:
        """Pass over what it was made of."""
        found = self._next()
        if found is not None:
            found[0].seen(trial)
        self._made += 1
        self._live.add(trial.trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Room for another one."""
        self._live.discard(trial_id)

    def get_state(self) -> dict[str, Any]:
        """How far it has come."""
        return {"made": self._made, "finished": self._finished}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on after so many trials."""
        while self._made < state["made"] and self._next() is not None:
            self._made += 1
        self._finished = state["finished"]

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether `save_to_dir` has left something there."""
        return bool(glob.glob(os.path.join(dirpath, self.CKPT_FILE_TMPL.format("*"))))

    def save_to_dir(self, dirpath: str, session_str: str = "default", **kwargs: Any) -> None:
        """Write how far it has come."""
        with open(os.path.join(dirpath, self.CKPT_FILE_TMPL.format(session_str)), "w") as stream:
            json.dump(self.get_state(), stream)

    def restore_from_dir(self, dirpath: str) -> None:
        """Read how far it had come."""
        found = glob.glob(os.path.join(dirpath, self.CKPT_FILE_TMPL.format("*")))
        if not found:
            raise RuntimeError(f"there is no state of a search in {dirpath!r}")
        with open(max(found, key=os.path.getmtime)) as stream:
            self.set_state(json.load(stream))

    def is_finished(self) -> bool:
        """Whether all trials are made."""
        if not self._finished and self._ahead is None:
            self._ahead = next(self._iterator, None) if self._iterator is not None else None
            self._finished = self._ahead is None
        return self._finished

    def _next(self) -> tuple[Experiment, Any, Any] | None:
        if self.is_finished():
            return None
        found, self._ahead = self._ahead, None
        return found

    def _configurations(self) -> Iterator[tuple[Experiment, Any, Any]]:
        for experiment in self._experiments:
            samples = experiment.num_samples
            number = 0
            for point in self._points:
                if samples >= 0 and number >= samples:
                    break
                number += 1
                for config, decided in self._with_point(experiment.config, point):
                    yield experiment, config, decided
            while samples < 0 or number < samples:
                number += 1
                for config, decided in variants(experiment.config, self._random, self._constant_grid):
                    yield experiment, config, decided

    def _with_point(self, space: Mapping[str, Any], point: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
        """The space with the point's values in place of its domains."""
        nested = unflatten(flatten(copy.deepcopy(dict(point))))
        fixed = merge(mutable(space), nested)
        known = {path for path, _ in walk(space)}
        for config, decided in variants(fixed, self._random, self._constant_grid):
            for path in known:
                if path not in decided:
                    value = _at(config, path)
                    if value is not _MISSING:
                        decided[path] = value
            yield assign(config, (), config), decided

    def __getstate__(self) -> dict[str, Any]:
        if self._experiments:
            raise TypeError(
                "a search that has begun can't be pickled; its experiment is restored by replaying it"
            )
        return dict(self.__dict__)


_MISSING = object()


def _at(config: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        try:
            config = config[part]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return config


def _combinations(space: Any, point: Mapping[str, Any]) -> int:
    """How many points of the grid a point to evaluate leaves open."""
    given = flatten(point)
    return math.prod(
        max(1, len(grid_values(value, path)))
        for path, value in walk(space)
        if is_grid(value) and "/".join(map(str, path)) not in given
    )
