"""``/api/v0/…`` and its neighbours: the state API, nodes, logs, timeline, health and metrics."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from rayjup.dashboard import grafana
from rayjup.dashboard.auth import Handler, Token
from rayjup.observe import ClusterView, metrics_text
from rayjup.observe.timeline import events_at
from rayjup.observe.topics import TOPICS
from rayjup.util import state
from rayjup.util.state import StateApiClient
from rayjup.util.state.common import (
    GetLogOptions,
    ListApiOptions,
    StateResource,
    SummaryApiOptions,
    SummaryResource,
)

_LISTS = {
    "actors": StateResource.ACTORS,
    "jobs": StateResource.JOBS,
    "nodes": StateResource.NODES,
    "objects": StateResource.OBJECTS,
    "placement_groups": StateResource.PLACEMENT_GROUPS,
    "runtime_envs": StateResource.RUNTIME_ENVS,
    "tasks": StateResource.TASKS,
    "workers": StateResource.WORKERS,
    "cluster_events": StateResource.CLUSTER_EVENTS,
}
_SUMMARIES = {
    "actors": SummaryResource.ACTORS,
    "objects": SummaryResource.OBJECTS,
    "tasks": SummaryResource.TASKS,
}
_MOST = 10_000


class StateHandler(Handler):
    """Knows the cluster."""

    cluster: str
    view: ClusterView

    def number(self, name: str, default: int) -> int:
        """A number of the query."""
        text = self.get_query_argument(name, str(default))
        try:
            return int(text)
        except ValueError as error:
            raise HTTPError(400, f"{name}={text!r} must be a whole number") from error

    def filters(self) -> list[tuple[str, str, str]]:
        """The filters of the query: keys, predicates and values, one of each."""
        keys = self.get_query_arguments("filter_keys")
        predicates = self.get_query_arguments("filter_predicates")
        values = self.get_query_arguments("filter_values")
        if not len(keys) == len(predicates) == len(values):
            raise HTTPError(400, "filter_keys, filter_predicates and filter_values must be equally many")
        return list(zip(keys, predicates, values, strict=True))

    def answer(self, result: Any, **more: Any) -> None:
        """As Ray's state API answers."""
        self.reply({"result": True, "msg": "", "data": {"result": result, **more}})


class List(StateHandler):
    """``GET /api/v0/RESOURCE``."""

    async def get(self, resource: str) -> None:
        limit = self.number("limit", 100)
        if not 0 < limit <= _MOST:
            raise HTTPError(400, f"limit={limit} must be between 1 and {_MOST}")
        options = ListApiOptions(
            limit=limit,
            timeout=self.number("timeout", 30),
            detail=self.get_query_argument("detail", "").lower() in ("1", "true"),
            filters=self.filters(),
        )
        client = StateApiClient(self.cluster)
        rows = await asyncio.to_thread(
            client.list, _LISTS[resource], options=options, raise_on_missing_output=False
        )
        found = [dataclasses.asdict(row) for row in rows]
        self.answer(
            {
                "total": len(found),
                "num_after_truncation": len(found),
                "num_filtered": len(found),
                "result": found,
                "partial_failure_warning": "",
                "warnings": None,
            }
        )


class Summarize(StateHandler):
    """``GET /api/v0/RESOURCE/summarize``."""

    async def get(self, resource: str) -> None:
        options = SummaryApiOptions(
            timeout=self.number("timeout", 30),
            filters=self.filters(),
            summary_by=self.get_query_argument("summary_by", None),
        )
        client = StateApiClient(self.cluster)
        found = await asyncio.to_thread(
            client.summary, _SUMMARIES[resource], options=options, raise_on_missing_output=False
        )
        self.answer({"result": found, "partial_failure_warning": "", "warnings": None})


class Timeline(StateHandler):
    """``GET /api/v0/tasks/timeline``."""

    async def get(self) -> None:
        if self.get_query_argument("download", "") == "1":
            self.set_header("Content-Disposition", 'attachment; filename="timeline.json"')
        self.reply(await asyncio.to_thread(events_at, self.cluster))


class Logs(StateHandler):
    """``GET /api/v0/logs``: the files of a node."""

    async def get(self) -> None:
        found = await asyncio.to_thread(
            state.list_logs,
            self.cluster,
            node_id=self.get_query_argument("node_id", None),
            node_ip=self.get_query_argument("node_ip", None),
            glob_filter=self.get_query_argument("glob", None),
            timeout=self.number("timeout", 30),
        )
        self.answer(found)


