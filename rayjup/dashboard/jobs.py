"""``/api/jobs/…`` and ``/api/packages/…``: what `JobSubmissionClient` asks for."""

from __future__ import annotations

import dataclasses
from typing import Any

from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from rayjup._version import __version__
from rayjup.dashboard.auth import Handler, Token
from rayjup.jobs.manager import JobManager

API_VERSION = "4"
_FIELDS = {
    "entrypoint",
    "submission_id",
    "job_id",
    "runtime_env",
    "metadata",
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
    "entrypoint_resources",
    "entrypoint_label_selector",
}


class JobHandler(Handler):
    """Has the manager."""

    manager: JobManager


class Version(JobHandler):
    """``GET /api/version``."""

    def get(self) -> None:
        self.reply(
            {
                "version": API_VERSION,
                "ray_version": "2.60.0",
                "rayjup_version": __version__,
                "ray_commit": "",
                "session_name": self.manager.cluster,
            }
        )


class Jobs(JobHandler):
    """``GET`` and ``POST /api/jobs/``."""

    def get(self) -> None:
        self.reply([dataclasses.asdict(job) for job in self.manager.list()])

    async def post(self) -> None:
        given = self.body()
        unknown = sorted(set(given) - _FIELDS)
        if unknown:
            raise HTTPError(400, f"a job has no {', '.join(unknown)}; it has: {', '.join(sorted(_FIELDS))}")
        submission_id = given.pop("submission_id", None) or given.pop("job_id", None)
        given.pop("job_id", None)
        entrypoint = given.pop("entrypoint", "")
        made = await self.manager.submit(entrypoint, submission_id=submission_id, **given)
        self.reply({"job_id": made, "submission_id": made})


class Job(JobHandler):
    """``GET`` and ``DELETE /api/jobs/ID``."""

    def get(self, job_id: str) -> None:
        job = self.manager.info(job_id)
        if job is None:
            raise HTTPError(404, f"there is no job {job_id!r}")
        self.reply(dataclasses.asdict(job))

    def delete(self, job_id: str) -> None:
        self.reply({"deleted": self.manager.delete(job_id)})


class JobLogs(JobHandler):
    """``GET /api/jobs/ID/logs``."""

    async def get(self, job_id: str) -> None:
        self.reply({"logs": await self.manager.logs(job_id)})


class JobStop(JobHandler):
    """``POST /api/jobs/ID/stop``."""

    async def post(self, job_id: str) -> None:
        self.reply({"stopped": await self.manager.stop(job_id)})


class JobTail(WebSocketHandler, JobHandler):
    """``/api/jobs/ID/logs/tail``: a websocket that ends with the job."""

    async def open(self, *args: str, **kwargs: str) -> None:
        try:
            async for piece in self.manager.tail(args[0]):
                await self.write_message(piece)
        except LookupError as error:
            self.close(1008, str(error.args[0])[:120])
            return
        except WebSocketClosedError:
            return
        self.close()

    def on_message(self, message: Any) -> None:
        """Nothing is asked over this socket."""


class Package(JobHandler):
    """``GET`` and ``PUT /api/packages/PROTOCOL/NAME``."""

    def get(self, protocol: str, name: str) -> None:
        self.reply({"there": self.manager.packages.has(name)})

    def put(self, protocol: str, name: str) -> None:
        self.manager.packages.put(name, self.request.body)
        self.reply({})


def routes(manager: JobManager, token: Token) -> list[tuple[str, Any, dict[str, Any]]]:
    """Patterns, handlers and what these are given."""
    given = {"manager": manager, "token": token}
    return [
        (r"/api/version", Version, given),
        (r"/api/jobs/?", Jobs, given),
        (r"/api/jobs/([^/]+)", Job, given),
        (r"/api/jobs/([^/]+)/logs", JobLogs, given),
        (r"/api/jobs/([^/]+)/logs/tail", JobTail, given),
        (r"/api/jobs/([^/]+)/stop", JobStop, given),
        (r"/api/packages/([a-z0-9]+)/([^/]+)", Package, given),
    ]
