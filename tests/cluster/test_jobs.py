"""Programs submitted to a cluster: SDK, REST server and command line."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.clusters import poll

import rayjup
from rayjup.cli.app import program
from rayjup.cluster import dashboards, manager
from rayjup.cluster.descriptors import Descriptor
from rayjup.job_submission import JobStatus, JobSubmissionClient, JobType

RAY_PROGRAM = (
    "import ray; ray.init(); print('sum', sum(ray.get([ray.remote(abs).remote(-i) for i in range(5)])))"
)

# They share a cluster, which forks when it likes; what is left is looked for at the end of the file.
pytestmark = pytest.mark.leaks("the cluster of this file")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Descriptor]:
    descriptor = manager.start("jobs-test", num_cpus=2)
    yield descriptor
    manager.stop(descriptor)


@pytest.fixture(scope="module")
def client(cluster: Descriptor) -> JobSubmissionClient:
    return JobSubmissionClient(cluster.name)


def ended(client: JobSubmissionClient, job: str, timeout_s: float = 40.0) -> JobStatus:
    poll(lambda: client.get_job_status(job).is_terminal(), timeout_s)
    return client.get_job_status(job)


def refusal(request: urllib.request.Request) -> int:
    """The code with which the server refuses it."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=40)
    with refused.value:
        return refused.value.code


def tail(client: JobSubmissionClient, job: str) -> str:
    async def read() -> str:
        return "".join([piece async for piece in client.tail_job_logs(job)])

    return asyncio.run(read())