class LogText(StateHandler):
    """``GET /api/v0/logs/file`` and ``/stream``: what is in one of them."""

    async def get(self, media_type: str) -> None:
        ask = self.get_query_argument
        options = GetLogOptions(
            timeout=self.number("timeout", 30),
            media_type=media_type,
            lines=self.number("lines", 1000),
            attempt_number=self.number("attempt_number", 0),
            suffix=ask("suffix", "out"),
            node_id=ask("node_id", None),
            node_ip=ask("node_ip", None),
            filename=ask("filename", None),
            actor_id=ask("actor_id", None),
            task_id=ask("task_id", None),
            submission_id=ask("submission_id", None),
            pid=self.number("pid", 0) or None,
        )
        given = dataclasses.asdict(options)
        follow = given.pop("media_type") == "stream"
        for name in ("download_filename", "lines", "interval"):
            given.pop(name)
        pieces = state.get_log(self.cluster, tail=options.lines, follow=follow, encoding=None, **given)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        over = object()
        try:
            while (piece := await asyncio.to_thread(next, pieces, over)) is not over:
                self.write(piece)  # type: ignore[arg-type]
                await self.flush()
        except StreamClosedError:
            pieces.close()


class Nodes(StateHandler):
    """``GET /nodes`` and ``/api/cluster_status``: a snapshot of the cluster."""

    async def get(self) -> None:
        snapshot = await asyncio.to_thread(self.view.snapshot)
        if self.request.path.startswith("/nodes"):
            self.answer({"summary": snapshot["nodes"]})
        else:
            self.answer({"clusterStatus": snapshot})


class Document(StateHandler):
    """``GET /api/topics/NAME``: what pages, panel and displays show of a topic."""

    async def get(self, name: str) -> None:
        self.reply(await asyncio.to_thread(TOPICS[name].read, self.view))


class Application(StateHandler):
    """``DELETE /api/serve/applications/NAME``: take one application down."""

    async def delete(self, name: str) -> None:
        from rayjup import serve  # only where somebody serves

        found = await asyncio.to_thread(TOPICS["deployments"].read, self.view)
        if name not in {app["name"] for app in found["applications"]}:
            raise LookupError(f"there is no application {name!r}")
        await asyncio.to_thread(serve.delete, name)
        self.reply({})


class Metrics(StateHandler):
    """``GET /metrics``: for Prometheus."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(await asyncio.to_thread(metrics_text, self.view))


class Grafana(StateHandler):
    """``GET /api/grafana.json``: a dashboard for Grafana that shows these metrics."""

    def get(self) -> None:
        self.reply(grafana.board())


class Health(StateHandler):
    """``GET /api/gcs_healthz`` and its like: whether the cluster answers; needs no token."""

    def prepare(self) -> None:
        """Says nothing that has to be kept."""

    async def get(self) -> None:
        await asyncio.to_thread(self.view.snapshot)
        self.finish("success")


class Index(StateHandler):
    """``GET /``: what this is."""

    def prepare(self) -> None:
        """A browser that shows no token is told how to."""
        if self.allowed() or "text/html" not in self.request.headers.get("Accept", ""):
            super().prepare()

    async def get(self) -> None:
        if "text/html" in self.request.headers.get("Accept", ""):
            self.redirect("pages/overview")
            return
        snapshot = await asyncio.to_thread(self.view.snapshot)
        self.finish(json.dumps({"cluster": snapshot["name"], "api": "/api/v0/", "jobs": "/api/jobs/"}))


def routes(cluster: str, view: ClusterView, token: Token) -> list[tuple[str, Any, dict[str, Any]]]:
    """Patterns, handlers and what these are given."""
    given = {"cluster": cluster, "view": view, "token": token}
    lists, summaries = "|".join(_LISTS), "|".join(_SUMMARIES)
    return [
        (rf"/api/v0/({lists})", List, given),
        (rf"/api/v0/({summaries})/summarize", Summarize, given),
        (r"/api/v0/tasks/timeline", Timeline, given),
        (r"/api/v0/logs", Logs, given),
        (r"/api/v0/logs/(file|stream)", LogText, given),
        (rf"/api/topics/({'|'.join(TOPICS)})", Document, given),
        (r"/api/serve/applications/([^/]+)", Application, given),
        (r"/nodes", Nodes, given),
        (r"/api/cluster_status", Nodes, given),
        (r"/metrics", Metrics, given),
        (r"/api/grafana\.json", Grafana, given),
        (r"/api/(?:gcs_healthz|healthz|local_raylet_healthz)", Health, given),
        (r"/", Index, given),
    ]
