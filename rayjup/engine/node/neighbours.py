"""A node among nodes of other hosts: whether and where it listens, what its processes are told of that."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import addresses, credentials, secure
from rayjup.engine.lane.remote import hand_over_path
from rayjup.engine.node.endpoint import Endpoint, usable_files
from rayjup.engine.transfer.pulls import Pulls

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent
    from rayjup.engine.node.connection import Connection

logger = logging.getLogger(__name__)

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
        self._also = b""
        self._renewed: tuple[list[str], list[str]] = ([], [])
        agent._head_credentials = self.on_credentials  # type: ignore[attr-defined]
        agent._head_located = self.pulls.on_located  # type: ignore[attr-defined]  # found by name
        agent._head_store_unlink = self.pulls.unlink  # type: ignore[attr-defined]
        agent._head_copy_keep = self.pulls.keep  # type: ignore[attr-defined]

    # -- listening

    def listen(
        self,
        address: str,
        tls: tuple[str, str, str],
        declared: bool,
        renewed: tuple[list[str], list[str]] = ([], []),
    ) -> None:
        """Listen for other hosts, where that is safe.

        Parameters
        ----------
        address
            Of the node's Dask worker.
        tls
            Its authority, certificate and key: files, or their text.
        declared
            Whether this node is another host by declaration only: then loopback will do.
        renewed
            Files to be written when the cluster's credentials are exchanged: some with what is shown from
            here, others with what the node's user is to have.
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
            if len(set(self._files)) == 1:  # rayjup's own, which may be exchanged
                own = f"{self._agent.socket_dir}/own.pem"
                credentials.write(own, Path(self._files[0]).read_text(encoding="ascii"))
                self._files = (own, own, own)
                self._renewed = ([own, *renewed[0]], renewed[1])
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

    def joined(self, token: bytes, also: bytes = b"", own: str = "", published: str = "") -> None:
        """The head has this node, and says the cluster's secrets."""
        problem = self._renew(token, also, own, published)
        if problem:
            logger.error("this node keeps the credentials it has: %s", problem)
        self.pulls.ask_again()

    def on_credentials(self, serial: int, token: bytes, also: bytes, own: str, published: str) -> None:
        """The secrets of the cluster are being exchanged."""
        problem = self._renew(token, also, own, published)
        self._agent.to_head(("credentials_kept", serial, problem))

    def _renew(self, token: bytes, also: bytes, own: str, published: str) -> str:
        """Show and take other secrets from now on; what kept us from that."""
        problem = ""
        if own and self._endpoint is not None and not self._renewed[0]:
            problem = "its certificates are not rayjup's"
        for paths, text in zip(self._renewed, (own, published), strict=True):
            for path in paths if text else ():
                try:
                    if Path(path).read_text(encoding="ascii") != text:
                        credentials.write(path, text)
                except OSError as error:
                    if paths is self._renewed[0]:
                        problem = f"{path}: {error.strerror}"
                    else:  # gone, or read-only: whoever put it there has to see to it
                        logger.warning("%s is not renewed: %s", path, error.strerror)
        if (token, also) != (self._token, self._also) or own:
            self._token, self._also = token, also
            self.pulls.gate = secure.Gate(**self._gate())
            for connection in self._agent.clients.values():
                if self._endpoint is not None and connection.job_id:  # else it is told with its welcome
                    connection.post(("gate", self._gate()))
        return problem

    def _gate(self) -> dict[str, Any]:
        ca, cert, key = self._files
        tokens = {"token": self._token, "also": self._also}
        return {**tokens, "ca": ca, "cert": cert, "key": key, "timeout_s": self._timeout_s}

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
