"""What a training run does next: a pure state machine.

Events go in, actions come out; there is no clock (events say what time it is), no I/O, no thread. Who leads
the run (`rayjup.train.controller.leader`) tells it what happens to the workers and does what it says.

    NEW ── Begin ──▶ STARTING ── GroupReady ──▶ RUNNING ── all done ──▶ STOPPING ── GroupStopped ──▶ ENDED
                        ▲                         │ a rank fails            │
                        │                         ▼                         │
                        │                      FAILING (others may, too) ───┤
                        └───────── to be started again (failure, resize) ───┘

Events of a group that is gone are recognised by their ``attempt`` and passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rayjup.train.controller.events import (
    Abort,
    Action,
    Begin,
    Behind,
    Capacity,
    Commit,
    End,
    Event,
    Failed,
    Failure,
    GroupReady,
    GroupStopped,
    Policy,
    Preempted,
    RankFailed,
    RankFinished,
    Release,
    Reported,
    Resizing,
    StartFailed,
    StartGroup,
    StopGroup,
    TellPreempted,
    Tick,
    Uneven,
)

__all__ = [
    "Abort",
    "Action",
    "Begin",
    "Behind",
    "Capacity",
    "Commit",
    "End",
    "Event",
    "Failed",
    "Failure",
    "GroupReady",
    "GroupStopped",
    "Phase",
    "Policy",
    "Preempted",
    "RankFailed",
    "RankFinished",
    "Release",
    "Reported",
    "Resizing",
    "StartFailed",
    "StartGroup",
    "StopGroup",
    "TellPreempted",
    "Tick",
    "TrainMachine",
    "Uneven",
]


class Phase(Enum):
    """Where a run is."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    FAILING = "failing"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass
class _Report:
    """A report that some ranks have made."""

    first_at: float
    ranks: dict[int, Reported] = field(default_factory=dict)
    released: bool = False
    named: bool = False


