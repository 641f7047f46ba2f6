"""Several drivers on one cluster."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def driver(tmp_path):
    """Starts a second driver: a fresh Python process that runs ``body`` joined to this cluster."""
    started = []

    def start(body, namespace="shared"):
        address = ray.get_runtime_context().gcs_address
        head = f"import ray\nray.init(address={address!r}, namespace={namespace!r}, log_to_driver=False)\n"
        program = tmp_path / f"driver{len(started)}.py"
        program.write_text(head + textwrap.dedent(body))
        launcher = [] if ray.__name__ == "ray" else ["-m", f"{ray.__name__}.as_ray"]
        process = subprocess.Popen(
            [sys.executable, *launcher, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(timeout=30)
        for stream in (process.stdin, process.stdout):
            stream.close()


def answer(process):
    """The first line the driver prints that begins with "answer: ", or None when it ends without one."""
    for line in process.stdout:
        if line.startswith("answer: "):
            return line.removeprefix("answer: ").strip()
    return None


COUNTER = """
@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n
"""


def test_a_second_driver_joins_and_works(driver):
    process = driver(
        """
        @ray.remote
        def one():
            return 1

        context = ray.get_runtime_context()
        total = sum(ray.get([one.remote() for _ in range(5)]))
        print("answer:", total, context.get_job_id(), context.get_node_id())
        """
    )
    total, job, node = answer(process).split()
    assert total == "5"
    assert job != ray.get_runtime_context().get_job_id()
    assert node == ray.nodes()[0]["NodeID"]


def test_a_detached_actor_outlives_its_driver(driver):
    first = driver(COUNTER + 'c = Counter.options(name="kept", lifetime="detached").remote()\n'
                   + 'print("answer:", ray.get(c.add.remote()))\n')  # fmt: skip
    assert answer(first) == "1"
    first.stdin.close()
    assert first.wait(timeout=30) == 0
    found = ray.get_actor("kept", namespace="shared")
    assert ray.get(found.add.remote(), timeout=60) == 2
    second = driver('print("answer:", ray.get(ray.get_actor("kept").add.remote()))\n')
    assert answer(second) == "3"
    ray.kill(found)


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_other_actors_end_with_their_driver(driver, eventually, end):
    process = driver(
        COUNTER
        + f'c = Counter.options(name="bound-{end}").remote()\n'
        + 'print("answer:", ray.get(c.add.remote()), flush=True)\ninput()\n'
    )
    assert answer(process) == "1"
    assert ray.get(ray.get_actor(f"bound-{end}", namespace="shared").add.remote()) == 2
    if end == "kill":
        os.kill(process.pid, signal.SIGKILL)
    else:
        process.stdin.write("\n")
        process.stdin.close()
    process.wait(timeout=30)

    def gone():
        try:
            ray.get_actor(f"bound-{end}", namespace="shared")
        except ValueError:
            return True
        return False

    eventually(gone, timeout_s=60)


def test_names_are_private_to_a_namespace(driver):
    @ray.remote(num_cpus=0)
    class Here:
        def ok(self):
            return "ok"

    actor = Here.options(name="from-here").remote()
    assert ray.get(actor.ok.remote()) == "ok"
    process = driver(
        """
        try:
            ray.get_actor("from-here")
        except ValueError:
            print("answer: not here")
        """,
        namespace="another",
    )
    assert answer(process) == "not here"
