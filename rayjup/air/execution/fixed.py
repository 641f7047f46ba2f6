"""A fixed amount of resources, counted here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import rayjup
from rayjup.air.execution.manager import AcquiredResources, ResourceManager, options_of
from rayjup.runs.placement import ResourceRequest


@dataclass
class FixedAcquiredResources(AcquiredResources):
    """Resources that were counted off."""

    def _annotate(self, entity: Any, bundle: dict[str, float], index: int) -> Any:
        return entity.options(**options_of(bundle))


class FixedResourceManager(ResourceManager):
    """Grants requests as long as their sum stays below an amount.

    Parameters
    ----------
    total_resources
        The amount; that of the cluster by default.

    Examples
    --------
    >>> from rayjup.air.execution import FixedResourceManager, ResourceRequest
    >>> manager = FixedResourceManager({"CPU": 2})
    >>> request = ResourceRequest([{"CPU": 2}])
    >>> manager.request_resources(request)
    >>> taken = manager.acquire_resources(request)
    >>> manager.request_resources(request)
    >>> manager.has_resources_ready(request)
    False
    >>> manager.free_resources(taken)
    >>> manager.has_resources_ready(request)
    True
    """

    def __init__(self, total_resources: dict[str, float] | None = None) -> None:
        if total_resources is None:
            if not rayjup.is_initialized():
                rayjup.init()
            total_resources = rayjup.cluster_resources()
        self._total = dict(total_resources)
        self._requests: list[ResourceRequest] = []
        self._taken: list[FixedAcquiredResources] = []

    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask for resources."""
        self._requests.append(resource_request)

    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Take one request back."""
        self._requests.remove(resource_request)

    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether a request could be granted now."""
        if resource_request not in self._requests:
            return False
        free = dict(self._total)
        for one in self._taken:
            for name, amount in one.resource_request.required_resources.items():
                free[name] = free.get(name, 0.0) - amount
        return all(
            free.get(name, 0.0) + 1e-9 >= amount
            for name, amount in resource_request.required_resources.items()
        )

    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """The resources of a request, or None if they are not there yet."""
        if not self.has_resources_ready(resource_request):
            return None
        self._requests.remove(resource_request)
        granted = FixedAcquiredResources(resource_request)
        self._taken.append(granted)
        return granted

    def free_resources(self, acquired_resource: Any) -> None:
        """Give resources back."""
        self._taken = [one for one in self._taken if one is not acquired_resource]

    def clear(self) -> None:
        """Give everything back and forget all requests."""
        self._taken = []
        self._requests = []
