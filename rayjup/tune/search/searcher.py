"""`Searcher`: who suggests configurations and learns from results. And the two that wrap another one."""

from __future__ import annotations

import copy
import glob
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.errors import must_define

UNRESOLVED_SEARCH_SPACE = (
    "the search space given to {cls} contains {par} of Tune's own kind, which {cls} does not understand "
    "there. "
    "Give the space to the Tuner: Tuner(..., param_space={space})"
)
UNDEFINED_SEARCH_SPACE = (
    "{cls} has no search space: give it to the Tuner (param_space={space}) or to {cls}(space={space})"
)
UNDEFINED_METRIC_MODE = (
    "{cls} does not know what to optimize: give metric and mode (now {metric!r} and {mode!r}) to "
    "TuneConfig or to "
    "{cls}, for example TuneConfig(metric='loss', mode='min')"
)


class Searcher:
    """Suggests configurations one at a time and learns from what becomes of them.

    A subclass defines `suggest` and `on_trial_complete`; `save` and `restore` where its state is not
    picklable.

    Parameters
    ----------
    metric, mode
        What is optimized: a name (or several) and ``"min"`` or ``"max"``.

    Examples
    --------
    >>> from rayjup.tune.search import Searcher
    >>> class Doubling(Searcher):
    ...     at = 1
    ...     def suggest(self, trial_id):
    ...         self.at *= 2
    ...         return {"width": self.at}
    ...     def on_trial_complete(self, trial_id, result=None, error=False):
    ...         pass
    >>> Doubling().suggest("a")
    {'width': 2}
    """

    FINISHED = "FINISHED"
    CKPT_FILE_TMPL = "searcher-state-{}.pkl"

    def __init__(self, metric: Any = None, mode: Any = None) -> None:
        check_mode(type(self).__name__, metric, mode)
        self._metric = metric
        self._mode = mode

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take metric, mode and space from the Tuner; False if this searcher has its own or can't use it."""
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A configuration for the trial; None: not now; ``Searcher.FINISHED``: never again."""
        raise must_define(self, "suggest(trial_id)")

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Learn from a result on the way; optional."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn from the last result of a trial; ``error``: it failed."""
        raise must_define(self, "on_trial_complete(trial_id, result)")

    def on_trial_suggested_again(self, trial_id: str, config: dict[str, Any]) -> None:
        """A restored experiment says what was suggested before; by default, it is suggested again."""
        self.suggest(trial_id)

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a configuration that was evaluated elsewhere."""
        name = type(self).__name__
        raise TypeError(f"{name} can't learn from points that were evaluated elsewhere")

    def add_evaluated_trials(self, trials_or_analysis: Any, metric: str) -> None:
        """Learn from the trials of another experiment."""
        from rayjup.tune.experiment.trial import Trial

        if isinstance(trials_or_analysis, Trial):
            trials = [trials_or_analysis]
        elif isinstance(trials_or_analysis, (list, tuple)):
            trials = list(trials_or_analysis)
        else:
            trials = trials_or_analysis.trials
        for trial in trials:
            if trial.status == Trial.TERMINATED:
                value = look_up(trial.last_result, metric)
                self.add_evaluated_point(trial.config, value)
            elif trial.status == Trial.ERROR:
                self.add_evaluated_point(trial.config, float("nan"), error=True)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Limit its own concurrency; False: it can't, and is wrapped in a `ConcurrencyLimiter`."""
        return False

    def save(self, checkpoint_path: str) -> None:
        """Write its state to a file."""
        with open(checkpoint_path, "wb") as stream:
            pickle.dump(self.get_state(), stream)

    def restore(self, checkpoint_path: str) -> None:
        """Read its state from a file."""
        with open(checkpoint_path, "rb") as stream:
            self.set_state(pickle.load(stream))

    def get_state(self) -> dict[str, Any]:
        """Its state."""
        return {key: value for key, value in self.__dict__.items() if key != "_space_source"}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` gave."""
        self.__dict__.update(state)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write its state into a directory, as one whole file."""
        partial = os.path.join(checkpoint_dir, f".tmp-{self.CKPT_FILE_TMPL.format(session_str)}")
        self.save(partial)
        os.replace(partial, os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format(session_str)))

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Read the newest state in a directory."""
        found = glob.glob(os.path.join(checkpoint_dir, self.CKPT_FILE_TMPL.format("*")))
        if not found:
            raise RuntimeError(f"there is no state of a searcher in {checkpoint_dir!r}")
        self.restore(max(found, key=os.path.getmtime))

    @property
    def metric(self) -> Any:
        """What is optimized."""
        return self._metric

    @property
    def mode(self) -> Any:
        """``"min"`` or ``"max"``."""
        return self._mode


def check_mode(owner: str, metric: Any, mode: Any) -> None:
    """Raise if modes are no modes, or there are not as many as metrics."""
    modes = mode if isinstance(mode, (list, tuple)) else [mode]
    for one in modes:
        if one not in (None, "min", "max", "obs"):
            raise ValueError(f"{owner}: mode is {one!r}; it must be 'min' or 'max'")
    if isinstance(metric, (list, tuple)) and mode is not None and len(modes) != len(metric):
        raise ValueError(f"{owner}: {len(metric)} metrics need as many modes, not {modes!r}")


class SpaceSearcher(Searcher):
    """What searchers that wrap a library share: metric, mode, a space of Tune's domains, points to begin
    with."""

    needs = ""  # the library, for the error
    install = ""

    def __init__(
        self,
        space: Any = None,
        metric: Any = None,
        mode: Any = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(metric, mode)
        self._points = copy.deepcopy(points_to_evaluate or [])
        self._space: Any = None
        self._configs: dict[str, dict[str, Any]] = {}
        if isinstance(space, Mapping) and space:
            from rayjup.tune.search.variants import has_unresolved

            if has_unresolved(space):
                warnings.warn(
                    UNRESOLVED_SEARCH_SPACE.format(cls=type(self).__name__, par="domains", space="space"),
                    stacklevel=3,
                )
                space = self.convert_search_space(dict(space))
        self._given_space = space

    @staticmethod
    def convert_search_space(spec: dict[str, Any]) -> Any:
        """Turn a space of Tune's domains into the library's own."""
        raise NotImplementedError

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take metric, mode and space from the Tuner."""
        if self._given_space is not None and config:
            return False
        if config and self._given_space is None:
            self._given_space = self.convert_search_space(config)
        if metric:
            self._metric = metric
        if mode:
            self._mode = mode
        return True

    def _ready(self) -> None:
        """Raise if there is no space or nothing to optimize."""
        name = type(self).__name__
        if self._given_space is None:
            raise RuntimeError(UNDEFINED_SEARCH_SPACE.format(cls=name, space="{...}"))
        if not self._metric or not self._mode:
            raise RuntimeError(UNDEFINED_METRIC_MODE.format(cls=name, metric=self._metric, mode=self._mode))

    def _value(self, result: Mapping[str, Any]) -> float:
        """The metric as something to minimize."""
        value = float(look_up(result, self._metric))
        return -value if self._mode == "max" else value


class ConcurrencyLimiter(Searcher):
    """Lets another searcher have only so many trials at a time.

    Parameters
    ----------
    searcher
        The one that suggests.
    max_concurrent
        So many of its trials run at the same time.
    batch
        Whether it learns only when a whole batch of so many is done.
    """

    def __init__(self, searcher: Searcher, max_concurrent: int, batch: bool = False) -> None:
        if not isinstance(max_concurrent, int) or max_concurrent <= 0:
            raise ValueError(f"max_concurrent must be at least 1, not {max_concurrent!r}")
        self.searcher = searcher
        self.max_concurrent = max_concurrent
        self.batch = batch
        self.live_trials: set[str] = set()
        self._finished: dict[str, tuple[Any, bool]] = {}
        super().__init__(searcher.metric, searcher.mode)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Pass them on."""
        done = _set_properties(self.searcher.set_search_properties, metric, mode, config, spec)
        self._metric, self._mode = self.searcher.metric, self.searcher.mode
        return done

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """It has a limit already; the smaller one holds."""
        self.max_concurrent = min(self.max_concurrent, max_concurrent)
        return True

    def suggest(self, trial_id: str) -> Any:
        """What the other one suggests, if there is room."""
        if len(self.live_trials) >= self.max_concurrent:
            return None
        suggestion = self.searcher.suggest(trial_id)
        if suggestion not in (None, Searcher.FINISHED):
            self.live_trials.add(trial_id)
        return suggestion

    def on_trial_suggested_again(self, trial_id: str, config: dict[str, Any]) -> None:
        """Pass it on."""
        self.searcher.on_trial_suggested_again(trial_id, config)
        self.live_trials.add(trial_id)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass it on."""
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass it on, with ``batch`` when the whole batch is done."""
        if trial_id not in self.live_trials:
            return
        if not self.batch:
            self.live_trials.discard(trial_id)
            self.searcher.on_trial_complete(trial_id, result=result, error=error)
            return
        self._finished[trial_id] = (result, error)
        if len(self._finished) == self.max_concurrent or self.live_trials <= set(self._finished):
            for finished, (last, failed) in self._finished.items():
                self.searcher.on_trial_complete(finished, result=last, error=failed)
                self.live_trials.discard(finished)
            self._finished = {}

    def add_evaluated_point(self, *args: Any, **kwargs: Any) -> None:
        """Pass it on."""
        self.searcher.add_evaluated_point(*args, **kwargs)

    def get_state(self) -> dict[str, Any]:
        """Its own state and the other one's."""
        own = {key: value for key, value in self.__dict__.items() if key != "searcher"}
        return {**own, "_inner": self.searcher.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` gave."""
        rest = dict(state)
        self.searcher.set_state(rest.pop("_inner"))
        self.__dict__.update(rest)

    def save(self, checkpoint_path: str) -> None:
        """Write both states."""
        with open(checkpoint_path, "wb") as stream:
            pickle.dump(self.get_state(), stream)

    def restore(self, checkpoint_path: str) -> None:
        """Read both states."""
        with open(checkpoint_path, "rb") as stream:
            self.set_state(pickle.load(stream))

    def on_pause(self, trial_id: str) -> None:
        """Pass it on, to those that know of pauses."""
        if hasattr(self.searcher, "on_pause"):
            self.searcher.on_pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """Pass it on, to those that know of pauses."""
        if hasattr(self.searcher, "on_unpause"):
            self.searcher.on_unpause(trial_id)


def _set_properties(
    setter: Callable[..., bool], metric: Any, mode: Any, config: dict[str, Any], spec: Mapping[str, Any]
) -> bool:
    """Call ``set_search_properties``, also of subclasses that take no further arguments."""
    import inspect

    parameters = inspect.signature(setter).parameters
    extended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return setter(metric, mode, config, **(spec if extended else {}))


def flat_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as searchers see it: nested metrics as ``a/b``."""
    return flatten(result)
