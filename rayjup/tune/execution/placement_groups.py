"""What one trial asks for (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.placement import PlacementGroupFactory, resource_dict_to_pg_factory

__all__ = ["PlacementGroupFactory", "resource_dict_to_pg_factory"]
