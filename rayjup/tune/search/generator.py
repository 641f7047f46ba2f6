"""`SearchAlgorithm`: who makes trials; and the one that makes them of a `Searcher`'s suggestions."""

from __future__ import annotations

import copy
import glob
import os
from collections.abc import Mapping
from typing import Any

from rayjup.runs.checkpoints import unflatten
from rayjup.runs.errors import TuneError, must_define
from rayjup.tune.experiment.experiment import Experiment, convert_to_experiment_list
from rayjup.tune.experiment.trial import Trial
from rayjup.tune.search.sample import Domain
from rayjup.tune.search.searcher import Searcher, _set_properties, flat_result
from rayjup.tune.search.variants import format_vars, is_grid


class SearchAlgorithm:
    """Makes the trials of experiments, one when asked. Searchers are easier to write; see `Searcher`."""

    _finished = False
    _metric: str | None = None

    @property
    def metric(self) -> str | None:
        """What is optimized."""
        return self._metric

    @property
    def total_samples(self) -> int:
        """How many trials there will be, as far as is known."""
        return 0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take metric, mode and space from the Tuner; False if that is not possible."""
        if self._metric and metric:
            return False
        if metric:
            self._metric = metric
        return True

    def add_configurations(self, experiments: Any) -> None:
        """Take the experiments whose trials are to be made."""
        raise must_define(self, "add_configurations(experiments)")

    def next_trial(self) -> Trial | None:
        """The next trial, or None when there is none now."""
        raise must_define(self, "next_trial()")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial has reported."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial has ended."""

    def on_trial_made_again(self, trial: Trial) -> None:
        """A restored experiment says which trial was made next, before it was interrupted."""

    def is_finished(self) -> bool:
        """Whether no more trials will come."""
        return self._finished

    def set_finished(self) -> None:
        """Let no more trials come."""
        self._finished = True

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether `save_to_dir` has left something there."""
        return False

    def save_to_dir(self, dirpath: str, **kwargs: Any) -> None:
        """Write its state into a directory; those without a state have nothing to write."""

    def restore_from_dir(self, dirpath: str) -> None:
        """Read its state from a directory; those without a state have nothing to read."""

    @property
    def independent(self) -> bool:
        """Whether configurations do not depend on results, so that many may be made ahead."""
        return False


class SearchGenerator(SearchAlgorithm):
    """Makes trials of what a `Searcher` suggests."""

    CKPT_FILE_TMPL = "search_gen_state-{}.json"

    def __init__(self, searcher: Searcher) -> None:
        if not isinstance(searcher, Searcher):
            raise TypeError(f"search_alg must be a Searcher or a SearchAlgorithm, not {searcher!r}")
        self.searcher = searcher
        self._experiment: Experiment | None = None
        self._made = 0
        self._total = 0
        self._finished = False

    @property
    def metric(self) -> Any:
        """What is optimized."""
        return self.searcher.metric

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return self._total

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Pass them on to the searcher."""
        return _set_properties(self.searcher.set_search_properties, metric, mode, config, spec)

    def add_configurations(self, experiments: Any) -> None:
        """Take the experiment (one only)."""
        found = convert_to_experiment_list(experiments)
        if len(found) != 1:
            raise TuneError(f"a searcher searches one experiment; there are {len(found)}")
        self._experiment = found[0]
        self._total = self._experiment.num_samples
        if self._experiment.restore:
            raise TuneError("restore= and a search algorithm don't go together: all trials would be the same")

    def next_trial(self) -> Trial | None:
        """A trial of the next suggestion, if there is one now."""
        if self._experiment is None or self.is_finished():
            return None
        return self.create_trial_if_possible(self._experiment.spec)

    def create_trial_if_possible(self, experiment_spec: Mapping[str, Any]) -> Trial | None:
        """A trial of the next suggestion; None if the searcher has none."""
        assert self._experiment is not None
        trial_id = self._experiment.next_trial_id()
        suggestion = self.searcher.suggest(trial_id)
        if suggestion == Searcher.FINISHED:
            self._finished = True
            return None
        if suggestion is None:
            return None
        if not isinstance(suggestion, Mapping):
            raise TuneError(
                f"{type(self.searcher).__name__}.suggest() must return a dictionary, None or "
                f"Searcher.FINISHED, "
                f"not {suggestion!r}"
            )
        suggested = unflatten(copy.deepcopy(dict(suggestion)))
        config = merge(constants(experiment_spec["config"]), suggested)
        self._made += 1
        decided = {tuple(str(key).split("/")): value for key, value in suggestion.items()}
        return self._experiment.make_trial(
            config, evaluated=dict(suggestion), tag=format_vars(decided), trial_id=trial_id
        )

    def on_trial_made_again(self, trial: Trial) -> None:
        """Count it, and tell the searcher."""
        self._made += 1
        if self._experiment is not None:
            self._experiment.seen(trial)
        self.searcher.on_trial_suggested_again(trial.trial_id, dict(trial.evaluated_params))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the searcher."""
        if type(self.searcher).on_trial_result is not Searcher.on_trial_result:
            self.searcher.on_trial_result(trial_id, flat_result(result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the searcher."""
        flat = flat_result(result) if result is not None else None
        self.searcher.on_trial_complete(trial_id, result=flat, error=error)

    def is_finished(self) -> bool:
        """Whether all samples are made, or the searcher has no more."""
        return self._finished or (self._total >= 0 and self._made >= self._total)

    def get_state(self) -> dict[str, Any]:
        """How far it has come."""
        return {"made": self._made, "total": self._total, "finished": self._finished}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` gave."""
        self._made, self._total = state["made"], state["total"]
        self._finished = state["finished"]

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether `save_to_dir` has left something there."""
        return bool(glob.glob(os.path.join(dirpath, self.CKPT_FILE_TMPL.format("*"))))

    def save_to_dir(self, dirpath: str, session_str: str = "default", **kwargs: Any) -> None:
        """Write its state and the searcher's."""
        import json

        with open(os.path.join(dirpath, self.CKPT_FILE_TMPL.format(session_str)), "w") as stream:
            json.dump(self.get_state(), stream)
        self.searcher.save_to_dir(dirpath, session_str)

    def restore_from_dir(self, dirpath: str) -> None:
        """Read its state and the searcher's."""
        import json

        found = glob.glob(os.path.join(dirpath, self.CKPT_FILE_TMPL.format("*")))
        if not found:
            raise RuntimeError(f"there is no state of a search in {dirpath!r}")
        with open(max(found, key=os.path.getmtime)) as stream:
            self.set_state(json.load(stream))
        self.searcher.restore_from_dir(dirpath)


def constants(space: Any) -> Any:
    """What of a space is decided already; domains and grids are left out."""
    if isinstance(space, Mapping):
        return {
            key: constants(value)
            for key, value in space.items()
            if not isinstance(value, Domain) and not is_grid(value)
        }
    return copy.deepcopy(space)


def merge(base: Any, on_top: Any) -> Any:
    """Nested dictionaries laid over each other; lists by position where the one on top has numbers as
    keys."""
    if isinstance(base, Mapping) and isinstance(on_top, Mapping):
        merged = dict(base)
        for key, value in on_top.items():
            merged[key] = merge(merged[key], value) if key in merged else value
        return merged
    if isinstance(base, list) and isinstance(on_top, Mapping):
        changed = list(base)
        for key, value in on_top.items():
            changed[int(key)] = merge(changed[int(key)], value)
        return changed
    return on_top
