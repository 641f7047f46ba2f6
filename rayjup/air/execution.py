"""Resources for those who start actors themselves (mirrors ``ray.air.execution``).

A manager is asked for what is needed (`request_resources`); once that is there, `acquire_resources` gives
it, and `annotate_remote_entities` makes tasks and actors run on it.
"""

from __future__ import annotations

import collections
import time
from typing import Any

import rayjup
from rayjup.runs.errors import must_define
from rayjup.runs.placement import ResourceRequest

__all__ = [
    "AcquiredResources",
    "FixedResourceManager",
    "PlacementGroupResourceManager",
    "ResourceManager",
    "ResourceRequest",
]


class AcquiredResources:
    """What a manager has given: options for one task or actor per bundle."""

    def __init__(self, resource_request: ResourceRequest) -> None:
        self.resource_request = resource_request

    def annotate_remote_entities(self, entities: list[Any]) -> list[Any]:
        """The same tasks and actor classes, to be run on these resources: the first on the first bundle,
        and so on."""
        bundles: list[dict[str, float]] = self.resource_request.bundles
        if self.resource_request.head_bundle_is_empty and len(bundles) < len(entities):
            bundles = [{}, *bundles]
        if len(entities) > len(bundles):
            raise RuntimeError(
                f"{len(entities)} tasks or actors need as many bundles; there are {len(bundles)}"
            )
        return [
            entity.options(**self._options(i, bundle))
            for i, (entity, bundle) in enumerate(zip(entities, bundles, strict=False))
        ]

    def _options(self, index: int, bundle: dict[str, float]) -> dict[str, Any]:
        rest = dict(bundle)
        options: dict[str, Any] = {"num_cpus": rest.pop("CPU", 0), "num_gpus": rest.pop("GPU", 0)}
        if memory := rest.pop("memory", None):
            options["memory"] = memory
        if rest:
            options["resources"] = rest
        return options


class ResourceManager:
    """The contract of managers."""

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask for resources; they are there later, or never."""
        raise must_define(self, "request_resources(resource_request)")

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Take back one request that was not answered yet."""
        raise must_define(self, "cancel_resource_request(resource_request)")

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether they can be acquired now."""
        raise must_define(self, "has_resources_ready(resource_request)")

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """Take resources that are ready; None if they are not."""
        raise must_define(self, "acquire_resources(resource_request)")

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """Give resources back."""
        raise must_define(self, "free_resources(acquired_resource)")

    def get_resource_futures(self) -> list[Any]:
        """Refs that are ready when resources may have become so."""
        return []

    def update_state(self) -> None:
        """Look anew at what is ready."""

    def clear(self) -> None:
        """Give everything back."""
        raise must_define(self, "clear()")


class FixedResourceManager(ResourceManager):
    """Counts what it has given of a fixed amount; the cluster's by default.

    Examples
    --------
    >>> from rayjup.air.execution import FixedResourceManager, ResourceRequest
    >>> manager = FixedResourceManager({"CPU": 2})
    >>> request = ResourceRequest([{"CPU": 2}])
    >>> manager.request_resources(request)
    >>> acquired = manager.acquire_resources(request)
    >>> manager.request_resources(request)
    >>> manager.has_resources_ready(request)
    False
    """

    def __init__(self, total_resources: dict[str, float] | None = None) -> None:
        self._total = dict(total_resources) if total_resources is not None else rayjup.cluster_resources()
        self._requested: list[ResourceRequest] = []
        self._used: list[ResourceRequest] = []

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """See `ResourceManager`."""
        self._requested.append(resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """See `ResourceManager`."""
        self._requested.remove(resource_request)

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """See `ResourceManager`."""
        if resource_request not in self._requested:
            return False
        free = collections.Counter(self._total)
        for used in self._used:
            free.subtract(used.required_resources)
        wanted = resource_request.required_resources
        return all(free.get(name, 0) + 1e-9 >= amount for name, amount in wanted.items())

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """See `ResourceManager`."""
        if not self.has_resources_ready(resource_request):
            return None
        self._requested.remove(resource_request)
        self._used.append(resource_request)
        return AcquiredResources(resource_request)

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """See `ResourceManager`."""
        self._used.remove(acquired_resource.resource_request)

    def clear(self) -> None:
        """See `ResourceManager`."""
        self._requested.clear()
        self._used.clear()


class _InGroup(AcquiredResources):
    def __init__(self, resource_request: ResourceRequest, group: Any) -> None:
        super().__init__(resource_request)
        self.placement_group = group

    def _options(self, index: int, bundle: dict[str, float]) -> dict[str, Any]:
        from rayjup.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        offset = 1 if self.resource_request.head_bundle_is_empty else 0
        strategy = PlacementGroupSchedulingStrategy(
            placement_group=self.placement_group,
            placement_group_bundle_index=index - offset if bundle else -1,
            placement_group_capture_child_tasks=True,
        )
        return {**super()._options(index, bundle), "scheduling_strategy": strategy}


class PlacementGroupResourceManager(ResourceManager):
    """Reserves a placement group for each request.

    Parameters
    ----------
    update_interval_s
        How often it looks which groups are there.
    """

    def __init__(self, update_interval_s: float = 0.1) -> None:
        self._interval = update_interval_s
        self._looked_at = 0.0
        self._coming: dict[Any, tuple[ResourceRequest, Any]] = {}  # by the ref that says the group is there
        self._ready: list[tuple[ResourceRequest, Any]] = []
        self._used: list[_InGroup] = []

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """See `ResourceManager`."""
        group = resource_request.to_placement_group()
        self._coming[group.ready()] = (resource_request, group)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """See `ResourceManager`."""
        for ref, (request, group) in self._coming.items():
            if request == resource_request:
                del self._coming[ref]
                _remove(group)
                return
        for pair in self._ready:
            if pair[0] == resource_request:
                self._ready.remove(pair)
                _remove(pair[1])
                return
        raise ValueError(f"{resource_request!r} was not requested")

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """See `ResourceManager`."""
        is_there = any(request == resource_request for request, _ in self._ready)
        if not is_there and time.monotonic() - self._looked_at >= self._interval:
            self.update_state()
        return any(request == resource_request for request, _ in self._ready)

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """See `ResourceManager`."""
        if not self.has_resources_ready(resource_request):
            return None
        pair = next(pair for pair in self._ready if pair[0] == resource_request)
        self._ready.remove(pair)
        acquired = _InGroup(*pair)
        self._used.append(acquired)
        return acquired

    def free_resources(self, acquired_resource: AcquiredResources) -> None:
        """See `ResourceManager`."""
        found = next(one for one in self._used if one is acquired_resource)
        self._used.remove(found)
        _remove(found.placement_group)

    def get_resource_futures(self) -> list[Any]:
        """See `ResourceManager`."""
        return list(self._coming)

    def update_state(self) -> None:
        """See `ResourceManager`."""
        self._looked_at = time.monotonic()
        if not self._coming:
            return
        there, _ = rayjup.wait(list(self._coming), num_returns=len(self._coming), timeout=0)
        for ref in there:
            self._ready.append(self._coming.pop(ref))

    def clear(self) -> None:
        """See `ResourceManager`."""
        groups = [group for _, group in (*self._coming.values(), *self._ready)]
        groups += [acquired.placement_group for acquired in self._used]
        self._coming.clear()
        self._ready.clear()
        self._used.clear()
        for group in groups:
            _remove(group)


def _remove(group: Any) -> None:
    from rayjup.util.placement_group import remove_placement_group

    remove_placement_group(group)
