"""What the state machine of a run is told, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Policy:
    """The rules of a run."""

    least: int = 1
    most: int = 1
    max_failures: int = 0
    """So many failures of workers are survived; -1: any number."""
    max_start_failures: int = -1
    max_preemptions: int = -1
    grace_s: float = 0.5
    """After the first failure, so long others' failures are collected: the one that matters may come
    later."""
    behind_s: float = 60.0
    """Ranks that a report waits for are named after so long."""
    resize_interval_s: float = 60.0


@dataclass(frozen=True)
class Failure:
    """What became of one rank."""

    rank: int
    error: Any
    text: str = ""
    at: float = 0.0
    died: bool = False
    """Its process has ended, rather than its function having raised."""
    follows: bool = False
    """It looks like the consequence of another rank's failure: a broken connection."""


# ---------------------------------------------------------------- events


@dataclass(frozen=True)
class Begin:
    """The run is to start."""

    now: float


@dataclass(frozen=True)
class GroupReady:
    """The workers are up and the function is running on all of them."""

    attempt: int
    size: int
    now: float


@dataclass(frozen=True)
class StartFailed:
    """The group could not be brought up. ``final``: trying again would not help."""

    attempt: int
    error: Any
    final: bool
    now: float


@dataclass(frozen=True)
class Reported:
    """A rank has called ``report``; its checkpoint has been uploaded if ``complete``, and is on its
    way if not."""

    attempt: int
    rank: int
    index: int
    metrics: Mapping[str, Any]
    checkpoint: Any
    complete: bool
    now: float
    validation: Any = False


@dataclass(frozen=True)
class RankFinished:
    """The function of a rank has returned."""

    attempt: int
    rank: int
    value: Any
    now: float


@dataclass(frozen=True)
class RankFailed:
    """A rank has failed."""

    attempt: int
    failure: Failure
    now: float


@dataclass(frozen=True)
class GroupStopped:
    """All processes of the group have ended."""

    attempt: int
    now: float


@dataclass(frozen=True)
class Capacity:
    """So many workers could run now, those that do included."""

    workers: int
    now: float


@dataclass(frozen=True)
class Preempted:
    """Nodes are about to be taken away."""

    attempt: int
    info: Any
    now: float


@dataclass(frozen=True)
class Abort:
    """The user wants the run to end."""

    now: float


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    now: float


Event = (
    Begin
    | GroupReady
    | StartFailed
    | Reported
    | RankFinished
    | RankFailed
    | GroupStopped
    | Capacity
    | Preempted
    | Abort
    | Tick
)


# ---------------------------------------------------------------- actions


@dataclass(frozen=True)
class StartGroup:
    """Bring up a group: as many workers as fit, within the bounds. Reports are numbered from
    ``first_index``."""

    attempt: int
    least: int
    most: int
    first_index: int


@dataclass(frozen=True)
class StopGroup:
    """End the workers. ``clean``: they have finished, so the backend may say goodbye."""

    attempt: int
    clean: bool


@dataclass(frozen=True)
class Release:
    """Let the ranks go on that wait at their report of this number."""

    index: int


@dataclass(frozen=True)
class Commit:
    """Take in a report: metrics by rank, one of the ranks' checkpoint (all have written to the same
    place)."""

    index: int
    metrics: tuple[Mapping[str, Any], ...]
    checkpoint: Any
    validation: Any = False


@dataclass(frozen=True)
class Behind:
    """Say that these ranks keep the others waiting."""

    index: int
    ranks: tuple[int, ...]
    waiting: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Uneven:
    """Say that the ranks have not reported equally often."""

    counts: Mapping[int, int]


@dataclass(frozen=True)
class TellPreempted:
    """Let workers know that nodes are about to go."""

    info: Any


@dataclass(frozen=True)
class Failed:
    """Say that the group has failed; whether it is started again, and the how-manieth failure it was."""

    failures: tuple[Failure, ...]
    retried: bool
    number: int


@dataclass(frozen=True)
class Resizing:
    """Say that the group is started anew with another number of workers."""

    was: int
    possible: int


@dataclass(frozen=True)
class End:
    """The run is over. One of ``values`` (by rank), ``failures``, ``start_error``, ``preemption`` or
    ``aborted``."""

    values: tuple[Any, ...] | None = None
    failures: tuple[Failure, ...] = ()
    start_error: Any = None
    preemption: Any = None
    aborted: bool = False


Action = StartGroup | StopGroup | Release | Commit | Behind | Uneven | TellPreempted | Failed | Resizing | End
