"""A node among nodes of other hosts: whether and where it listens, what its processes are told of that."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import addresses, secure
from rayjup.engine.lane.remote import hand_over_path
from rayjup.engine.node.endpoint import Endpoint, usable_files
from rayjup.engine.transfer.pulls import Pulls

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent
    from rayjup.engine.node.connection import Connection

HOST_VARIABLE = "RAYJUP_HOST"
"""Declares another host: processes started with it share neither sockets nor memory with the rest."""
_TIMEOUT_S = 10.0
_PATIENCE_S = 30.0


class Neighbours:
    """Belongs to one agent.

    Parameters
    ----------
    settings
        What ``_system_config`` says: ``health_check_timeout_ms`` is how long a host may be silent,
        ``fetch_fail_timeout_milliseconds`` how long objects are tried to be had from hosts that are.
    """

    def __init__(self, agent: NodeAgent, settings: dict[str, Any]) -> None:
        self._agent = agent
        self._timeout_s = _seconds("health_check_timeout_ms", settings, _TIMEOUT_S)
        self._files = ("", "", "")
        self._token = b""
        self._endpoint: Endpoint | None = None
        self.why_not = "this cluster was started for one host"
        self.pulls = Pulls(agent, _seconds("fetch_fail_timeout_milliseconds", settings, _PATIENCE_S))
        self.handlers: dict[str, Callable[..., None]] = {
            "pull": self.pulls.want,
            "store_unlink": self._on_unlink,
            "copy_keep": self._on_keep,
        }
        agent._head_located = self.pulls.on_located  # type: ignore[attr-defined]  # found by name
        agent._head_store_unlink = self.pulls.unlink  # type: ignore[attr-defined]
        agent._head_copy_keep = self.pulls.keep  # type: ignore[attr-defined]

    # -- listening

    def listen(self, address: str, tls: tuple[str, str, str], declared: bool) -> None:
        """Listen for other hosts, where that is safe.

        Parameters
        ----------
        address
            Of the node's Dask worker.
        tls
            Its authority, certificate and key: files, or their text.
        declared
            Whether this node is another host by declaration only: then loopback will do.
        """
        scheme, _, rest = address.partition("://")
        if scheme == "unix" and not declared:
            return
        ip = rest.rpartition(":")[0].strip("[]") if scheme != "unix" else "127.0.0.1"
        self.why_not = secure.may_listen(
            "tcp" if scheme == "unix" else scheme, ip, secure.is_declared_insecure()
        )
        if self.why_not:
            return
        if scheme == "tls":
            self._files = usable_files(self._agent.socket_dir, *tls)
        self.pulls.start()
        self._endpoint = Endpoint(ip, self._process_at, self.pulls.server.take)

    def _process_at(self, client: str) -> str | None:
        known = client in self._agent.clients
        return f"{self._agent.socket_dir}/w-{client}.sock" if known else None

    @property
    def place(self) -> addresses.Endpoint | None:
        """Where this node listens; None: nowhere."""
        return self._endpoint.place if self._endpoint is not None else None

    @property
    def suffix(self) -> str:
        """What follows the unix path in the addresses of this node's processes."""
        return addresses.suffix(self._agent.host, self.place)

    def joined(self, token: bytes) -> None:
        """The head has this node, and says the cluster's secret."""
        self._token = token
        self.pulls.gate = secure.Gate(**self._gate())
        self.pulls.ask_again()

    def _gate(self) -> dict[str, Any]:
        ca, cert, key = self._files
        return {"token": self._token, "ca": ca, "cert": cert, "key": key, "timeout_s": self._timeout_s}

    def welcome(self) -> dict[str, Any]:
        """What drivers and executors of this node are told, beside what everybody is."""
        if self._endpoint is None:
            return {"why_not": self.why_not}
        return {"suffix": self.suffix, "gate": self._gate()}

    def client_left(self, client: str) -> None:
        """A process of this node is gone."""
        path = hand_over_path(f"{self._agent.socket_dir}/w-{client}.sock")
        if self._endpoint is not None and os.path.exists(path):
            os.unlink(path)

    def close(self) -> None:
        """Listen no more, end what is on its way."""
        if self._endpoint is not None:
            self._endpoint.close()
        self.pulls.close()

    # -- messages of processes

    def _on_unlink(self, connection: Connection, files: list[tuple[str, str]]) -> None:
        """A process frees objects of its own that lie on nodes of other hosts: (node, name) each."""
        by_node: dict[str, list[str]] = {}
        for node, name in files:
            by_node.setdefault(node, []).append(name)
        for node, names in by_node.items():
            if node == self.pulls.me:
                self.pulls.unlink(names)
            else:
                self._agent.to_head(("store_unlink", connection.client, node, names))

    def _on_keep(self, connection: Connection, node: str, name: str) -> None:
        if node == self.pulls.me:
            self.pulls.keep(name)
        else:
            self._agent.to_head(("copy_keep", connection.client, node, name))


def declared_host() -> str | None:
    """The host that whoever started this process says it is on."""
    return os.environ.get(HOST_VARIABLE) or None


def _seconds(name: str, settings: dict[str, Any], default: float) -> float:
    value = settings.get(name)
    if value is None:
        value = os.environ.get(f"RAY_{name}")
    return float(value) / 1000 if value is not None else default
