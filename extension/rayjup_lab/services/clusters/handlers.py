"""``/rayjup/clusters``: list, start, read and stop clusters. No logic here; see ``manager``."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from rayjup_lab.services.clusters.manager import ClustersManager
from rayjup_lab.services.clusters.options import StartOptions
from rayjup_lab.services.errors import BadRequest, ServiceError

AUTH_RESOURCE = "rayjup"


class _ClustersBase(APIHandler):
    auth_resource = AUTH_RESOURCE

    @property
    def clusters(self) -> ClustersManager:
        manager: ClustersManager = self.settings["rayjup_clusters"]
        return manager

    def reply(self, body: Any, status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(body))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors made for the user keep their text and field; others go Jupyter's usual way."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ServiceError):
            self.set_header("Content-Type", "application/json")
            self.reply(error.to_json(), error.status)
        else:
            super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, ServiceError):
            self.log.info("rayjup: %s %s: %s", self.request.method, self.request.path, value.message)
        else:
            super().log_exception(typ, value, tb)

    def json_body(self) -> Any:
        try:
            return json.loads(self.request.body) if self.request.body.strip() else None
        except ValueError as error:
            raise BadRequest(f"The body is not JSON: {error}") from error


class ClustersHandler(_ClustersBase):
    """The collection: list, start one, stop all."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.reply({"clusters": await self.clusters.list_clusters(), "starting": self.clusters.starting})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        summary = await self.clusters.start(StartOptions.from_json(self.json_body()))
        self.set_header("Location", f"{self.base_url}rayjup/clusters/{summary['cluster_id']}")
        self.reply(summary, 201)

    @web.authenticated
    @authorized
    async def delete(self) -> None:
        started_by = self.get_query_argument("started_by", None)
        self.reply({"stopped": await self.clusters.stop_all(started_by)})


class ClusterHandler(_ClustersBase):
    """One cluster: its summary, or stop it."""

    @web.authenticated
    @authorized
    async def get(self, cluster_id: str) -> None:
        self.reply(await self.clusters.get(cluster_id))

    @web.authenticated
    @authorized
    async def delete(self, cluster_id: str) -> None:
        await self.clusters.stop(cluster_id)
        self.set_status(204)
        self.finish()


class SnapshotHandler(_ClustersBase):
    """The whole state of one cluster, uncut (the websocket carries a shortened one)."""

    @web.authenticated
    @authorized
    async def get(self, cluster_id: str) -> None:
        self.reply(await self.clusters.snapshot(cluster_id))


clusters_handlers = [
    (r"/rayjup/clusters", ClustersHandler),
    (r"/rayjup/clusters/([^/]+)", ClusterHandler),
    (r"/rayjup/clusters/([^/]+)/snapshot", SnapshotHandler),
]
