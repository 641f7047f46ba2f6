"""The command line, from starting a cluster to stopping it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.clusters import poll

import rayjup
from rayjup.cli.app import program
from rayjup.cluster import descriptors, manager

# They share a cluster, which forks when it likes; what is left is looked for at the end of the file.
pytestmark = pytest.mark.leaks("the cluster of this file")


def run(*arguments: str, ok: bool = True) -> Result:
    result = CliRunner().invoke(program, list(arguments), prog_name="rayjup")
    assert (result.exit_code == 0) == ok, result.output + repr(result.exception)
    return result


def records(*arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run(*arguments, "--format", "json").output)
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    descriptor = manager.start("cli-test", num_cpus=2)
    yield descriptor.name
    rayjup.shutdown()
    manager.stop(descriptor)


@pytest.fixture(scope="module")
def work(cluster: str) -> Iterator[dict[str, object]]:
    """A driver with an actor, an object and tasks on that cluster."""
    rayjup.init(cluster, namespace="tests")

    @rayjup.remote
    class Keeper:
        def say(self) -> None:
            print("a line of the keeper")

    @rayjup.remote
    def add(a: int, b: int) -> int:
        return a + b

    keeper = Keeper.options(name="keeper").remote()
    rayjup.get(keeper.say.remote())
    kept = rayjup.put(bytes(1 << 20))
    assert rayjup.get([add.remote(i, 1) for i in range(3)]) == [1, 2, 3]
    yield {"keeper": keeper, "kept": kept}


def test_help_names_every_command_and_each_has_its_own() -> None:
    listed = run("--help").output
    for name in program.list_commands(None):  # type: ignore[arg-type]
        assert f"  {name} " in listed
        assert "Usage: rayjup " + name in run(name, "--help").output


def test_start_and_stop_as_a_user_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rayjup"]
    started = subprocess.run(
        [*command, "start", "--head", "--name", "mine", "--num-cpus", "1", "--labels", "disk=ssd"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    assert "rayjup stop mine" in started.stdout
    node = subprocess.run(
        [*command, "start", "--address", "mine", "--num-cpus", "3", "--name", "second"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "Node second" in node.stdout, node.stderr
    program_ = tmp_path / "program.py"
    program_.write_text("import ray\nray.init()\nprint(ray.cluster_resources()['CPU'], len(ray.nodes()))")
    done = subprocess.run(
        [sys.executable, "-m", "rayjup.as_ray", str(program_)],
        env={**os.environ, "RAY_ADDRESS": "mine"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["4.0", "2"], done.stderr
    assert [row["name"] for row in records("clusters")].count("mine") == 1
    assert run("stop", "mine").output == "Stopped: mine.\n"
    assert descriptors.find("mine") is None


def test_start_that_blocks_ends_with_an_interrupt() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rayjup",
            "start",
            "--head",
            "--name",
            "blocking",
            "--num-cpus",
            "1",
            "--block",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().startswith("Cluster blocking runs")
        while "to stop it" not in (line := process.stdout.readline()):
            assert line, "it has ended by itself"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert descriptors.find("blocking") is None


def test_status(cluster: str, work: dict[str, object]) -> None:
    text = run("status", "--address", cluster).output
    assert "Cluster cli-test" in text
    assert " of 2 CPU" in text
    # What the calls of before had asked for is given up a moment later.
    poll(lambda: "Waiting for resources\n  nothing" in run("status", "--address", cluster).output)
    assert run("health-check", "--address", cluster).output == ""


def test_list_get_and_summary(cluster: str, work: dict[str, object]) -> None:
    (actor,) = records("list", "actors", "--address", cluster, "--filter", "state=ALIVE", "--detail")
    assert (actor["class_name"], actor["name"]) == ("Keeper", "keeper")
    assert json.loads(
        run("get", "actors", str(actor["actor_id"]), "--address", cluster, "--format", "json").output
    )["name"] == "keeper"  # fmt: skip
    asked = ("list", "tasks", "--address", cluster, "--filter", "name=add", "--limit", "2")
    poll(lambda: [row["state"] for row in records(*asked)] == ["FINISHED"] * 2, 30)
    tasks = records(*asked)
    table = run("list", "tasks", "--address", cluster).output
    assert "Total: " in table and "TASK_ID" in table
    assert str(tasks[0]["task_id"]) in table  # ids are never cut
    assert "add" in run("summary", "tasks", "--address", cluster).output
    assert "Keeper" in run("summary", "actors", "--address", cluster).output
    assert run("summary", "objects", "--address", cluster, "--format", "yaml").output.startswith("cluster:")
    assert "List of placement-groups" in run("list", "placement-groups", "--address", cluster).output


def test_memory_shows_what_is_kept(cluster: str, work: dict[str, object]) -> None:
    text = run("memory", "--address", cluster, "--units", "MB").output
    assert work["kept"].hex() in text  # type: ignore[attr-defined]
    assert "of its store used" in text
    assert work["kept"].hex() not in run("memory", "--address", cluster, "--stats-only").output  # type: ignore[attr-defined]


def test_logs_of_actors_and_files(cluster: str, work: dict[str, object]) -> None:
    (actor,) = records("list", "actors", "--address", cluster, "--detail")
    by_id = run("logs", "actor", "--id", str(actor["actor_id"]), "--address", cluster)
    by_pid = run("logs", "worker", "--pid", str(actor["pid"]), "--address", cluster)
    assert "a line of the keeper" in by_id.output and by_id.output == by_pid.output
    assert "cluster.log" in run("logs", "cluster", "*.log", "--address", cluster).output
    assert run("logs", "cluster.log", "--tail", "1", "--address", cluster).exit_code == 0
    assert "no log file fits" in run("logs", "nothing.*", "--address", cluster, ok=False).output


def test_timeline_and_stack(cluster: str, work: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "trace.json"

    def shows_tasks() -> bool:
        run("timeline", "--address", cluster, "--output", str(path))
        return any(event.get("cat", "").startswith("task") for event in json.loads(path.read_text()))

    poll(shows_tasks, 30)
    result = CliRunner().invoke(program, ["stack", "--address", cluster])
    assert "==== head" in result.output or "pip install py-spy" in result.output


def test_kill_actor() -> None:
    descriptor = manager.start("cli-kill", num_cpus=1)
    script = (
        "import rayjup\n"
        "rayjup.init('cli-kill', namespace='space')\n"
        "@rayjup.remote(num_cpus=0)\n"
        "class Some: pass\n"
        "a = Some.options(name='victim', lifetime='detached').remote()\n"
        "rayjup.get(a.__ray_ready__.remote())\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    command = [sys.executable, "-m", "rayjup", "kill-actor", "--address", "cli-kill", "--name", "victim"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout == "Ended the actor victim.\n", done.stderr
        again = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert again.returncode == 1 and "no actor named 'victim'" in again.stderr
    finally:
        manager.stop(descriptor)


def test_doctor() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rayjup", "doctor"], capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ a cluster: started, ran a task and stopped in" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["start"], "say either --head, for a new cluster, or --address"),
        (["start", "--head", "--resources", "[1]"], "is not a JSON object"),
        (["start", "--head", "--labels", "ssd"], "is no label: write key=value"),
        (["list", "tasks", "--filter", "name"], "is no filter: write key=value or key!=value"),
        (["stop", "no-such-cluster"], "there is no running cluster 'no-such-cluster'"),
        (["logs", "actor"], "say which actor: --id or --pid"),
        (["get", "actors", "00", "--address", "no-such-cluster"], "no running cluster 'no-such-cluster'"),
    ],
)
def test_bad_input_is_explained(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(program, arguments, prog_name="rayjup")
    assert result.exit_code in (1, 2)
    assert text in " ".join(result.output.split())