class TrainMachine:
    """The state of one run.

    Examples
    --------
    >>> from rayjup.train.controller.machine import Begin, GroupReady, Policy, RankFinished, TrainMachine
    >>> machine = TrainMachine(Policy(least=1, most=1))
    >>> machine.handle(Begin(0.0))
    [StartGroup(attempt=1, least=1, most=1, first_index=0)]
    >>> machine.handle(GroupReady(1, 1, 1.0))
    []
    >>> machine.handle(RankFinished(1, 0, "done", 2.0))
    [StopGroup(attempt=1, clean=True)]
    """

    def __init__(self, policy: Policy, committed: int = 0) -> None:
        if not 0 < policy.least <= policy.most:
            raise ValueError(f"a group has from {policy.least} to {policy.most} workers: 0 < least <= most")
        self.policy = policy
        self.phase = Phase.NEW
        self.attempt = 0
        self.size = 0
        self.failures = 0
        self.start_failures = 0
        self.preemptions = 0
        self.committed = committed
        """Reports taken in so far; the next one has this number."""
        self._values: dict[int, Any] = {}
        self._failed: dict[int, Failure] = {}
        self._failing_since = 0.0
        self._reports: dict[int, _Report] = {}
        self._counts: dict[int, int] = {}
        self._preempted: Any = None
        self._resized_at = 0.0
        self._capacity = 0
        self._then: StartGroup | End | None = None

    # ------------------------------------------------------------ events

    def handle(self, event: Event) -> list[Action]:
        """What is to be done about an event."""
        if self.phase is Phase.ENDED:
            return []
        attempt = getattr(event, "attempt", None)
        if attempt is not None and attempt != self.attempt:
            return []
        handler = getattr(self, f"_on_{type(event).__name__.lower()}")
        actions: list[Action] = handler(event)
        return actions

    def _on_begin(self, event: Begin) -> list[Action]:
        if self.phase is not Phase.NEW:
            return []
        return [self._start(event.now)]

    def _on_groupready(self, event: GroupReady) -> list[Action]:
        if self.phase is not Phase.STARTING:
            return []
        self.phase = Phase.RUNNING
        self.size = event.size
        self._counts = dict.fromkeys(range(event.size), 0)
        self._resized_at = event.now
        return []

    def _on_startfailed(self, event: StartFailed) -> list[Action]:
        if self.phase is not Phase.STARTING:
            return []
        self.start_failures += 1
        allowed = self.policy.max_start_failures
        if event.final or (allowed >= 0 and self.start_failures > allowed):
            return self._stop(End(start_error=event.error), clean=False)
        return self._stop(None, clean=False)

    def _on_reported(self, event: Reported) -> list[Action]:
        if self.phase not in (Phase.RUNNING, Phase.FAILING) or event.index < self.committed:
            return []
        report = self._reports.setdefault(event.index, _Report(event.now))
        before = report.ranks.get(event.rank)
        if before is not None and before.complete:
            return []
        if before is None:
            self._counts[event.rank] += 1
        report.ranks[event.rank] = event
        return self._advance(event.now)

    def _on_rankfinished(self, event: RankFinished) -> list[Action]:
        if self.phase not in (Phase.RUNNING, Phase.FAILING) or event.rank in self._failed:
            return []
        self._values[event.rank] = event.value
        if self.phase is Phase.FAILING:
            return self._perhaps_failed(event.now)
        actions = self._advance(event.now)
        if self.phase is Phase.RUNNING and len(self._values) == self.size:
            actions += self._finish()
        return actions

    def _on_rankfailed(self, event: RankFailed) -> list[Action]:
        if self.phase not in (Phase.RUNNING, Phase.FAILING) or event.failure.rank in self._failed:
            return []
        self._values.pop(event.failure.rank, None)
        self._failed[event.failure.rank] = event.failure
        if self.phase is Phase.RUNNING:
            self.phase = Phase.FAILING
            self._failing_since = event.now
        return self._perhaps_failed(event.now)

    def _on_groupstopped(self, event: GroupStopped) -> list[Action]:
        if self.phase is not Phase.STOPPING:
            return []
        then, self._then = self._then, None
        if isinstance(then, End):
            self.phase = Phase.ENDED
            return [then]
        return [self._start(event.now)]

    def _on_capacity(self, event: Capacity) -> list[Action]:
        self._capacity = event.workers
        return []

    def _on_preempted(self, event: Preempted) -> list[Action]:
        if self.phase is not Phase.RUNNING:
            return []
        self._preempted = event.info
        return [TellPreempted(event.info)]

    def _on_abort(self, event: Abort) -> list[Action]:
        if self.phase is Phase.NEW:
            self.phase = Phase.ENDED
            return [End(aborted=True)]
        if self.phase is Phase.STOPPING:
            if not isinstance(self._then, End):
                self._then = End(aborted=True)
            return []
        return self._stop(End(aborted=True), clean=False)

    def _on_tick(self, event: Tick) -> list[Action]:
        if self.phase is Phase.FAILING:
            return self._perhaps_failed(event.now)
        if self.phase is not Phase.RUNNING:
            return []
        said: list[Action] = []
        for index, report in self._reports.items():
            missing = self._missing(report)
            late = event.now - report.first_at
            if missing and not report.released and not report.named and late >= self.policy.behind_s:
                report.named = True
                said.append(Behind(index, tuple(missing), tuple(sorted(report.ranks)), late))
        return said

    # ------------------------------------------------------------ reports

    def _missing(self, report: _Report) -> list[int]:
        """The ranks that a report still waits for: those that can still make it."""
        return [r for r in range(self.size) if r not in report.ranks and r not in self._values]

    def _advance(self, now: float) -> list[Action]:
        """Release and take in, in order, what is complete."""
        actions: list[Action] = []
        for index in sorted(self._reports):
            report = self._reports[index]
            if not report.released and not self._missing(report):
                report.released = True
                if self.size > 1:
                    actions.append(Release(index))
        while (found := self._reports.get(self.committed)) is not None:
            if not found.released or not all(one.complete for one in found.ranks.values()):
                break
            del self._reports[self.committed]
            actions.append(self._commit(self.committed, found))
            self.committed += 1
            if self._may_grow(actions[-1], now):
                possible = min(self._capacity, self.policy.most)
                actions.append(Resizing(self.size, possible))
                actions += self._stop(None, clean=False)
                break
        return actions

    def _commit(self, index: int, report: _Report) -> Commit:
        ranks = [report.ranks[rank] for rank in sorted(report.ranks)]
        checkpoints = [one.checkpoint for one in ranks if one.checkpoint is not None]
        validations = [one.validation for one in ranks if one.validation]
        return Commit(
            index,
            tuple(one.metrics for one in ranks),
            checkpoints[0] if checkpoints else None,
            validations[0] if validations else False,
        )

    def _may_grow(self, action: Action, now: float) -> bool:
        """More workers are worth a new start only right after a checkpoint: then no work is lost."""
        return (
            isinstance(action, Commit)
            and action.checkpoint is not None
            and self.phase is Phase.RUNNING
            and not self._values
            and min(self._capacity, self.policy.most) > self.size
            and now - self._resized_at >= self.policy.resize_interval_s
        )

    # ------------------------------------------------------------ ends

    def _finish(self) -> list[Action]:
        counts = dict(self._counts)
        actions: list[Action] = []
        if len(set(counts.values())) > 1:
            actions.append(Uneven(counts))
        values = tuple(self._values[rank] for rank in range(self.size))
        return actions + self._stop(End(values=values), clean=True)

    def _perhaps_failed(self, now: float) -> list[Action]:
        """Decide about a failed group, when nothing more is to be learnt of it."""
        waited = now - self._failing_since >= self.policy.grace_s
        silent = [r for r in range(self.size) if r not in self._failed and r not in self._values]
        # A failure with a cause of its own needs no company; a broken connection has its cause elsewhere.
        if silent and not waited:
            return []
        failures = tuple(sorted(self._failed.values(), key=_cause_first))
        if self._preempted is not None and any(
            f.died and f.rank in self._preempted.preempted_ranks for f in failures
        ):
            self.preemptions += 1
            number, allowed = self.preemptions, self.policy.max_preemptions
            end = End(preemption=self._preempted)
        else:
            self.failures += 1
            number, allowed = self.failures, self.policy.max_failures
            end = End(failures=failures)
        retried = allowed < 0 or number <= allowed
        return [Failed(failures, retried, number), *self._stop(None if retried else end, clean=False)]

    def _stop(self, then: End | None, *, clean: bool) -> list[Action]:
        self.phase = Phase.STOPPING
        self._then = then
        return [StopGroup(self.attempt, clean)]

    def _start(self, now: float) -> StartGroup:
        self.attempt += 1
        self.phase = Phase.STARTING
        self.size = 0
        self._values = {}
        self._failed = {}
        self._reports = {}
        self._counts = {}
        self._preempted = None
        return StartGroup(self.attempt, self.policy.least, self.policy.most, self.committed)


def _cause_first(failure: Failure) -> tuple[bool, float, int]:
    """For sorting: what has its own cause before what follows from it, then the earlier one."""
    return (failure.follows, failure.at, failure.rank)
