"""What a node of another host adds to operating a cluster: logs that lie there, credentials that change.

The other host is one by declaration: it has a session directory, a runtime directory and credentials of its
own, and everything that passes between the two goes by TCP with TLS.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from support.clusters import poll

import rayjup as ray
from rayjup.base.exceptions import RaySystemError
from rayjup.cli.app import program
from rayjup.cluster import dashboards, manager, rotation
from rayjup.job_submission import JobStatus, JobSubmissionClient
from rayjup.util import state

pytestmark = pytest.mark.leaks("one cluster for the file; the check per file sees what is left")


def join(places: Any, name: str, resource: str, credentials: Path | None = None) -> Any:
    """A node as on a machine called so."""
    own = places.directory / name
    own.mkdir()
    shutil.copy(credentials or places.cluster.credentials, own / "own.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYJUP_HOST", name)
        patch.setenv("JUPYTER_RUNTIME_DIR", str(own))
        patch.setenv("RAYJUP_CACHE_DIR", str(own / "cache"))
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


PACKED = """
import helper
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init()

@ray.remote
def word():
    import helper
    return helper.WORD, ray.get_runtime_context().get_node_id()

for node in sorted(ray.nodes(), key=lambda row: "far" not in row["Resources"]):
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    print(*ray.get(word.options(scheduling_strategy=there).remote()))
"""


def test_what_a_job_brings_along_goes_to_the_machines_where_it_runs(
    places: Any, client: JobSubmissionClient
) -> None:
    packed = places.directory / "packed"
    packed.mkdir()
    (packed / "program.py").write_text(PACKED)
    (packed / "helper.py").write_text("WORD = 'packed'")
    (packed / "large.bin").write_bytes(os.urandom(5 << 19))  # more than one piece of 1 MiB
    job = there(client, "python program.py && wc -c < large.bin", runtime_env={"working_dir": str(packed)})
    assert ended(client, job) is JobStatus.SUCCEEDED, client.get_job_logs(job)
    lines = client.get_job_logs(job).splitlines()
    far = places.far.info.node_id
    assert lines[0] == f"packed {far}" and lines[1].startswith("packed ") and far not in lines[1]
    assert lines[2] == str(5 << 19)
    assert list((places.far.credentials.parent / "cache" / "packages").glob("*.zip"))


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
    place = Path(gone.info.agent_socket).parents[1]

    def is_gone() -> bool:  # its processes end only now, and take away what is theirs
        shutil.rmtree(place, ignore_errors=True)
        return not place.exists()

    poll(is_gone)  # as with the machine


async def _whole(client: JobSubmissionClient, job: str) -> str:
    return "".join([piece async for piece in client.tail_job_logs(job)])


def refusal(url: str, token: str) -> int:
    request = urllib.request.Request(f"{url}/api/version", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def lets_in(cluster: Any, credentials: Path) -> bool:
    """Whether the head speaks with who shows these."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what it shows is not the question
    context.load_cert_chain(credentials)
    host, port = cluster.network.split(":")
    try:
        with (
            socket.create_connection((host, int(port)), 30) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return bool(connection.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


def test_credentials_are_exchanged_while_programs_run(places: Any, client: JobSubmissionClient) -> None:
    cluster = places.cluster
    old = places.directory / "old.pem"
    shutil.copy(cluster.credentials, old)
    server = dashboards.read(cluster.session_dir)
    assert server is not None
    ray.init("places")
    try:

        @ray.remote(resources={"far": 1})
        class Counter:
            def __init__(self) -> None:
                self.count = 0

            def add(self) -> int:
                self.count += 1
                return self.count

        @ray.remote
        def ones(name: str) -> tuple[str, Any]:
            return ray.get_runtime_context().get_node_id(), np.ones(1 << 20, np.uint8)

        def fetched_from(name: str) -> str:
            node_id, array = ray.get(ones.options(resources={name: 0.1}).remote(name), timeout=30)
            assert array.sum() == 1 << 20
            return str(node_id)

        counter = Counter.remote()
        assert ray.get(counter.add.remote(), timeout=30) == 1
        said = run("rotate-credentials", "--grace", "600")
        assert f"copy {cluster.credentials} again" in said and "are refused from" in said
        assert lets_in(cluster, old) and lets_in(cluster, Path(cluster.credentials))
        # Both count: with the old file a machine comes in, with the new one, too.
        assert Path(cluster.credentials).read_text() != old.read_text()
        assert places.far.credentials.read_text() == Path(cluster.credentials).read_text()
        first = join(places, "first", "first", old)
        second = join(places, "second", "second", Path(cluster.credentials))
        assert fetched_from("first") == first.info.node_id
        assert fetched_from("second") == second.info.node_id
        new = dashboards.read(cluster.session_dir)
        assert new is not None and new.token != server.token
        assert refusal(server.url, server.token) == refusal(server.url, new.token) == 200
        with pytest.raises(RaySystemError, match="being exchanged already"):
            rotation.rotate(cluster)
        assert ray.get(counter.add.remote(), timeout=30) == 2

        assert "refused now" in run("rotate-credentials", "--end")
        assert refusal(server.url, server.token) == 401
        assert refusal(server.url, new.token) == 200
        assert client.get_version() == "4"  # it had the old token
        assert not lets_in(cluster, old)
        assert lets_in(cluster, Path(cluster.credentials))
        for node in (places.far, first, second):
            assert node.credentials.read_text() == Path(cluster.credentials).read_text()
            assert node.credentials.stat().st_mode & 0o777 == 0o600
        # Who was connected still is, and new connections are made with what is new.
        assert ray.get(counter.add.remote(), timeout=30) == 3
        assert fetched_from("first") == first.info.node_id
        assert fetched_from("far") == places.far.info.node_id
        # So does the next head, for those who know it and for those who come.
        os.kill(cluster.head()[0], signal.SIGKILL)
        assert fetched_from("second") == second.info.node_id
        assert ray.get(counter.add.remote(), timeout=30) == 4
        assert lets_in(cluster, Path(cluster.credentials)) and not lets_in(cluster, old)
        with pytest.raises(RaySystemError, match="waits for its end"):
            rotation.end(cluster)
    finally:
        ray.shutdown()
