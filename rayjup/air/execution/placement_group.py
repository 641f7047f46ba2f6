"""Resources reserved by placement groups."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import rayjup
from rayjup.air.execution.manager import AcquiredResources, ResourceManager, options_of
from rayjup.runs.placement import ResourceRequest
from rayjup.util.placement_group import PlacementGroup, remove_placement_group
from rayjup.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@dataclass
class PlacementGroupAcquiredResources(AcquiredResources):
    """A placement group that is there."""

    placement_group: PlacementGroup

    def _annotate(self, entity: Any, bundle: dict[str, float], index: int) -> Any:
        strategy = PlacementGroupSchedulingStrategy(
            self.placement_group, index, placement_group_capture_child_tasks=True
        )
        if index < 0:  # it needs nothing, but is to be near the others
            return entity.options(num_cpus=0, scheduling_strategy=strategy)
        return entity.options(scheduling_strategy=strategy, **options_of(bundle))


class PlacementGroupResourceManager(ResourceManager):
    """Grants requests when their placement groups have been made.

    Parameters
    ----------
    update_interval_s
        So often, at the most, it looks for groups that have become ready.
    """

    def __init__(self, update_interval_s: float = 0.1) -> None:
        self._interval = update_interval_s
        self._looked_at = 0.0
        self._waiting: dict[Any, tuple[ResourceRequest, PlacementGroup]] = {}  # by the ref of ready()
        self._ready: list[tuple[ResourceRequest, PlacementGroup]] = []
        self._taken: list[PlacementGroup] = []

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask for resources."""
        group = resource_request.to_placement_group()
        self._waiting[group.ready()] = (resource_request, group)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Take one request back: one that waits rather than one that is ready."""
        for ref, (request, group) in self._waiting.items():
            if request == resource_request:
                del self._waiting[ref]
                remove_placement_group(group)
                return
        for index, (request, group) in enumerate(self._ready):
            if request == resource_request:
                del self._ready[index]
                remove_placement_group(group)
                return
        raise ValueError(f"{resource_request!r} has not been requested, or was granted already")

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether a request could be granted now."""
        if any(request == resource_request for request, _ in self._ready):
            return True
        self.update_state()
        return any(request == resource_request for request, _ in self._ready)

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """The resources of a request, or None if they are not there yet."""
        if not self.has_resources_ready(resource_request):
            return None
        index = next(i for i, (request, _) in enumerate(self._ready) if request == resource_request)
        request, group = self._ready.pop(index)
        self._taken.append(group)
        return PlacementGroupAcquiredResources(request, group)

    def free_resources(self, acquired_resource: Any) -> None:
        """Give resources back; what runs with them ends."""
        group = acquired_resource.placement_group
        self._taken = [one for one in self._taken if one != group]
        remove_placement_group(group)

    def update_state(self) -> None:
        """Look at what has become ready."""
        now = time.monotonic()
        if not self._waiting or now - self._looked_at < self._interval:
            return
        self._looked_at = now
        ready, _ = rayjup.wait(list(self._waiting), num_returns=len(self._waiting), timeout=0)
        for ref in ready:
            self._ready.append(self._waiting.pop(ref))

    def get_resource_futures(self) -> list[Any]:
        """Refs that are ready when requests are."""
        return list(self._waiting)

    def clear(self) -> None:
        """Give everything back and forget all requests."""
        groups = [group for _, group in (*self._waiting.values(), *self._ready)] + self._taken
        self._waiting, self._ready, self._taken = {}, [], []
        for group in groups:
            remove_placement_group(group)
