"""What an object must have so that a ``Tuner`` can run it: the agreement between tune and train.

Tune knows nothing of trainers, and train nothing of Tune. A trainer offers `as_trainable`; Tune calls it and
runs what comes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from rayjup.runs.config import RunConfig


@runtime_checkable
class TunableTrainer(Protocol):
    """A trainer that can be a trial.

    ``as_trainable()`` gives a function of the trial's config (or a `Trainable` class). It is called in the
    driver, and what it gives is pickled. The function gets what the search space gave, as nested as the
    user wrote it, and merges that into the trainer's own arguments (`merge_params` does). Inside,
    `rayjup.runs.session.current` is the trial's session: the trainer reports metrics and checkpoints to it.

    Optional attributes: ``run_config`` (used when the Tuner got none) and ``trial_resources(config) ->
    PlacementGroupFactory`` (what one trial asks for).
    """

    def as_trainable(self) -> Callable[[dict[str, Any]], Any] | type:
        """The trainer as something Tune can run."""
        ...


def merge_params(own: Mapping[str, Any], sampled: Mapping[str, Any]) -> dict[str, Any]:
    """A trainer's arguments with those of a trial on top: dictionaries are merged, settings changed field
    by field.

    Examples
    --------
    >>> from rayjup.runs.trainers import merge_params
    >>> merge_params({"params": {"eta": 0.3}, "num_boost_round": 5}, {"params": {"max_depth": 4}})
    {'params': {'eta': 0.3, 'max_depth': 4}, 'num_boost_round': 5}
    """
    merged = dict(own)
    for name, value in sampled.items():
        present = merged.get(name)
        if isinstance(present, Mapping) and isinstance(value, Mapping):
            merged[name] = merge_params(present, value)
        elif hasattr(present, "__dataclass_fields__") and isinstance(value, Mapping):
            changed = copy.copy(present)
            for key, inner in value.items():
                setattr(changed, key, inner)
            merged[name] = changed
        else:
            merged[name] = value
    return merged


def run_config_of(trainer: Any) -> RunConfig | None:
    """The trainer's own run configuration, if it has one."""
    found = getattr(trainer, "run_config", None)
    return found if isinstance(found, RunConfig) else None