def test_a_ray_program_runs_unchanged(client: JobSubmissionClient, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(RAY_PROGRAM.replace("; ", "\n"))
    (tmp_path / "helper.py").write_text("WORD = 'from the helper'")
    (tmp_path / "main.py").write_text("import helper, program\nprint(helper.WORD)")
    job = client.submit_job(
        entrypoint="python main.py",
        runtime_env={"working_dir": str(tmp_path), "env_vars": {"COLOUR": "red"}},
        metadata={"owner": "tests"},
    )
    assert job.startswith("raysubmit_")
    assert tail(client, job) == client.get_job_logs(job) == "sum 10\nfrom the helper\n"
    info = client.get_job_info(job)
    assert (info.type, info.status, info.driver_exit_code) == (JobType.SUBMISSION, JobStatus.SUCCEEDED, 0)
    assert info.metadata == {"owner": "tests"} and info.job_id and info.driver_info
    assert info.start_time is not None and info.end_time is not None and info.start_time <= info.end_time


def test_the_jobs_environment_reaches_its_tasks(client: JobSubmissionClient) -> None:
    ask = "ray.get(ray.remote(os.getenv).remote('COLOUR'))"
    code = f"import os, ray; ray.init(); print(os.getenv('COLOUR'), {ask})"
    job = client.submit_job(entrypoint=f'python -c "{code}"', runtime_env={"env_vars": {"COLOUR": "red"}})
    assert tail(client, job) == "red red\n"


def test_a_failure_carries_code_and_last_lines(client: JobSubmissionClient) -> None:
    job = client.submit_job(entrypoint="echo about to fail; exit 3")
    assert ended(client, job) is JobStatus.FAILED
    info = client.get_job_info(job)
    assert info.driver_exit_code == 3 and info.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert info.message == "The entrypoint ended with exit code 3. Its last lines:\nabout to fail"


def test_stop_ends_all_that_was_started(client: JobSubmissionClient, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    job = client.submit_job(entrypoint=f"sleep 1000 & echo $! > {pid}; wait")
    poll(lambda: pid.exists() and pid.read_text().strip(), 40)
    poll(lambda: client.get_job_status(job) is JobStatus.RUNNING)  # said a moment after it has begun
    with pytest.raises(ValueError, match="is RUNNING: stop it before it is deleted"):
        client.delete_job(job)
    assert client.stop_job(job) is True
    assert ended(client, job) is JobStatus.STOPPED
    poll(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    assert client.stop_job(job) is False
    assert client.delete_job(job) is True
    with pytest.raises(RuntimeError, match="there is no job"):
        client.get_job_info(job)


def test_a_program_that_ignores_the_request_is_killed(client: JobSubmissionClient, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); open('{ready}', 'w'); time.sleep(999)"
    job = client.submit_job(
        entrypoint=f'exec python -c "{code}"', runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "0.2"}}
    )
    poll(ready.exists, 40)
    assert client.stop_job(job)
    assert ended(client, job) is JobStatus.STOPPED


def test_jobs_wait_for_their_resources(client: JobSubmissionClient) -> None:
    job = client.submit_job(entrypoint="true", entrypoint_num_cpus=64)
    info = client.get_job_info(job)
    assert info.status is JobStatus.PENDING and "being waited for" in str(info.message)
    assert client.stop_job(job)
    assert ended(client, job) is JobStatus.STOPPED
    assert ended(client, client.submit_job(entrypoint="true", entrypoint_num_cpus=1)) is JobStatus.SUCCEEDED


def test_a_bad_environment_fails_the_job_and_says_so(client: JobSubmissionClient) -> None:
    job = client.submit_job(entrypoint="true", runtime_env={"py_modules": ["https://127.0.0.1:9/none.whl"]})
    assert ended(client, job) is JobStatus.FAILED
    info = client.get_job_info(job)
    assert info.error_type == "RUNTIME_ENV_SETUP_FAILURE", info
    assert "runtime environment could not be made" in str(info.message)


def test_a_killed_supervisor_fails_the_job(client: JobSubmissionClient, cluster: Descriptor) -> None:
    job = client.submit_job(entrypoint="exec sleep 1000")
    poll(lambda: client.get_job_status(job) is JobStatus.RUNNING, 40)
    from rayjup.util import state

    (row,) = state.list_actors(cluster.name, filters=[("name", "=", f"supervisor-{job}")], detail=True)

    def sleeping() -> str:
        command = ["pgrep", "-P", str(row.pid), "-x", "sleep"]
        return subprocess.run(command, capture_output=True, text=True).stdout

    poll(sleeping)  # the shell turns into it a moment after it was started
    sleeper = int(sleeping())
    os.kill(row.pid, signal.SIGKILL)
    assert ended(client, job) is JobStatus.FAILED
    assert client.get_job_info(job).error_type == "JOB_SUPERVISOR_ACTOR_DIED"
    poll(lambda: not Path(f"/proc/{sleeper}").exists())


def test_ids_may_be_chosen_once(client: JobSubmissionClient) -> None:
    assert client.submit_job(entrypoint="true", submission_id="my-job") == "my-job"
    with pytest.raises(ValueError, match="there is a job with the submission id 'my-job' already"):
        client.submit_job(entrypoint="true", submission_id="my-job")
    with pytest.raises(ValueError, match="letters, digits"):
        client.submit_job(entrypoint="true", submission_id="../../etc")
    with pytest.raises(ValueError, match="a job needs an entrypoint"):
        client.submit_job(entrypoint=" ")
    ended(client, "my-job")


def test_jobs_go_on_when_the_server_is_killed(tmp_path: Path) -> None:
    cluster = manager.start("jobs-server", num_cpus=1)
    try:
        client = JobSubmissionClient(cluster.name)
        go = tmp_path / "go"
        job = client.submit_job(entrypoint=f"while [ ! -e {go} ]; do sleep 0.05; done; echo went on")
        poll(lambda: client.get_job_status(job) is JobStatus.RUNNING, 40)
        server = dashboards.read(cluster.session_dir)
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)

        def is_back() -> bool:
            new = dashboards.read(cluster.session_dir)
            return new is not None and new.pid != server.pid

        poll(is_back, 40)
        go.touch()
        assert ended(client, job) is JobStatus.SUCCEEDED  # the same address and token
        assert client.get_job_logs(job) == "went on\n"
    finally:
        manager.stop(cluster)


