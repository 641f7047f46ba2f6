"""Clusters of dask-gateway: its server for real, with processes of this machine behind its proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import gateway as support
from support.clusters import poll

from rayjup.cluster import descriptors

pytestmark = [
    pytest.mark.skipif(bool(support.why_not()), reason=support.why_not() or "a gateway can run"),
    pytest.mark.leaks("one gateway for the file; the check per file sees what is left"),
]

FILE = """
cluster_name: shared
min_workers: 2
provider: {type: gateway}
"""
PROGRAM = """
import time, ray

ray.init(ADDRESS)
deadline = time.monotonic() + 30
while ray.cluster_resources().get("pods", 0) < 2 and time.monotonic() < deadline:
    time.sleep(0.1)

@ray.remote(resources={"pods": 1})
class Counter:
    def __init__(self):
        self.n = 0
    def add(self, data):
        self.n += len(data)
        return self.n, ray.get_runtime_context().get_node_id()

@ray.remote
def double(x):
    return 2 * x

counters = [Counter.remote() for _ in range(2)]
big = ray.put(bytes(3_000_000))
said = ray.get([c.add.remote(big) for c in counters])
here = ray.get_runtime_context().get_node_id()
nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("pods")]
print(sum(ray.get([double.remote(i) for i in range(20)])), [n for n, _ in said])
print(sorted({node for _, node in said}) == sorted(nodes), here in nodes)
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the user of a gateway has in the environment; its workers are on other hosts, by declaration."""
    with support.server(tmp_path_factory.mktemp("gateway"), {"RAYJUP_HOST": "pods"}) as environ:
        yield {**os.environ, **environ, "RAYJUP_HOST": "laptop"}


def run(user: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, env=user, capture_output=True, text=True, timeout=80, check=False)


def test_a_cluster_of_a_gateway_from_up_to_down(user: dict[str, str], tmp_path: Path) -> None:
    file, program = tmp_path / "shared.yaml", tmp_path / "program.py"
    file.write_text(FILE)
    program.write_text(PROGRAM.replace("ADDRESS", ""))
    done = run(user, "rayjup", "up", str(file))
    assert done.returncode == 0, done.stderr
    assert "runs at the gateway, with 2 workers" in done.stdout and "rayjup.init('shared')" in done.stdout
    done = run(user, "rayjup", "submit", str(file), str(program))
    assert done.stdout.splitlines() == ["380 [3000000, 3000000]", "True False"], done.stderr
    # Its own address does, too, also for programs that do not know the name.
    (record,) = (descriptors.runtime_dir() / "gateways").glob("*.pem")
    assert record.stat().st_mode & 0o077 == 0
    public = user["DASK_GATEWAY__ADDRESS"].removeprefix("http://")
    program.write_text(PROGRAM.replace("ADDRESS", repr(f"gateway://{public}/{record.stem}")))
    done = run(user, "rayjup.as_ray", str(program))
    assert done.stdout.splitlines()[-1:] == ["True False"], done.stderr
    done = run(user, "rayjup", "down", str(file))
    assert done.stdout == "Stopped: shared.\n", done.stderr
    assert not list((descriptors.runtime_dir() / "gateways").iterdir())
    done = run(user, "rayjup", "down", str(file))
    assert done.stdout == "No cluster shared was made at the gateway.\n"
    poll(
        lambda: (
            not subprocess.run(["pgrep", "-f", "dask.scheduler.*dask_gateway"], capture_output=True).stdout
        )
    )


def test_what_a_gateway_refuses_is_said(user: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("cluster_name: other\nprovider: {type: gateway, options: {colour: red}}\n")
    done = run(user, "rayjup", "up", str(file))
    assert done.returncode == 1 and "dask-gateway refuses: " in done.stderr and "colour" in done.stderr
    done = run({**user, "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": "guess"}, "rayjup", "up", str(file))
    assert done.returncode == 1 and "dask-gateway refuses: " in done.stderr
    public = user["DASK_GATEWAY__ADDRESS"].removeprefix("http://")
    program = f"import rayjup; rayjup.init('gateway://{public}/nothing')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=user, capture_output=True, text=True, timeout=60
    )
    assert "ConnectionError" in done.stderr and "dask-gateway refuses: " in done.stderr
