"""The contract of launchers, the same for all: processes, pods, clouds, YARN, ssh, Slurm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import backends, programs, slurm
from support.clouds import FakeGoogle, Hypervisor
from support.clusters import poll
from support.launcher_contract import CONTRACT
from support.machines import Lab, lab, why_no_ssh
from support.ports import quiet_port

from rayjup.cluster import descriptors, manager

pytestmark = pytest.mark.leaks("a launcher's cluster runs until the end of the file")


@pytest.fixture(scope="module")
def machines() -> Iterator[Lab]:
    with lab("a b c", cluster=False) as made:
        made.slurm = slurm.start(made, "b c") if not slurm.why_no_slurm() else {}  # type: ignore[attr-defined]
        if not why_no_ssh():
            for name in "bc":
                made.start_sshd(name)
            poll(lambda: all(("0.0.0.0", 22) in made.listening(name) for name in "bc"))
        yield made


def on_first(grid: Lab, *command: str, timeout_s: float = 110.0) -> str:
    process = grid.machines["a"].start(
        *(sys.executable, *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        environ=grid.slurm,  # type: ignore[attr-defined]
    )
    said, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, said
    return str(said)


@pytest.fixture(scope="module")
def on_machines(machines: Lab) -> Iterator[Callable[..., str]]:
    """A cluster on the first machine that lets others in; runs the contract there."""
    a = machines.machines["a"]
    head = ("start", "--head", "--name", "grid", "--node-ip-address", a.address, "--port", "6379")
    on_first(machines, "-m", "rayjup", *head, "--num-cpus", "1", "--no-dashboard")

    def check(options: dict[str, object], nowhere: dict[str, object]) -> str:
        return on_first(
            machines, "-c", CONTRACT, "grid", json.dumps(options), json.dumps(nowhere), '["three"]'
        )

    yield check
    on_first(machines, "-m", "rayjup", "stop", "grid")
    poll(lambda: not any(machines.programs(name, "rayjup.cluster") for name in "abc"), 40)


def by_ssh(machines: Lab) -> dict[str, object]:
    tmp, keys = machines.machines["a"].tmp, machines.directory / "ssh"
    environment = {"TMPDIR": tmp, "JUPYTER_RUNTIME_DIR": tmp, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return {
        "user": "root",
        "key": str(keys / "user"),
        "known_hosts": str(keys / "known"),
        "directory": f"{tmp}/own",
        "environment": environment,
    }


@pytest.fixture
def blue() -> Iterator[descriptors.Descriptor]:
    """A cluster of this machine that lets others in; one per test: heads that end too often end it."""
    port = quiet_port("127.0.0.1")
    cluster = manager.start(
        "blue", num_cpus=1, owner_pid=os.getpid(), object_store_memory=100 << 20, ip="127.0.0.1", port=port
    )
    yield cluster
    manager.stop(cluster)


@pytest.mark.parametrize("name", backends.HERE)
def test_the_contract_on_this_machine(name: str, blue: descriptors.Descriptor, tmp_path: Path) -> None:
    make, why_not = backends.HERE[name]
    if why_not():
        pytest.skip(why_not())
    with make(tmp_path) as backend:
        told = (backend.options, backend.nowhere, ["three", "another"], backend.config)
        command = [sys.executable, "-c", CONTRACT, blue.cluster_id, *map(json.dumps, told)]
        environ = {**os.environ, **backend.environ}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(part in done.stdout for part in backend.refusal), done.stdout


CLOUD_PROGRAM = """
import time, rayjup as ray

ray.init("cloud")
deadline = time.monotonic() + 60
while sum(n["Alive"] for n in ray.nodes()) < 2 and time.monotonic() < deadline:
    time.sleep(0.1)

@ray.remote(resources={"far": 1})
def where():
    return ray.get_runtime_context().get_node_id()

