"""What managers of resources have in common."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

from rayjup.runs.placement import ResourceRequest


@dataclass
class AcquiredResources(abc.ABC):
    """Resources that were granted for a request."""

    resource_request: ResourceRequest

    def annotate_remote_entities(self, entities: list[Any]) -> list[Any]:
        """Remote functions and classes that run with these resources: the first with the first bundle,
        and so on.

        There must not be more of them than bundles; one bundle may stand for all.
        """
        bundles: list[dict[str, float]] = self.resource_request.bundles
        if self.resource_request.head_bundle_is_empty:
            bundles = [{}, *bundles]
        if len(entities) > len(bundles):
            raise RuntimeError(
                f"{len(entities)} remote functions and classes are to run with {len(bundles)} "
                f"bundles; there must be one "
                "for each"
            )
        shift = 1 if self.resource_request.head_bundle_is_empty else 0
        return [
            self._annotate(entity, bundle, index - shift)
            for index, (entity, bundle) in enumerate(zip(entities, bundles, strict=False))
        ]

    @abc.abstractmethod
    def _annotate(self, entity: Any, bundle: dict[str, float], index: int) -> Any:
        """One of them with one bundle; ``index`` is -1 for the empty head bundle."""


def options_of(bundle: dict[str, float]) -> dict[str, Any]:
    """A bundle as options of ``.options(...)``."""
    rest = {k: v for k, v in bundle.items() if k not in ("CPU", "GPU", "memory")}
    found: dict[str, Any] = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0)}
    if bundle.get("memory"):
        found["memory"] = bundle["memory"]
    if rest:
        found["resources"] = rest
    return found


class ResourceManager(abc.ABC):
    """Grants resources. Ask with `request_resources`; when `has_resources_ready`, take with
    `acquire_resources`."""

    @abc.abstractmethod
    def request_resources(self, resource_request: ResourceRequest) -> None:
        """Ask for resources."""

    @abc.abstractmethod
    def cancel_resource_request(self, resource_request: ResourceRequest) -> None:
        """Take one request back."""

    @abc.abstractmethod
    def has_resources_ready(self, resource_request: ResourceRequest) -> bool:
        """Whether a request could be granted now."""

    @abc.abstractmethod
    def acquire_resources(self, resource_request: ResourceRequest) -> AcquiredResources | None:
        """The resources of a request, or None if they are not there yet."""

    @abc.abstractmethod
    def free_resources(self, acquired_resource: Any) -> None:
        """Give resources back."""

    def update_state(self) -> None:
        """Look at what has become ready; nothing where requests are granted by counting."""
        return

    def get_resource_futures(self) -> list[Any]:
        """Refs that are ready when requests are."""
        return []

    @abc.abstractmethod
    def clear(self) -> None:
        """Give everything back and forget all requests."""

    def __reduce__(self) -> Any:
        raise ValueError(f"{type(self).__name__} belongs to its process and can't be pickled")
