"""``ClusterView``: what goes on in a cluster, without being part of it."""

from __future__ import annotations

import json
import time
from typing import Any

from rayjup.base import keys
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

    def runs(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What runs of Tune, Train and RLlib say about themselves, oldest first.

        Parameters
        ----------
        kind
            Only ``"tune"``, ``"train"`` or ``"rllib"``; None: all.

        Returns
        -------
        list of dict
            Keys: ``kind run_id name state started updated ended``, times in seconds since the epoch
            (``ended`` None while it runs), and what belongs to the kind: trials, or workers, metrics
            and checkpoints.
        """
        prefix = f"{kind}/" if kind else ""
        found = []
        for key in self.request("kv_keys", keys.of(keys.BOARD), prefix.encode()):
            if key.startswith(b"request/"):
                continue
            data = self.request("kv_get", keys.of(keys.BOARD), key)
            if data is not None:
                found.append(json.loads(data))
        return sorted(found, key=lambda row: row["started"])

    def ask_run(self, kind: str, run_id: str, request: dict[str, Any]) -> None:
        """Leave a request for a run, such as ``{"stop": trial_id}``, which fetches them once a second."""
        key = f"request/{kind}/{run_id}/{time.time_ns()}".encode()
        self.request("kv_put", keys.of(keys.BOARD), key, json.dumps(request).encode(), True)


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
