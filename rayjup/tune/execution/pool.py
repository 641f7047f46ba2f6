"""The runners of an experiment: actors that are kept, each for as many trials as there are."""

from __future__ import annotations

import collections
import time
from typing import Any

import rayjup
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.tune.execution.runner import Runner
from rayjup.tune.execution.spec import RunnerSetup

_STARTING = 2  # so many actors are on their way at a time, beyond those that are there


class Slot:
    """One runner, and the trials it was given."""

    def __init__(self, actor: Any, resources: PlacementGroupFactory, group: Any) -> None:
        self.actor = actor
        self.resources = resources
        self.group = group
        self.is_up = False
        self.pid: int | None = None
        self.ref: Any = None  # the call that is under way
        self.commands: list[tuple[Any, ...]] = []
        # Trials in the order in which they were sent.
        self.trials: collections.OrderedDict[str, Any] = collections.OrderedDict()
        self.begun: str | None = None
        self.made_at = time.monotonic()
        self.quiet_turns = 0
        self.worn = False  # to be ended after its trial
        self.stop_asked_at: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it could take a trial."""
        return self.is_up and not self.trials and self.ref is None and not self.worn


class RunnerPool:
    """Makes, lends and ends runners.

    Parameters
    ----------
    setup
        What every runner is told.
    max_runners
        No more than so many, None for as many as the cluster has room for.
    spare
        What is left to tasks that trials start outside of what they asked for, unless that leaves no room
        at all.
    """

    def __init__(
        self, setup: RunnerSetup, max_runners: int | None, spare: dict[str, float] | None = None
    ) -> None:
        self._setup = rayjup.put(setup)
        self._spare = spare or {}
        self._max = max_runners
        self.slots: list[Slot] = []
        self.totals: dict[str, float] = {}
        self._totals_at = 0.0
        self._class = rayjup.remote(Runner)

    def _spare_fits(self, resources: PlacementGroupFactory) -> bool:
        """Whether one trial leaves what is to be spared."""
        needed = resources.required_resources
        return bool(self._spare) and all(
            self.totals.get(name, 0.0) + 1e-6 >= needed.get(name, 0.0) + amount
            for name, amount in self._spare.items()
        )

    def refresh(self) -> dict[str, float]:
        """What the cluster has (asked once a second)."""
        now = time.monotonic()
        if now - self._totals_at > 1.0 or not self.totals:
            self._totals_at = now
            self.totals = rayjup.cluster_resources()
        return self.totals

    def idle(self, resources: PlacementGroupFactory) -> Slot | None:
        """A runner that waits for a trial asking for this."""
        for slot in self.slots:
            if slot.is_idle and slot.resources == resources:
                return slot
        return None

    def can_make(self, resources: PlacementGroupFactory) -> bool:
        """Whether the cluster has room for one more runner, as far as this experiment knows."""
        if self._max is not None and len(self.slots) >= self._max:
            return False
        totals = self.refresh()
        for name, amount in resources.required_resources.items():
            used = sum(slot.resources.required_resources.get(name, 0.0) for slot in self.slots)
            spare = self._spare.get(name, 0.0) if self.slots else 0.0
            if used + amount + spare > totals.get(name, 0.0) + 1e-6:
                return False
        if not resources.required_resources:
            return len(self.slots) < max(1, int(totals.get("CPU", 1)) * 4)
        return True

    def lacks(self, resources: PlacementGroupFactory) -> dict[str, float]:
        """What of it the whole cluster does not have."""
        totals = self.refresh()
        return {
            name: amount
            for name, amount in resources.required_resources.items()
            if amount > totals.get(name, 0.0) + 1e-6
        }

    def make(self, resources: PlacementGroupFactory) -> Slot:
        """Start a runner; it takes trials when its first call is answered."""
        group = None
        bundles = resources.bundles
        head = {} if resources.head_bundle_is_empty else dict(bundles[0])
        options: dict[str, Any] = {"max_restarts": 0}
        if len(bundles) > 1 or (resources.head_bundle_is_empty and resources.required_resources):
            from rayjup.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            group = resources.to_placement_group()
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                placement_group=group,
                placement_group_bundle_index=0 if head else -1,
                # What is to run outside of the trial's bundles (reading data) must not be drawn into them,
                # unless there is nothing outside of them.
                placement_group_capture_child_tasks=not self._spare_fits(resources),
            )
        options["num_cpus"] = head.pop("CPU", 0)
        if gpus := head.pop("GPU", 0):
            options["num_gpus"] = gpus
        if memory := head.pop("memory", 0):
            options["memory"] = int(memory)
        if head:
            options["resources"] = head
        actor = self._class.options(**options).remote(self._setup)
        slot = Slot(actor, resources, group)
        slot.ref = actor.ready.remote()
        self.slots.append(slot)
        return slot

    @property
    def limited(self) -> bool:
        """Whether the user has said how many may run at a time."""
        return self._max is not None

    def starting(self) -> int:
        """How many are on their way."""
        return sum(not slot.is_up for slot in self.slots)

    def may_start(self) -> bool:
        """Whether another one may be asked for now, rather than when those on their way are there."""
        return self.starting() < max(_STARTING, int(self.totals.get("CPU", 1)))

    def free_others(self, wanted: PlacementGroupFactory) -> bool:
        """End an idle runner of another shape, to make room; False if there is none."""
        for slot in self.slots:
            if slot.is_idle and slot.resources != wanted:
                self.end(slot)
                return True
        return False

    def end(self, slot: Slot) -> None:
        """End a runner and give back what it held."""
        if slot in self.slots:
            self.slots.remove(slot)
        try:
            rayjup.kill(slot.actor)
        finally:
            if slot.group is not None:
                from rayjup.util.placement_group import remove_placement_group

                remove_placement_group(slot.group)

    def end_all(self, grace_s: float = 2.0) -> None:
        """End all, letting idle ones clean up first."""
        refs = [slot.actor.end.remote() for slot in self.slots if slot.is_up and slot.ref is None]
        if refs:
            rayjup.wait(refs, num_returns=len(refs), timeout=grace_s)
        for slot in list(self.slots):
            self.end(slot)
