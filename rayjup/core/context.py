"""What ``init`` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rayjup.cluster import dashboards
from rayjup.core.session import Session


class RayContext(Mapping[str, Any]):
    """The connection, as a mapping of addresses and as a context manager that disconnects."""

    def __init__(self, session: Session) -> None:
        self._session = session
        cluster = session.cluster
        self.python_version = cluster.python if cluster is not None else ""
        self.ray_version = "2.60.0"
        self.address_info: dict[str, Any] = {
            "address": cluster.address if cluster is not None else "",
            "gcs_address": cluster.address if cluster is not None else "",
            "session_dir": session.runtime.session_dir,
            "node_id": session.runtime.node_id,
            "cluster_id": cluster.cluster_id if cluster is not None else "",
            "raylet_socket_name": cluster.agent_socket if cluster is not None else "",
            "webui_url": self.dashboard_url,
        }

    @property
    def dashboard_url(self) -> str | None:
        """Host and port of the cluster's REST server; None while nobody has asked for one."""
        server = dashboards.read(self._session.runtime.session_dir)
        return server.url.split("://")[1] if server is not None else None

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def disconnect(self) -> None:
        """Same as ``shutdown()``."""
        from rayjup.core import api  # it imports this module

        api.shutdown()

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def __repr__(self) -> str:
        cluster = self._session.cluster
        name = cluster.name if cluster is not None else "?"
        return f"RayContext(cluster={name!r}, address={self.address_info['address']!r})"
