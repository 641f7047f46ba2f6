"""The actor in which a cluster's dashboard runs: as long as the cluster, and started anew where it dies."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from rayjup.cluster import dashboards, descriptors
from rayjup.cluster.dashboards import Server
from rayjup.dashboard import jobs, state
from rayjup.dashboard.auth import Renewal, Token
from rayjup.dashboard.pages import mount as pages
from rayjup.dashboard.pages.feed import Feed
from rayjup.dashboard.pages.requests import Requests
from rayjup.jobs.manager import JobManager
from rayjup.observe import ClusterView
from rayjup.runtime_context import get_runtime_context

NAMESPACE = "rayjup-dashboard"
NAME = "dashboard"
_LARGEST_UPLOAD = 1 << 30
_TRIED_PORTS = 50


class Dashboard:
    """Serves the REST API of the cluster in which it lives.

    Parameters
    ----------
    cluster_id
        The cluster.
    host, port
        Where to listen; without a port, on 8265 or the next that is free.
    """

    def __init__(self, cluster_id: str, host: str, port: int | None) -> None:
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(
                f"the dashboard listens on this machine only, and {host!r} is more: without TLS its token "
                "would travel in the open. Reach it through ssh -L or Jupyter's proxy."
            )
        self.cluster_id = cluster_id
        self.host = host
        self.session_dir = get_runtime_context().get_temp_dir()
        known = dashboards.read(self.session_dir)  # of the process that died, if this one replaces it
        self.token = (
            Token(known.token, known.older, known.until)
            if known is not None
            else Token(secrets.token_urlsafe(24))
        )
        if known is not None and port is None:
            port = int(known.url.rsplit(":", 1)[1])
        self.port = port
        # Now and not when asked: an actor that was started anew is not asked anything.
        self._serving = asyncio.get_event_loop().create_task(self._serve())

    async def url(self) -> str:
        """Where it listens."""
        return await self._serving

    async def _serve(self) -> str:
        manager = JobManager(self.cluster_id, self.session_dir)
        view = ClusterView(descriptors.which(self.cluster_id))
        application = Application(
            [
                *pages.rules(Feed(view, Requests(view, manager)), self.token),
                *jobs.routes(manager, self.token),
                *state.routes(self.cluster_id, view, self.token),
                (r"/api/token", Renewal, {"token": self.token, "renewed": self._tell}),
            ],
            websocket_ping_interval=20,
            log_function=lambda handler: None,
        )
        server = HTTPServer(application, max_buffer_size=_LARGEST_UPLOAD, max_body_size=_LARGEST_UPLOAD)
        sockets = self._bound()
        server.add_sockets(sockets)
        self._url = f"http://{self.host}:{sockets[0].getsockname()[1]}"
        self._tell()
        manager.adopt()
        return self._url

    def _tell(self) -> None:
        """Let the user's processes find this server, and its token."""
        token = self.token
        server = Server(self._url, token.now, os.getpid(), token.older, token.until)
        dashboards.write(self.session_dir, server)

    def _bound(self) -> list[socket.socket]:
        if self.port is not None:
            return bind_sockets(self.port, self.host)
        for port in range(dashboards.DEFAULT_PORT, dashboards.DEFAULT_PORT + _TRIED_PORTS):
            try:
                return bind_sockets(port, self.host)
            except OSError:
                continue  # somebody else's; the next one
        return bind_sockets(0, self.host)


def options() -> dict[str, Any]:
    """Options of the actor."""
    return {
        "name": NAME,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "max_concurrency": 1000,
    }
