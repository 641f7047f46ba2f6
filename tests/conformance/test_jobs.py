"""Submitting programs through the SDK, as Ray's job submission guide describes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def client(engine: Callable[[], ModuleType]) -> Iterator[Any]:
    ray = engine()
    context = ray.init(num_cpus=2, include_dashboard=True)
    from ray.job_submission import JobSubmissionClient

    yield JobSubmissionClient(f"http://{context.dashboard_url}")
    ray.shutdown()


def ended(client: Any, job: str) -> Any:
    deadline = time.monotonic() + 60
    while not (status := client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return status


def test_a_job_succeeds(client: Any) -> None:
    from ray.job_submission import JobStatus

    job = client.submit_job(entrypoint="echo hello", metadata={"owner": "me"})
    assert job.startswith("raysubmit_")
    assert ended(client, job) == JobStatus.SUCCEEDED
    assert "hello" in client.get_job_logs(job)
    info = client.get_job_info(job)
    assert info.submission_id == job
    assert info.entrypoint == "echo hello"
    assert info.metadata["owner"] == "me"
    assert info.start_time <= info.end_time
    assert info.driver_exit_code == 0
    assert job in [each.submission_id for each in client.list_jobs()]


def test_a_job_fails(client: Any) -> None:
    from ray.job_submission import JobStatus

    job = client.submit_job(entrypoint="echo before the end; exit 7")
    assert ended(client, job) == JobStatus.FAILED
    info = client.get_job_info(job)
    assert info.driver_exit_code == 7
    assert "before the end" in info.message


def test_environment_variables_and_chosen_ids(client: Any) -> None:
    job = client.submit_job(
        entrypoint="echo value=$COLOUR", submission_id="chosen", runtime_env={"env_vars": {"COLOUR": "red"}}
    )
    assert job == "chosen"
    ended(client, job)
    assert "value=red" in client.get_job_logs(job)
    with pytest.raises((RuntimeError, ValueError), match="chosen"):
        client.submit_job(entrypoint="true", submission_id="chosen")


def test_stop_and_delete(client: Any) -> None:
    from ray.job_submission import JobStatus

    job = client.submit_job(entrypoint="sleep 1000")
    deadline = time.monotonic() + 60
    while client.get_job_status(job) != JobStatus.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert client.stop_job(job) is True
    assert ended(client, job) == JobStatus.STOPPED
    assert client.delete_job(job) is True
    with pytest.raises(RuntimeError):
        client.get_job_status(job)


def test_the_log_is_followed(client: Any) -> None:
    job = client.submit_job(entrypoint="for i in 1 2 3; do echo line $i; sleep 0.1; done")

    async def read() -> str:
        return "".join([piece async for piece in client.tail_job_logs(job)])

    assert [line for line in asyncio.run(read()).splitlines() if line.startswith("line")] == [
        "line 1",
        "line 2",
        "line 3",
    ]


def test_programs_find_the_cluster(client: Any) -> None:
    code = "import ray; ray.init(); print(ray.get(ray.remote(abs).remote(-42)))"
    job = client.submit_job(entrypoint=f'python -c "{code}"')
    ended(client, job)
    assert "42" in client.get_job_logs(job)
