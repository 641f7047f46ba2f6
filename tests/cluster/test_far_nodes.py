"""What a node of another host adds to operating a cluster: logs that lie there, credentials that change.

The other host is one by declaration: it has a session directory, a runtime directory and credentials of its
own, and everything that passes between the two goes by TCP with TLS.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from support.clusters import poll

from rayjup.cli.app import program
from rayjup.cluster import manager
from rayjup.job_submission import JobStatus, JobSubmissionClient
from rayjup.util import state

pytestmark = pytest.mark.leaks("one cluster for the file; the check per file sees what is left")


def join(places: Any, name: str, resource: str) -> Any:
    """A node as on a machine called so."""
    own = places.directory / name
    own.mkdir()
    shutil.copy(places.cluster.credentials, own / "own.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJUP_HOST", name)
        patch.setenv("JUPYTER_RUNTIME_DIR", str(own))
        node = manager.join(
            places.cluster.network,
            credentials_file=str(own / "own.pem"),
            name=name,
            num_cpus=2,
            resources={resource: 4},
            object_store_memory=80 << 20,
        )
    return SimpleNamespace(info=node, credentials=own / "own.pem")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of this host and another one."""
    cluster = manager.start(
        "places", num_cpus=1, ip="127.0.0.1", object_store_memory=100 << 20, owner_pid=os.getpid()
    )
    made = SimpleNamespace(cluster=cluster, directory=tmp_path_factory.mktemp("places"))
    try:
        made.far = join(made, "far", "far")
        yield made
    finally:
        manager.stop(cluster)


@pytest.fixture(scope="module")
def client(places: Any) -> JobSubmissionClient:
    return JobSubmissionClient("places")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(program, [*arguments, "--address", "places"])
    assert done.exit_code == 0, done.output
    return done.output


def there(client: JobSubmissionClient, entrypoint: str, **more: Any) -> str:
    return client.submit_job(entrypoint=entrypoint, entrypoint_resources={"far": 1}, **more)


def ended(client: JobSubmissionClient, job: str) -> JobStatus:
    poll(lambda: client.get_job_status(job).is_terminal(), 40)
    return client.get_job_status(job)


def test_the_log_of_a_job_is_read_from_where_its_program_runs(
    places: Any, client: JobSubmissionClient
) -> None:
    go = places.directory / "go"
    # The first piece ends within a character, which takes two bytes.
    code = f"printf 'one \\303'; while [ ! -e {go} ]; do sleep 0.02; done; printf '\\251\\n'; seq 300000"
    job = there(client, code)
    poll(lambda: "one" in client.get_job_logs(job), 30)
    assert client.get_job_info(job).driver_node_id == places.far.info.node_id

    async def follow() -> str:
        heard = ""
        async for piece in client.tail_job_logs(job):
            heard += piece
            go.touch()
        return heard

    whole = "one é\n" + "".join(f"{number}\n" for number in range(1, 300_001))  # more than one piece of 1 MiB
    assert asyncio.run(follow()) == whole
    assert ended(client, job) is JobStatus.SUCCEEDED
    assert client.get_job_logs(job) == whole
    assert run("job", "logs", job) == whole
    assert run("logs", "job", "--id", job, "--tail", "2") == "299999\n300000\n"
    assert not Path(places.cluster.session_dir, "logs", f"job-driver-{job}.log").exists()
    file = Path(places.far.info.agent_socket).parents[1] / "logs" / f"job-driver-{job}.log"
    assert file.exists()
    assert client.delete_job(job)
    assert not file.exists()
    with pytest.raises(RuntimeError, match="there is no job"):
        client.get_job_logs(job)
    with pytest.raises(RuntimeError, match="there is no job"):
        asyncio.run(follow())


def test_logs_of_a_job_are_followed_to_its_end_by_the_state_api(
    places: Any, client: JobSubmissionClient
) -> None:
    job = there(client, "echo begun; sleep 0.3; echo done")
    poll(lambda: client.get_job_status(job) is not JobStatus.PENDING, 30)
    assert "".join(state.get_log("places", submission_id=job, follow=True)) == "begun\ndone\n"
    assert ended(client, job) is JobStatus.SUCCEEDED


PRINTING = """
import ray

@ray.remote(resources={"far": 1})
class Speaker:
    def speak(self, word):
        print("the actor says", word)
        return ray.get_runtime_context().get_node_id()

@ray.remote(resources={"far": 1})
def speak(word):
    print("the task says", word)
    return ray.get_runtime_context().get_task_id()

ray.init()
speaker = Speaker.remote()
node = ray.get(speaker.speak.remote("a"))
print(speaker._actor_id.hex(), ray.get(speak.remote("b")), node, flush=True)
import time, sys
time.sleep(1000)
"""


def test_what_actors_and_tasks_print_on_another_node_is_read_by_id(
    places: Any, client: JobSubmissionClient
) -> None:
    (places.directory / "printing.py").write_text(PRINTING)
    job = client.submit_job(entrypoint=f"python {places.directory}/printing.py")
    try:
        poll(lambda: len(client.get_job_logs(job).splitlines()) >= 1 and _ids(client, job), 30)
        actor, task, node = _ids(client, job)
        assert node == places.far.info.node_id
        assert "the actor says a\n" in run("logs", "actor", "--id", actor)
        assert run("logs", "task", "--id", task) == "the task says b\n"
    finally:
        client.stop_job(job)
        ended(client, job)


def _ids(client: JobSubmissionClient, job: str) -> list[str]:
    """Actor, task and node that the program has named."""
    found = [line.split() for line in client.get_job_logs(job).splitlines()]
    return next((words for words in found if len(words) == 3 and len(words[0]) == 32), [])


def test_the_log_of_a_job_goes_with_its_node_and_the_error_says_so(
    places: Any, client: JobSubmissionClient
) -> None:
    gone = join(places, "gone", "gone")
    job = client.submit_job(entrypoint="echo here; exec sleep 1000", entrypoint_resources={"gone": 1})
    poll(lambda: client.get_job_logs(job) == "here\n", 30)
    manager.remove_node(gone.info, graceful=False)
    assert ended(client, job) is JobStatus.FAILED
    for read in (lambda: client.get_job_logs(job), lambda: asyncio.run(_whole(client, job))):
        with pytest.raises(RuntimeError, match=f"lies on the node {gone.info.node_id[:12]}, which does not"):
            read()
    assert client.delete_job(job)
    shutil.rmtree(Path(gone.info.agent_socket).parents[1])  # as with the machine


async def _whole(client: JobSubmissionClient, job: str) -> str:
    return "".join([piece async for piece in client.tail_job_logs(job)])
