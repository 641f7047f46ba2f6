"""Reading what is in a cluster, and asking it for something: stop this trial, run this program."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import dashboards
from rayjup.cluster.dashboards import Server
from rayjup.observe import ClusterView
from rayjup.observe.topics import TOPICS, Document, read_log
from rayjup.util.state.exception import RayStateApiException
from rayjup_lab.services.clusters.manager import ClustersManager
from rayjup_lab.services.errors import BadRequest, Conflict, Failed, NotFound, ServiceError, Unreachable

T = TypeVar("T")

_ASK_S = 60.0
_STOPS: dict[str, Callable[[str | None], dict[str, Any]]] = {
    "tune": lambda trial: {"stop": trial or "*"},
    "train": lambda trial: {"action": "stop"},
    "rllib": lambda trial: {"do": "stop"},
}
"""How runs of each kind are asked to end."""


class ContentsManager:
    """Asynchronous facade over what a cluster says of itself, and over its REST server.

    Parameters
    ----------
    clusters
        Finds and asks clusters.
    """

    def __init__(self, clusters: ClustersManager) -> None:
        self._clusters = clusters

    async def document(self, cluster_id: str, topic: str) -> Document:
        """The document of a topic.

        Raises
        ------
        NotFound, Unreachable
        """
        about = TOPICS[topic]
        return await self._clusters.ask(cluster_id, about.read, slow=about.asks_processes)

    async def ask(self, cluster_id: str, question: Callable[[ClusterView], T]) -> T:
        """What a function of the cluster's view returns."""
        return await self._clusters.ask(cluster_id, question)

    async def log(
        self, cluster_id: str, node_id: str, name: str, *, start: int | None, lines: int
    ) -> dict[str, Any]:
        """A part of a log file: its last lines, or what follows a position.

        Raises
        ------
        NotFound, Unreachable
        """

        def read(view: ClusterView) -> dict[str, Any] | str:
            try:
                return read_log(view, node_id, name, start=start, lines=lines)
            except RayStateApiException as error:
                return str(error)

        found = await self._clusters.ask(cluster_id, read, slow=True)
        if isinstance(found, str):
            raise NotFound(f"This log cannot be shown: {found}")
        return found

    async def stop_run(self, cluster_id: str, kind: str, run_id: str, trial: str | None) -> None:
        """Ask a run to end, or one trial of it; it does so within about a second.

        Raises
        ------
        NotFound, Conflict, Unreachable
        """
        runs = await self._clusters.ask(cluster_id, lambda view: view.runs(kind))
        row = next((row for row in runs if row["run_id"] == run_id), None)
        if row is None:
            raise NotFound(f"There is no {kind} run {run_id[:80]!r} in this cluster.")
        if row["ended"] is not None:
            raise Conflict(f"The run {run_id!r} has ended already.")
        if trial is not None and trial not in {one["trial_id"] for one in row.get("trials", ())}:
            raise NotFound(f"The run {run_id!r} shows no trial {trial[:80]!r}.")
        request = _STOPS[kind](trial)
        await self._clusters.ask(cluster_id, lambda view: view.ask_run(kind, run_id, request))

    # ------------------------------------------------------------ the cluster's REST server

    async def server(self, cluster_id: str, *, may_start: bool = True) -> Server:
        """Where the cluster's dashboard listens; it is started if need be.

        Raises
        ------
        NotFound, Failed
        """
        descriptor = await self._clusters.find(cluster_id)
        running = dashboards.read(descriptor.session_dir)
        if running is not None:
            return running
        if not may_start:
            raise NotFound(f"Cluster {descriptor.name!r} has no dashboard.")
        try:
            return await self._clusters.in_thread(lambda: dashboards.start(descriptor))
        except (RaySystemError, OSError) as error:
            raise Failed(f"The dashboard of {descriptor.name!r} did not start: {error}") from error

    async def request(self, cluster_id: str, method: str, path: str, body: Any = None) -> Any:
        """Ask the cluster's REST server; what it answers, decoded.

        Raises
        ------
        ServiceError
            What it refuses, with its reason.
        """
        server = await self.server(cluster_id)
        request = HTTPRequest(
            f"{server.url}{path}",
            method=method,
            body=json.dumps(body) if method in ("POST", "PUT") else None,
            headers={"Authorization": f"Bearer {server.token}"},
            request_timeout=_ASK_S,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except OSError as error:
            raise Unreachable(f"The dashboard of the cluster does not answer: {error}") from error
        text = answer.body.decode("utf-8", "replace")
        if answer.code == 599:
            raise Unreachable(f"The dashboard of the cluster does not answer: {answer.error}")
        if answer.code >= 400:
            kinds: dict[int, type[ServiceError]] = {400: BadRequest, 404: NotFound, 409: Conflict}
            raise kinds.get(answer.code, Failed)(text[:2000])
        return json.loads(text) if text else None
