"""``JobSubmissionClient``: submitting and watching jobs over HTTP."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rayjup.cluster import dashboards
from rayjup.core import packing
from rayjup.core.environments import Environments
from rayjup.jobs.models import JobDetails, JobStatus
from rayjup.jobs.packages import SCHEME
from rayjup.runtime_env import RuntimeEnv

_TIMEOUT_S = 60.0
_NORMAL_ENDS = (1000, 1001, 1005)  # of a websocket


class JobSubmissionClient:
    """Submits programs to a cluster and looks after them.

    Parameters
    ----------
    address
        ``http://host:port`` of the cluster's dashboard, or the name, id or address of a cluster of this user,
        whose dashboard is started where it has none. None: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or the
        only cluster that runs.
    create_cluster_if_needed
        Start a cluster when none runs.
    cookies, headers
        Sent with each request; for proxies that want to see them.
    metadata
        Added to the metadata of each job.
    verify
        Whether certificates are checked, or the file with those that are trusted.

    Raises
    ------
    ConnectionError
        Nobody answers there.
    RuntimeError
        The server wants another token.

    Examples
    --------
    >>> import asyncio, rayjup
    >>> from rayjup.job_submission import JobSubmissionClient, JobStatus
    >>> context = rayjup.init(num_cpus=1)
    >>> client = JobSubmissionClient(context.address_info["cluster_id"])
    >>> job = client.submit_job(entrypoint="echo hello")
    >>> async def lines():
    ...     return [text async for text in client.tail_job_logs(job)]
    >>> "".join(asyncio.run(lines()))
    'hello\\n'
    >>> client.get_job_status(job) is JobStatus.SUCCEEDED
    True
    >>> rayjup.shutdown()
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        verify: str | bool | None = True,
        **kwargs: Any,
    ) -> None:
        if create_cluster_if_needed:
            _have_a_cluster(address)
        self._address = address
        self._server = dashboards.find(address)
        self._metadata = dict(metadata or {})
        self._headers = {str(name): str(value) for name, value in (headers or {}).items()}
        if cookies:
            self._headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._shows_found = "Authorization" not in self._headers
        if self._server.token and self._shows_found:
            self._headers["Authorization"] = f"Bearer {self._server.token}"
        self._tls = _tls(verify) if self._server.url.startswith("https") else None
        self.get_version()

    @property
    def address(self) -> str:
        """Of the server."""
        return self._server.url

    def get_version(self) -> str:
        """Version of the REST API."""
        return str(self._ask("GET", "/api/version")["version"])

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: dict[str, Any] | RuntimeEnv | None = None,
        metadata: dict[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: int | float | None = None,
        entrypoint_num_gpus: int | float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: dict[str, float] | None = None,
        entrypoint_label_selector: dict[str, str] | None = None,
    ) -> str:
        """Start a program on the cluster.

        Parameters
        ----------
        entrypoint
            Its command line.
        runtime_env
            The job's runtime environment. Directories in ``working_dir`` and ``py_modules`` are uploaded.
        metadata
            Noted down with the job.
        submission_id, job_id
            Its id; made up where not given. ``job_id`` is the older name.
        entrypoint_num_cpus, entrypoint_num_gpus, entrypoint_memory, entrypoint_resources
            Reserved for the program itself, beside what its tasks and actors ask for; memory in bytes.
        entrypoint_label_selector
            Labels of the node it runs on.

        Returns
        -------
        str
            The submission id.
        """
        body = {
            "entrypoint": entrypoint,
            "submission_id": submission_id or job_id,
            "runtime_env": self._uploaded(runtime_env),
            "metadata": {**self._metadata, **(metadata or {})},
            "entrypoint_num_cpus": entrypoint_num_cpus,
            "entrypoint_num_gpus": entrypoint_num_gpus,
            "entrypoint_memory": entrypoint_memory,
            "entrypoint_resources": entrypoint_resources,
            "entrypoint_label_selector": entrypoint_label_selector,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return str(self._ask("POST", "/api/jobs/", given)["submission_id"])

    def stop_job(self, job_id: str) -> bool:
        """Have a job end; whether it was running. It has ended when its status says so."""
        return bool(self._ask("POST", f"/api/jobs/{_quote(job_id)}/stop")["stopped"])

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that has ended, and its log."""
        return bool(self._ask("DELETE", f"/api/jobs/{_quote(job_id)}")["deleted"])

    def get_job_info(self, job_id: str) -> JobDetails:
        """What is known of a job."""
        return JobDetails(**self._ask("GET", f"/api/jobs/{_quote(job_id)}"))

    def list_jobs(self) -> list[JobDetails]:
        """All jobs of the cluster, also drivers that connected themselves."""
        return [JobDetails(**row) for row in self._ask("GET", "/api/jobs/")]

    def get_job_status(self, job_id: str) -> JobStatus:
        """What a job is at."""
        return self.get_job_info(job_id).status

    def get_job_logs(self, job_id: str) -> str:
        """All that the program has printed up to now."""
        return str(self._ask("GET", f"/api/jobs/{_quote(job_id)}/logs")["logs"])

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """What the program prints, piece by piece, from its beginning to the end of the job.

        Raises
        ------
        RuntimeError
            There is no such job, or the node with its log is gone.
        """
        from tornado.httpclient import HTTPClientError, HTTPRequest
        from tornado.websocket import websocket_connect

        url = f"{self._server.url}/api/jobs/{_quote(job_id)}/logs/tail".replace("http", "ws", 1)
        while True:
            try:
                request = HTTPRequest(url, headers=self._headers, ssl_options=self._tls)
                socket = await websocket_connect(request)
                break
            except HTTPClientError as error:
                if error.code != 401 or not self._has_another_token():
                    raise RuntimeError(
                        f"the log of the job {job_id!r} cannot be read: {error.message}"
                    ) from error
        try:
            while (piece := await socket.read_message()) is not None:
                yield piece if isinstance(piece, str) else piece.decode()
            if socket.close_code not in (None, *_NORMAL_ENDS):
                raise RuntimeError(f"the log of the job {job_id!r} ends here: {socket.close_reason}")
        finally:
            socket.close()

    # ------------------------------------------------------------ requests

    def _ask(self, method: str, path: str, body: Any = None, data: bytes | None = None) -> Any:
        headers = dict(self._headers)
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif data is not None:  # else it would be read as a form
            headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(self._server.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=self._tls) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:  # it is the answer, too, and has its socket
                refusal = self._refusal(error.code, error.read().decode(errors="replace"), path)
            if error.code == 401 and self._has_another_token():
                return self._ask(method, path, body, data)
            raise refusal from None
        except (urllib.error.URLError, TimeoutError) as error:
            reason = getattr(error, "reason", error)
            raise ConnectionError(
                f"nothing answers at {self._server.url}: {reason}. Is the cluster running? 'rayjup clusters' "
                "lists those of this user, 'rayjup dashboard' starts the server of one."
            ) from error
        return json.loads(text) if text else {}

    def _has_another_token(self) -> bool:
        """Whether the server's token was exchanged, and we have the new one now."""
        if not self._shows_found:
            return False
        found = dashboards.find(self._address, may_start=False)
        if found.url != self._server.url or found.token in ("", self._server.token):
            return False
        self._server = found
        self._headers["Authorization"] = f"Bearer {found.token}"
        return True

    def _refusal(self, code: int, text: str, path: str) -> Exception:
        if code in (401, 403):
            return RuntimeError(
                f"{self._server.url} wants a token: set RAY_AUTH_TOKEN to what 'rayjup get-auth-token' "
                "prints on the machine of the cluster."
            )
        if code == 400:
            return ValueError(text)
        return RuntimeError(f"{self._server.url}{path} answered {code}: {text}")

    def _uploaded(self, runtime_env: dict[str, Any] | RuntimeEnv | None) -> dict[str, Any] | None:
        """The environment with what lies on this machine uploaded, and named as the cluster has it."""
        if not runtime_env:
            return None
        environments = Environments()
        try:
            resolved = environments.resolve(RuntimeEnv(**runtime_env))
            if isinstance(resolved.get("working_dir"), str):
                resolved["working_dir"] = self._upload(resolved["working_dir"])
            if "py_modules" in resolved:
                resolved["py_modules"] = [self._upload(item) for item in resolved["py_modules"]]
        finally:
            environments.close()
        return resolved

    def _upload(self, uri: str) -> str:
        path = packing.path_of(uri)
        if path is None:
            return uri  # not of this machine
        name = os.path.basename(path)
        route = f"/api/packages/gcs/{name}"
        if not self._ask("GET", route).get("there"):
            self._ask("PUT", route, data=Path(path).read_bytes())
        return SCHEME + name


def _have_a_cluster(address: str | None) -> None:
    from rayjup.cluster import descriptors, manager

    if address is None and not descriptors.list_clusters():
        manager.start(started_by="jobs")


def _tls(verify: str | bool | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _quote(job_id: str) -> str:
    return urllib.parse.quote(job_id, safe="")
