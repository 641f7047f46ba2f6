"""``/rayjup/clusters/ID/…``: what is in a cluster. No logic here; see ``manager``."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from rayjup.observe.topics import TOPICS
from rayjup_lab.services.contents.manager import ContentsManager
from rayjup_lab.services.errors import BadRequest
from rayjup_lab.services.handlers import ApiHandler, operation

_PARTS = ("nodes", "tasks", "actors")
_JOB_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["entrypoint"],
    "additionalProperties": False,
    "properties": {
        "entrypoint": {"type": "string", "title": "Command", "description": "as 'python train.py'"},
        "submission_id": {"type": "string", "title": "Id", "description": "made up when left out"},
        "runtime_env": {"type": "object", "title": "Runtime environment"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}, "title": "Metadata"},
        "entrypoint_num_cpus": {"type": "number", "minimum": 0, "title": "CPUs"},
        "entrypoint_num_gpus": {"type": "number", "minimum": 0, "title": "GPUs"},
    },
}
_STOP_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"trial_id": {"type": "string", "description": "Only this trial of an experiment"}},
}


class ContentsHandler(ApiHandler):
    """Has the manager."""

    @property
    def contents(self) -> ContentsManager:
        manager: ContentsManager = self.settings["rayjup_contents"]
        return manager


class PartHandler(ContentsHandler):
    """A table of the snapshot."""

    @operation("All nodes, tasks by name, or actors of a cluster")
    async def get(self, cluster_id: str, part: str) -> None:
        self.reply({part: (await self.clusters.snapshot(cluster_id))[part]})


class TopicHandler(ContentsHandler):
    """The document of a topic."""

    @operation("; ".join(f"{topic.name}: {topic.about}" for topic in TOPICS.values()))
    async def get(self, cluster_id: str, topic: str) -> None:
        self.reply(await self.contents.document(cluster_id, topic))


class LogHandler(ContentsHandler):
    """A part of a log file."""

    @operation(
        "The last lines of a log file, or what follows a position in it",
        query={
            "node_id": {"type": "string"},
            "name": {"type": "string"},
            "lines": {"type": "integer", "minimum": 1, "maximum": 10_000},
            "start": {"type": "integer", "minimum": 0},
        },
    )
    async def get(self, cluster_id: str) -> None:
        given = {name: self.get_query_argument(name, "") for name in ("node_id", "name")}
        for name, value in given.items():
            if not value:
                raise BadRequest(f"{name} is missing; GET …/logs lists nodes and their files.", field=name)
        start = self.number("start", -1, -1, 1 << 62)
        self.reply(
            await self.contents.log(
                cluster_id,
                given["node_id"],
                given["name"],
                start=start if start >= 0 else None,
                lines=self.number("lines", 500, 1, 10_000),
            )
        )


class StopRunHandler(ContentsHandler):
    """The end of an experiment, of one of its trials, of a training run, of an algorithm."""

    @operation("Ask a run to end", status=202, body=_STOP_SCHEMA)
    async def post(self, cluster_id: str, kind: str, run_id: str) -> None:
        trial = self.json_object("trial_id").get("trial_id")
        if trial is not None and not isinstance(trial, str):
            raise BadRequest("trial_id must be a text.", field="trial_id")
        await self.contents.stop_run(cluster_id, kind, run_id, trial)
        self.reply({"asked": True}, 202)


class SubmitHandler(ContentsHandler):
    """The jobs of a cluster: submit one (listing them is a topic)."""

    @operation("Run a program on the cluster", status=201, body=_JOB_SCHEMA)
    async def post(self, cluster_id: str) -> None:
        body = self.json_object(*_JOB_SCHEMA["properties"])
        if not isinstance(body.get("entrypoint"), str) or not body["entrypoint"].strip():
            raise BadRequest(
                "entrypoint must be the command line of a program, as 'python train.py'.", field="entrypoint"
            )
        made = await self.contents.request(cluster_id, "POST", "/api/jobs/", body)
        self.reply({"submission_id": made["submission_id"]}, 201)


class JobHandler(ContentsHandler):
    """One submitted job."""

    @operation("Everything known of a job")
    async def get(self, cluster_id: str, job: str) -> None:
        self.reply(await self.contents.request(cluster_id, "GET", f"/api/jobs/{quote(job, safe='')}"))

    @operation("Forget a job that has ended, and its log", status=204)
    async def delete(self, cluster_id: str, job: str) -> None:
        await self.contents.request(cluster_id, "DELETE", f"/api/jobs/{quote(job, safe='')}")
        self.set_status(204)
        self.finish()


class JobLogsHandler(ContentsHandler):
    """What a job has printed."""

    @operation("What a job has printed")
    async def get(self, cluster_id: str, job: str) -> None:
        self.reply(await self.contents.request(cluster_id, "GET", f"/api/jobs/{quote(job, safe='')}/logs"))


class StopJobHandler(ContentsHandler):
    """The end of a job."""

    @operation("End a job's program; whether it was running or waiting")
    async def post(self, cluster_id: str, job: str) -> None:
        self.json_object()
        path = f"/api/jobs/{quote(job, safe='')}/stop"
        self.reply(await self.contents.request(cluster_id, "POST", path, {}))


class ApplicationHandler(ContentsHandler):
    """One application of Serve."""

    @operation("Take an application down, with its deployments", status=204)
    async def delete(self, cluster_id: str, name: str) -> None:
        path = f"/api/serve/applications/{quote(name, safe='')}"
        await self.contents.request(cluster_id, "DELETE", path)
        self.set_status(204)
        self.finish()


class DashboardHandler(ContentsHandler):
    """The cluster's dashboard."""

    @operation("Start the cluster's dashboard where it has none; where the proxy shows it")
    async def post(self, cluster_id: str) -> None:
        self.json_object()
        await self.contents.server(cluster_id)
        self.reply({"path": f"rayjup/clusters/{quote(cluster_id, safe='')}/dashboard/"})


_ONE = r"/rayjup/clusters/([^/]+)"
contents_handlers = [
    (rf"{_ONE}/({'|'.join(_PARTS)})", PartHandler),
    (rf"{_ONE}/({'|'.join(TOPICS)})", TopicHandler),
    (rf"{_ONE}/logs/file", LogHandler),
    (rf"{_ONE}/runs/(tune|train|rllib)/([^/]+)/stop", StopRunHandler),
    (rf"{_ONE}/submissions", SubmitHandler),
    (rf"{_ONE}/submissions/([^/]+)", JobHandler),
    (rf"{_ONE}/submissions/([^/]+)/logs", JobLogsHandler),
    (rf"{_ONE}/submissions/([^/]+)/stop", StopJobHandler),
    (rf"{_ONE}/applications/([^/]+)", ApplicationHandler),
    (rf"{_ONE}/dashboard", DashboardHandler),
]