there = set(ray.get([where.remote() for _ in range(4)]))
print(len(there), ray.get_runtime_context().get_node_id() in there)
"""


def test_a_cloud_from_up_to_down(tmp_path: Path) -> None:
    _, why_not = backends.HERE["gcp"]
    if why_not():
        pytest.skip(why_not())
    port = quiet_port()
    hypervisor = Hypervisor(tmp_path, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    cloud = FakeGoogle(hypervisor)
    provider = {
        **{"type": "gcp", "project_id": "p", "availability_zone": "us-west1-a", "endpoint": cloud.url},
        **{"join": "startup_script", "python": sys.executable, "at_end": []},
        "port": port,
    }
    own = {"CPU": 1, "far": 1, "memory": 300 << 20, "object_store_memory": 80 << 20}
    types = {"cpu": {"resources": own, "min_workers": 1, "max_workers": 2, "node_config": {}}}
    file = tmp_path / "cloud.yaml"
    file.write_text(
        json.dumps({"cluster_name": "cloud", "provider": provider, "available_node_types": types})
    )

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        run("-m", "rayjup", "up", str(file))
        try:
            assert run("-c", CLOUD_PROGRAM).split() in (["1", "False"], ["2", "False"])
            assert 1 <= len(cloud.machines) <= 2
        finally:
            run("-m", "rayjup", "down", str(file))
        poll(lambda: not any(map(hypervisor.is_on, hypervisor.processes)), 40)
        cloud._look()
        assert cloud.machines == {}
        poll(lambda: not hypervisor.credentials())
    finally:
        cloud.close()
        hypervisor.close()


@pytest.mark.skipif(bool(why_no_ssh()), reason=why_no_ssh() or "machines can be made")
def test_machines_by_ssh(machines, on_machines):
    hosts = [machines.machines[name].address for name in "bc"]
    said = on_machines({"launcher": "ssh", "hosts": hosts, **by_ssh(machines)}, {"hosts": ["10.86.5.1"]})
    assert "10.86.5.1 cannot be reached by ssh" in said


PROVIDER = """
import json, pathlib
from rayjup.autoscaler.node_provider import NodeProvider

class Rack(NodeProvider):
    def __init__(self, provider_config, cluster_name):
        super().__init__(provider_config, cluster_name)
        self.book = pathlib.Path(provider_config["book"])
        self.used = json.loads(self.book.read_text()) if self.book.exists() else {}

    def create_node(self, node_config, tags, count):
        free = [ip for ip in self.provider_config["machines"] if ip not in self.used]
        if "shelf" in node_config or not free:
            raise RuntimeError("the rack has no such machine")
        self.used[free[0]] = dict(tags)
        self.book.write_text(json.dumps(self.used))

    def node_tags(self, node_id):
        return self.used[node_id]

    def non_terminated_nodes(self, tag_filters):
        return [ip for ip, tags in self.used.items() if tag_filters.items() <= tags.items()]

    def is_running(self, node_id):
        return node_id in self.used

    def is_terminated(self, node_id):
        return node_id not in self.used

    def internal_ip(self, node_id):
        return node_id

    def terminate_node(self, node_id):
        del self.used[node_id]
        self.book.write_text(json.dumps(self.used))
"""


@pytest.mark.skipif(bool(why_no_ssh()), reason=why_no_ssh() or "machines can be made")
def test_machines_of_somebody_elses_provider(machines, on_machines, monkeypatch):
    (machines.directory / "rack.py").write_text(PROVIDER)
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([path, str(machines.directory)]))
    places = [machines.machines[name].address for name in "bc"]
    provider = {"module": "rack.Rack", "machines": places, "book": str(machines.directory / "book")}
    options = {"launcher": "external", "provider": provider, "ssh": by_ssh(machines)}
    said = on_machines(options, {"shelf": 1})
    assert "made no machine for the node four: the rack has no such machine" in said


@pytest.mark.skipif(bool(slurm.why_no_slurm()), reason=slurm.why_no_slurm() or "Slurm can run")
def test_jobs_of_slurm(machines, on_machines):
    options = {"launcher": "slurm", "directory": str(machines.directory / "own"), "walltime": "00:10:00"}
    said = on_machines(options, {"queue": "nowhere"})
    assert "slurm did not take the job of the node four" in said
    assert not list((machines.directory / "own").glob("*.pem"))


@pytest.mark.skipif(bool(slurm.why_no_slurm()), reason=slurm.why_no_slurm() or "Slurm can run")
def test_a_program_waits_for_jobs_of_slurm(machines, on_machines):
    a = machines.machines["a"]
    file = machines.directory / "slurm.yaml"
    own = machines.directory / "own2"
    types = {"worker": {"resources": {"CPU": 1, "memory": 300 << 20}, "min_workers": 2, "max_workers": 2}}
    provider = {"type": "slurm", "directory": str(own)}
    file.write_text(json.dumps({"cluster_name": "s", "provider": provider, "available_node_types": types}))
    program = machines.directory / "program.py"
    program.write_text(programs.wait_for_nodes("localhost:6380", 3))
    head = ("start", "--head", "--name", "s", "--node-ip-address", a.address, "--port", "6380")
    on_first(
        machines,
        "-m",
        "rayjup",
        *head,
        "--num-cpus",
        "1",
        "--no-dashboard",
        "--autoscaling-config",
        str(file),
    )
    try:
        said = on_first(machines, "-m", "rayjup.as_ray", str(program))
        programs.check(said, 3)
    finally:
        on_first(machines, "-m", "rayjup", "stop", "s")
    assert not list(own.glob("*.pem"))
