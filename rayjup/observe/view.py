"""``ClusterView``: what goes on in a cluster, without being part of it."""

from __future__ import annotations

from typing import Any

from rayjup.cluster.observer import Observer


class ClusterView(Observer):
    """Snapshots of a running cluster, over a connection of its own to a node's agent.

    Watching starts nothing and keeps nothing alive; any process of the same user may do it.

    Parameters
    ----------
    descriptor
        The cluster, as :func:`rayjup.cluster.descriptors.find` returns it.
    """

    def snapshot(self) -> dict[str, Any]:
        """The state of the cluster now, as JSON-able values.

        Keys: ``cluster_id name address time started_by uptime_s nodes tasks actors resources_total
        resources_available demand drivers``; bytes and seconds throughout.

        Raises
        ------
        ConnectionError
            The cluster is gone.
        """
        result: dict[str, Any] = self.request("snapshot")
        return result


def current() -> ClusterView | None:
    """A view of the cluster this process is connected to; None when it is not."""
    from rayjup.core import session as sessions

    session = sessions.current()
    if session is None or session.runtime.closed or session.cluster is None:
        return None
    view = session.extra.get("view")
    if view is None:
        view = session.extra["view"] = ClusterView(session.cluster)
    return view  # type: ignore[no-any-return]
