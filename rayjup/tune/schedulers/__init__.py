"""Who decides, result by result, what becomes of a trial (mirrors ``ray.tune.schedulers``); one file each."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from rayjup.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler

_WHERE = {
    "AsyncHyperBandScheduler": "async_hyperband",
    "ASHAScheduler": "async_hyperband",
    "HyperBandScheduler": "hyperband",
    "HyperBandForBOHB": "hb_bohb",
    "MedianStoppingRule": "median_stopping_rule",
    "PopulationBasedTraining": "pbt",
    "PopulationBasedTrainingReplay": "pbt_replay",
    "PB2": "pb2",
    "ResourceChangingScheduler": "resource_changing_scheduler",
    "DistributeResources": "resource_changing_scheduler",
    "DistributeResourcesToTopJob": "resource_changing_scheduler",
}

SCHEDULER_IMPORT = {
    "fifo": "FIFOScheduler",
    "async_hyperband": "AsyncHyperBandScheduler",
    "asynchyperband": "AsyncHyperBandScheduler",
    "asha": "AsyncHyperBandScheduler",
    "median_stopping_rule": "MedianStoppingRule",
    "medianstopping": "MedianStoppingRule",
    "hyperband": "HyperBandScheduler",
    "hb_bohb": "HyperBandForBOHB",
    "pbt": "PopulationBasedTraining",
    "pbt_replay": "PopulationBasedTrainingReplay",
    "pb2": "PB2",
    "resource_changing": "ResourceChangingScheduler",
}

__all__ = ["FIFOScheduler", "TrialScheduler", "create_scheduler", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rayjup.tune.schedulers' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rayjup.tune.schedulers.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


def create_scheduler(scheduler: str, **kwargs: Any) -> TrialScheduler:
    """A scheduler by its name; arguments that it does not take are left out.

    Examples
    --------
    >>> from rayjup import tune
    >>> type(tune.create_scheduler("asha", max_t=10)).__name__
    'AsyncHyperBandScheduler'
    """
    name = scheduler.lower()
    if name not in SCHEDULER_IMPORT:
        raise ValueError(f"there is no scheduler {scheduler!r}; there are {sorted(SCHEDULER_IMPORT)}")
    attribute = SCHEDULER_IMPORT[name]
    cls = FIFOScheduler if attribute == "FIFOScheduler" else __getattr__(attribute)
    parameters = inspect.signature(cls).parameters
    made: TrialScheduler = cls(**{key: value for key, value in kwargs.items() if key in parameters})
    return made
