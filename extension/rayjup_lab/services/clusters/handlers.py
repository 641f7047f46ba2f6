"""``/rayjup/clusters``: list, start, read, scale and stop clusters. No logic here; see ``manager``."""

from __future__ import annotations

from rayjup_lab.services.clusters.options import (
    ADAPT_SCHEMA,
    NODE_SCHEMA,
    START_SCHEMA,
    NodeOptions,
    StartOptions,
    nodes_between,
)
from rayjup_lab.services.handlers import AUTH_RESOURCE, ApiHandler, operation

__all__ = ["AUTH_RESOURCE", "clusters_handlers"]


class ClustersHandler(ApiHandler):
    """The collection: list, start one, stop all."""

    @operation("All running clusters of the user, and those coming up")
    async def get(self) -> None:
        self.reply({"clusters": await self.clusters.list_clusters(), "starting": self.clusters.starting})

    @operation("Start a cluster and wait until it is usable", status=201, body=START_SCHEMA)
    async def post(self) -> None:
        options = StartOptions.from_json(self.json_body())
        summary = await self.clusters.start(options, self.user_name)
        self.set_header("Location", f"{self.base_url}rayjup/clusters/{summary['cluster_id']}")
        self.reply(summary, 201)

    @operation(
        "Stop all clusters of the user",
        query={"started_by": {"type": "string", "description": "Only those started so, as 'panel'"}},
    )
    async def delete(self) -> None:
        started_by = self.get_query_argument("started_by", None)
        self.reply({"stopped": await self.clusters.stop_all(started_by)})


class OptionsHandler(ApiHandler):
    """What can be said when a cluster is started."""

    @operation("The JSON schema of the options of a cluster, and the profiles there are")
    async def get(self) -> None:
        user = self.user_name
        profiles = await self.clusters.in_thread(lambda: self.clusters.described_profiles(user))
        self.reply(
            {
                "schema": START_SCHEMA,
                "node_schema": NODE_SCHEMA,
                "profiles": profiles,
                "may_start_without_profile": self.clusters.may_start(user, None),
                "max_clusters": self.clusters.max_clusters,
            }
        )


class ClusterHandler(ApiHandler):
    """One cluster: its summary, or stop it."""

    @operation("One cluster")
    async def get(self, cluster_id: str) -> None:
        self.reply(await self.clusters.get(cluster_id))

    @operation("Stop a cluster", status=204)
    async def delete(self, cluster_id: str) -> None:
        await self.clusters.stop(cluster_id)
        self.set_status(204)
        self.finish()


class SnapshotHandler(ApiHandler):
    """The whole state of one cluster, uncut (the websocket carries a shortened one)."""

    @operation("The whole state of a cluster")
    async def get(self, cluster_id: str) -> None:
        self.reply(await self.clusters.snapshot(cluster_id))


class AdaptHandler(ApiHandler):
    """How many nodes a cluster may have by itself."""

    @operation("Have the cluster grow with what waits, and shrink when idle", body=ADAPT_SCHEMA)
    async def put(self, cluster_id: str) -> None:
        self.reply(await self.clusters.adapt(cluster_id, nodes_between(self.json_body())))

    @operation("Have the cluster keep the nodes it has", status=204)
    async def delete(self, cluster_id: str) -> None:
        await self.clusters.adapt(cluster_id, None)
        self.set_status(204)
        self.finish()


class AddedNodesHandler(ApiHandler):
    """Nodes that are added to a cluster on this machine."""

    @operation("Start one more node on this machine", status=201, body=NODE_SCHEMA)
    async def post(self, cluster_id: str) -> None:
        self.reply(await self.clusters.add_node(cluster_id, NodeOptions.from_json(self.json_body())), 201)


class AddedNodeHandler(ApiHandler):
    """One of them."""

    @operation("Take away a node that was added; what ran there is retried elsewhere", status=204)
    async def delete(self, cluster_id: str, node_id: str) -> None:
        await self.clusters.remove_node(cluster_id, node_id)
        self.set_status(204)
        self.finish()


clusters_handlers = [
    (r"/rayjup/clusters", ClustersHandler),
    (r"/rayjup/options", OptionsHandler),
    (r"/rayjup/clusters/([^/]+)", ClusterHandler),
    (r"/rayjup/clusters/([^/]+)/snapshot", SnapshotHandler),
    (r"/rayjup/clusters/([^/]+)/adapt", AdaptHandler),
    (r"/rayjup/clusters/([^/]+)/added_nodes", AddedNodesHandler),
    (r"/rayjup/clusters/([^/]+)/added_nodes/([^/]+)", AddedNodeHandler),
]
