"""Settings of a Tuner that are not those of a run."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rayjup.tune.experiment.trial import Trial
from rayjup.tune.schedulers.trial_scheduler import TrialScheduler
from rayjup.tune.search.searcher import check_mode


@dataclass
class TuneConfig:
    """How an experiment searches.

    Parameters
    ----------
    metric, mode
        What is optimized, and ``"min"`` or ``"max"``.
    search_alg
        Who makes configurations; grids and random search by default.
    scheduler
        Who decides result by result; trials run to their end by default.
    num_samples
        So many draws of the space (per point of its grid); -1: until stopped.
    max_concurrent_trials
        So many trials run at the same time; as many as there is room for by default.
    time_budget_s
        So long the experiment may take.
    reuse_actors
        True: class trainables are reset (``reset_config``) rather than made anew. False: every trial has a
        process of its own. None (default): processes are kept for many trials, trainables are not.
    trial_name_creator, trial_dirname_creator
        Functions of a trial that give its name, and that of its directory.
    chdir_to_trial_dir
        Whether trials run in their directory.

    Examples
    --------
    >>> from rayjup import tune
    >>> tune.TuneConfig(metric="loss", mode="min", num_samples=4).num_samples
    4
    """

    mode: str | list[str] | None = None
    metric: str | list[str] | None = None
    search_alg: Any = None
    scheduler: TrialScheduler | None = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: float | datetime.timedelta | None = None
    reuse_actors: bool | None = None
    trial_name_creator: Callable[[Trial], str] | None = None
    trial_dirname_creator: Callable[[Trial], str] | None = None
    chdir_to_trial_dir: bool = True

    def __post_init__(self) -> None:
        check_mode("TuneConfig", self.metric, self.mode)
        if self.max_concurrent_trials is not None and self.max_concurrent_trials < 0:
            raise ValueError(
                f"max_concurrent_trials is {self.max_concurrent_trials}; it must be above 0, or None"
            )


class ResumeType(str, Enum):
    """What becomes of a trial when its experiment is restored."""

    RESUME = "resume"
    RESTART = "restart"
    SKIP = "skip"


@dataclass
class ResumeConfig:
    """What becomes of trials when their experiment is restored: ``"resume"``, ``"restart"`` or ``"skip"``.

    Parameters
    ----------
    finished, unfinished, errored
        For trials that were finished, not finished, and that had failed.
    """

    ResumeType = ResumeType

    finished: str = ResumeType.SKIP
    unfinished: str = ResumeType.RESUME
    errored: str = ResumeType.SKIP

    def __post_init__(self) -> None:
        self.finished, self.unfinished, self.errored = (
            ResumeType(value) for value in (self.finished, self.unfinished, self.errored)
        )
