"""Reserving resources, and running actors and tasks with them."""

from __future__ import annotations

from rayjup.air.execution.fixed import FixedResourceManager
from rayjup.air.execution.manager import AcquiredResources, ResourceManager
from rayjup.air.execution.placement_group import PlacementGroupResourceManager
from rayjup.runs.placement import ResourceRequest

__all__ = [
    "AcquiredResources",
    "FixedResourceManager",
    "PlacementGroupResourceManager",
    "ResourceManager",
    "ResourceRequest",
]
