"""`Repeater`: every suggestion is tried several times, and judged by the average."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from rayjup.tune.search.searcher import Searcher, _set_properties

logger = logging.getLogger(__name__)

TRIAL_INDEX = "__trial_index__"


class Repeater(Searcher):
    """Tries every suggestion of another searcher ``repeat`` times; that one learns from the averages.

    Parameters
    ----------
    searcher
        The one that suggests.
    repeat
        How often.
    set_index
        Whether a trial finds its number in ``config["__trial_index__"]``.
    """

    def __init__(self, searcher: Searcher, repeat: int = 1, set_index: bool = True) -> None:
        if not isinstance(repeat, int) or repeat < 1:
            raise ValueError(f"repeat is {repeat!r}; it must be at least 1")
        self.searcher = searcher
        self.repeat = repeat
        self._set_index = set_index
        self._groups: dict[str, list[str]] = {}  # by the id that the searcher knows
        self._group_of: dict[str, str] = {}
        self._scores: dict[str, dict[str, Any]] = {}
        self._open: str | None = None
        self._suggested: dict[str, dict[str, Any]] = {}
        super().__init__(searcher.metric, searcher.mode)

    def suggest(self, trial_id: str) -> Any:
        """The suggestion of the group that is open, or a new one."""
        if self._open is None:
            suggestion: Any = self.searcher.suggest(trial_id)
            if suggestion is None or suggestion == Searcher.FINISHED:
                return suggestion
            self._open = trial_id
            self._groups[trial_id] = []
            self._scores[trial_id] = {}
            self._suggested[trial_id] = copy.deepcopy(suggestion)
        return self._join(trial_id)

    def _join(self, trial_id: str) -> dict[str, Any]:
        group = self._open
        assert group is not None
        members = self._groups[group]
        config: dict[str, Any] = copy.deepcopy(self._suggested[group])
        if self._set_index:
            config[TRIAL_INDEX] = len(members)
        members.append(trial_id)
        self._group_of[trial_id] = group
        if len(members) >= self.repeat:
            self._open = None
        return config

    def on_trial_suggested_again(self, trial_id: str, config: dict[str, Any]) -> None:
        """Put it into its group again."""
        plain = {key: value for key, value in config.items() if key != TRIAL_INDEX}
        if self._open is None:
            self.searcher.on_trial_suggested_again(trial_id, plain)
            self._open = trial_id
            self._groups[trial_id] = []
            self._scores[trial_id] = {}
            self._suggested[trial_id] = plain
        self._join(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False, **kwargs: Any
    ) -> None:
        """Tell the average once all of the group are done."""
        group = self._group_of.get(trial_id)
        if group is None:
            return
        scores = self._scores[group]
        name = self.searcher.metric
        scores[trial_id] = None if error or not result else result.get(name)
        if len(scores) < self.repeat or len(self._groups[group]) < self.repeat:
            return
        found = [score for score in scores.values() if score is not None]
        if len(found) < len(scores):
            logger.warning(
                "%d of %d repetitions of %s have no score", len(scores) - len(found), len(scores), group
            )
        average = {**(result or {}), name: sum(found) / len(found)} if found else None
        self.searcher.on_trial_complete(group, result=average, error=not found)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Pass them on."""
        done = _set_properties(self.searcher.set_search_properties, metric, mode, config, spec)
        self._metric, self._mode = self.searcher.metric, self.searcher.mode
        return done

    def get_state(self) -> dict[str, Any]:
        """Its own state and the other one's."""
        own = {key: value for key, value in self.__dict__.items() if key != "searcher"}
        return {**own, "_inner": self.searcher.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` gave."""
        rest = dict(state)
        self.searcher.set_state(rest.pop("_inner"))
        self.__dict__.update(rest)
