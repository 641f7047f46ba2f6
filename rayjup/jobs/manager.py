"""Submitting, stopping and deleting jobs, and noticing those whose supervisor is gone."""

from __future__ import annotations

import asyncio
import codecs
import re
import secrets
import string
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import rayjup
from rayjup.base.exceptions import RayActorError, RayError, RuntimeEnvSetupError
from rayjup.core.environments import Environments
from rayjup.jobs import logs, table
from rayjup.jobs.models import JobDetails, JobErrorType, JobInfo, JobStatus
from rayjup.jobs.packages import Packages
from rayjup.jobs.supervisor import NAMESPACE, Supervisor, name_of, options_of
from rayjup.runtime_env import RuntimeEnv
from rayjup.util import state
from rayjup.util.state import _source, _tables
from rayjup.util.state._options import DEFAULT_RPC_TIMEOUT

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_LETTERS = string.ascii_letters + string.digits
_POLL_S = 0.1


class JobManager:
    """The jobs of the cluster that this process is connected to.

    Parameters
    ----------
    cluster
        Id of the cluster, for the programs' RAY_ADDRESS.
    session_dir
        Its session directory.
    """

    def __init__(self, cluster: str, session_dir: str) -> None:
        self.cluster = cluster
        self.session_dir = session_dir
        self.packages = Packages(session_dir)
        self._environments = Environments()
        self._watching: dict[str, asyncio.Task[None]] = {}

    async def submit(
        self,
        entrypoint: str,
        *,
        submission_id: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        **resources: Any,
    ) -> str:
        """Start a program on the cluster; its submission id.

        Raises
        ------
        ValueError
            The id is taken, or something is not what it should be.
        """
        if not isinstance(entrypoint, str) or not entrypoint.strip():
            raise ValueError(
                "a job needs an entrypoint: the command line of its program, as 'python train.py'"
            )
        submission_id = submission_id or f"raysubmit_{''.join(secrets.choice(_LETTERS) for _ in range(16))}"
        if not _ID.fullmatch(submission_id):
            raise ValueError(f"the submission id {submission_id!r} may have letters, digits and _ . : - only")
        for name, value in (metadata or {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ValueError(f"metadata must be names and texts; {name!r}: {value!r} is not")
        info = JobInfo(
            JobStatus.PENDING,
            entrypoint,
            start_time=int(time.time() * 1000),
            metadata=metadata or {},
            runtime_env=self._portable(runtime_env),
            **resources,
        )
        if not table.enter(submission_id, info):
            raise ValueError(
                f"there is a job with the submission id {submission_id!r} already: choose another"
            )
        try:
            actor = (
                rayjup.remote(Supervisor)
                .options(**options_of(submission_id, info))
                .remote(submission_id, self.cluster)
            )
        except (TypeError, ValueError, RayError) as error:
            table.delete(submission_id)
            raise ValueError(f"the job cannot be started: {error}") from error
        self._watch(submission_id, actor, actor.run.remote())
        return submission_id

    def _portable(self, runtime_env: dict[str, Any] | None) -> dict[str, Any]:
        """The environment as nodes on all machines can make it: without paths of this one."""
        given = self.packages.resolved(runtime_env)
        return self._environments.resolve(RuntimeEnv(**given)) if given else {}

    def adopt(self) -> None:
        """Watch the jobs that another process had been watching."""
        for submission_id in table.ids():
            info = table.get(submission_id)
            if info is not None and not info.status.is_terminal() and submission_id not in self._watching:
                self._watch(submission_id, None, None)

    def _watch(self, submission_id: str, actor: Any, running: Any) -> None:
        task = asyncio.ensure_future(self._wait(submission_id, actor, running))
        self._watching[submission_id] = task
        task.add_done_callback(lambda _: self._watching.pop(submission_id, None))

    async def _wait(self, submission_id: str, actor: Any, running: Any) -> None:
        """Until the job has ended; where its supervisor ends first, the job has failed."""
        error: RayError | ValueError | None = None
        try:
            if running is not None:
                await running
            else:
                actor = rayjup.get_actor(name_of(submission_id), NAMESPACE)
                while not _ended(submission_id):
                    await actor.ping.remote()
                    await asyncio.sleep(1.0)
        except (RayError, ValueError) as caught:
            error = caught
        info = table.get(submission_id)
        if info is not None and not info.status.is_terminal():
            info.status = JobStatus.FAILED
            info.end_time = int(time.time() * 1000)
            info.error_type = _kind(error)
            info.message = f"The process that ran the job has ended: {error}"
            if isinstance(error, RuntimeEnvSetupError):
                info.message = f"The runtime environment could not be made: {error}"
            table.put(submission_id, info)
        if actor is not None:
            rayjup.kill(actor)

    def info(self, job_id: str) -> JobDetails | None:
        """One job, by its submission id or by the id of its driver."""
        source = _source.find()
        try:
            row = _tables.submitted_job(source, job_id, DEFAULT_RPC_TIMEOUT)
        finally:
            source.close()
        if row is not None:
            return JobDetails(**{name: row[name] for name in JobDetails.__dataclass_fields__})
        return next((job for job in self.list() if job_id in (job.submission_id, job.job_id)), None)

    def list(self) -> list[JobDetails]:
        """All jobs: submitted ones, and drivers that connected themselves."""
        rows = state.list_jobs(limit=10_000, detail=True, raise_on_missing_output=False)
        names = JobDetails.__dataclass_fields__
        return [JobDetails(**{name: getattr(row, name) for name in names}) for row in rows]

    async def stop(self, submission_id: str) -> bool:
        """Have a job's program end; whether it was running or waiting."""
        info = self._known(submission_id)
        if info.status.is_terminal():
            return False
        try:
            actor = rayjup.get_actor(name_of(submission_id), NAMESPACE)
        except ValueError:
            if _ended(submission_id):
                return False
            raise
        if info.status is JobStatus.PENDING:
            info.status, info.message = JobStatus.STOPPED, "The job was stopped before it had started."
            info.end_time = int(time.time() * 1000)
            table.put(submission_id, info)
            rayjup.kill(actor)
            return True
        try:
            return bool(await actor.stop.remote())
        except RayActorError:
            # The program may end so fast that its supervisor is gone before it has answered.
            now = table.get(submission_id)
            if now is None or now.status.is_terminal():
                return now is not None and now.status is JobStatus.STOPPED
            raise

    def delete(self, submission_id: str) -> bool:
        """Forget a job that has ended, and its log."""
        info = self._known(submission_id)
        if not info.status.is_terminal():
            raise ValueError(f"the job {submission_id!r} is {info.status}: stop it before it is deleted")
        logs.remove(self.session_dir, submission_id, info.driver_node_id)
        return table.delete(submission_id)

    async def logs(self, submission_id: str) -> str:
        """What the program has printed up to now."""
        self._known(submission_id)
        return "".join([piece async for piece in self._pieces(submission_id, lambda: True)])

    async def tail(self, submission_id: str) -> AsyncIterator[str]:
        """What the program prints, from its beginning to the job's end."""
        self._known(submission_id)
        async for piece in self._pieces(submission_id, lambda: _ended(submission_id)):
            yield piece

    async def _pieces(self, submission_id: str, is_over: Callable[[], bool]) -> AsyncIterator[str]:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a piece may end within a character
        offset = 0
        while True:
            over = is_over()
            info = table.get(submission_id)
            node_id = info.driver_node_id if info is not None else None
            try:
                while piece := await asyncio.to_thread(
                    logs.read_on, self.session_dir, submission_id, node_id, offset
                ):
                    offset += len(piece)
                    yield decode(piece)
            except LookupError:
                if over:
                    raise  # else its node may come back, or the job is about to fail with it
            if over:
                return
            await asyncio.sleep(_POLL_S)

    def _known(self, submission_id: str) -> JobInfo:
        info = table.get(submission_id)
        if info is None:
            raise LookupError(f"there is no job with the submission id {submission_id!r}")
        return info


def _ended(submission_id: str) -> bool:
    info = table.get(submission_id)
    return info is None or info.status.is_terminal()


def _kind(error: Exception | None) -> JobErrorType:
    if isinstance(error, RuntimeEnvSetupError):
        return JobErrorType.RUNTIME_ENV_SETUP_FAILURE
    if isinstance(error, (RayActorError, ValueError)):
        return JobErrorType.JOB_SUPERVISOR_ACTOR_DIED
    return JobErrorType.JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE
