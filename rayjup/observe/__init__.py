"""Read-only views of a cluster, for displays, the side panel and the state API."""

from __future__ import annotations

from rayjup.observe.view import ClusterView, current

__all__ = ["ClusterView", "current"]