def test_the_token_is_wanted(
    cluster: Descriptor, client: JobSubmissionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = dashboards.read(cluster.session_dir)
    assert server is not None
    for route in (
        "/",
        "/api/version",
        "/api/jobs/",
        "/api/jobs/x/logs",
        "/api/v0/actors",
        "/nodes",
        "/metrics",
    ):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {server.token}"}):
            request = urllib.request.Request(server.url + route, headers=headers)
            assert refusal(request) == 401
    # A cookie, which a page of another site could make a browser send, changes nothing.
    # Cookies know no ports, so its name tells the servers of a machine apart.
    name = f"rayjup-{hashlib.sha256(server.token.encode()).hexdigest()[:12]}"
    cookie = {"Cookie": f"{name}={server.token}"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{server.url}/api/version", headers=cookie)
    ) as answer:
        assert answer.status == 200
    submit = urllib.request.Request(f"{server.url}/api/jobs/", b'{"entrypoint": "true"}', cookie)
    assert refusal(submit) == 401
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "/nowhere")  # as somebody who cannot read the cluster's files
    with pytest.raises(RuntimeError, match="wants a token: set RAY_AUTH_TOKEN"):
        JobSubmissionClient(server.url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", server.token)
    assert JobSubmissionClient(server.url).get_version() == "4"
    assert oct(Path(cluster.session_dir, "dashboard.json").stat().st_mode & 0o777) == "0o600"


def test_the_state_over_rest(cluster: Descriptor, client: JobSubmissionClient) -> None:
    server = dashboards.read(cluster.session_dir)
    assert server is not None

    def request_of(route: str) -> urllib.request.Request:
        return urllib.request.Request(server.url + route, headers={"Authorization": f"Bearer {server.token}"})

    def get(route: str) -> object:
        request = request_of(route)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    job = client.submit_job(entrypoint="echo over rest")
    ended(client, job)
    nodes = get("/api/v0/nodes?detail=1")
    assert nodes["data"]["result"]["result"][0]["state"] == "ALIVE"  # type: ignore[index]
    query = "filter_keys=class_name&filter_predicates=%3D&filter_values=Dashboard"
    actors = get(f"/api/v0/actors?{query}")
    assert [row["state"] for row in actors["data"]["result"]["result"]] == ["ALIVE"]  # type: ignore[index]
    assert get(f"/api/v0/logs/file?submission_id={job}") == "over rest\n"
    assert "Dashboard" in json.dumps(get("/api/v0/actors/summarize"))
    assert get("/nodes")["data"]["result"]["summary"][0]["alive"] is True  # type: ignore[index]
    assert "ray_actors" in str(get("/metrics"))
    assert get("/api/gcs_healthz") == "success"
    for bad, code in (
        ("/api/v0/tasks?limit=0", 400),
        ("/api/v0/nothing", 404),
        ("/api/v0/tasks?limit=x", 400),
    ):
        assert refusal(request_of(bad)) == code


def test_the_command_line(cluster: Descriptor, client: JobSubmissionClient, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rayjup", "job"]
    (tmp_path / "hello.py").write_text("import sys; print('hello', *sys.argv[1:])")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)

    options = ["--address", cluster.name, "--submission-id", "cli-1", "--working-dir", str(tmp_path)]
    done = run("submit", *options, "--", "python", "hello.py", "--name", "a b")
    assert done.stdout == "hello --name a b\n" and done.returncode == 0, done.stderr
    assert "ended: SUCCEEDED" in done.stderr
    failed = run("submit", "--address", cluster.name, "--", "exit 4")
    assert failed.returncode == 1 and "ended with exit code 4" in failed.stderr
    runner = CliRunner()

    def call(*arguments: str) -> str:
        return runner.invoke(program, ["job", *arguments, "--address", cluster.name]).output

    assert call("logs", "cli-1") == "hello --name a b\n"
    assert call("status", "cli-1").startswith("cli-1: SUCCEEDED")
    assert "cli-1" in call("list")
    assert any(row["submission_id"] == "cli-1" for row in json.loads(call("list", "--format", "json")))
    assert call("stop", "cli-1") == "cli-1 was not running.\n"
    assert call("delete", "cli-1") == "cli-1 is deleted.\n"
    assert "there is no job 'cli-1'" in call("status", "cli-1")
    assert "cli-1" not in call("list")


def test_without_a_cluster_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(ConnectionError, match="there is no running cluster to ask"):
        JobSubmissionClient()
    with pytest.raises(ConnectionError, match=r"nothing answers at http://127\.0\.0\.1:9"):
        JobSubmissionClient("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="listens on this machine only"):
        from rayjup.dashboard.actor import Dashboard

        Dashboard("any", "0.0.0.0", None)


def test_init_starts_the_server_on_request() -> None:
    context = rayjup.init(num_cpus=1, include_dashboard=True)
    try:
        assert context.dashboard_url is not None
        client = JobSubmissionClient(f"http://{context.dashboard_url}")
        assert "hi" in tail(client, client.submit_job(entrypoint="echo hi"))
    finally:
        rayjup.shutdown()
