"""Clusters that listen for other machines, tried on this one: who gets in, and who doesn't."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import credentials, manager
from rayjup.cluster.descriptors import Descriptor

pytestmark = pytest.mark.leaks("one cluster for the file; the check per file sees what is left")

PROGRAM = """
import time
import rayjup as ray

ray.init(%r)

@ray.remote
def pid():
    import os
    return os.getpid()

there = ray.get(pid.options(resources={"far": 1}).remote()) > 0
deadline = time.monotonic() + 40
while (alive := sum(n["Alive"] for n in ray.nodes())) != 2 and time.monotonic() < deadline:
    time.sleep(0.05)  # they come to a new head one by one
print(alive, there)
"""


@pytest.fixture(scope="module")
def listening() -> Iterator[Descriptor]:
    cluster = manager.start(
        "listening", num_cpus=1, ip="127.0.0.1", object_store_memory=100 << 20, owner_pid=os.getpid()
    )
    yield cluster
    manager.stop(cluster)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As on another machine: what runs here knows nothing of the clusters there are."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def rayjup(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rayjup", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ}
    )


def test_a_node_joins_by_address_and_programs_find_the_cluster_by_it(listening, elsewhere):
    address = listening.network
    assert address is not None and listening.credentials is not None
    offer = ("--num-cpus", "1", "--resources", '{"far": 2}', "--object-store-memory", "80000000")
    done = rayjup("start", "--address", address, "--credentials", listening.credentials, *offer)
    assert done.returncode == 0, done.stderr
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM % address], capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.stdout.split() == ["2", "True"], ran.stderr
    assert "listening" in rayjup("clusters").stdout
    os.kill(listening.head()[0], signal.SIGKILL)  # the next head listens on the same port
    again = subprocess.run(
        [sys.executable, "-c", PROGRAM % address], capture_output=True, text=True, timeout=100, check=False
    )
    assert again.stdout.split() == ["2", "True"], again.stderr
    done = rayjup("stop", "listening")  # as on a machine of its own: its node ends, not the cluster
    assert "Stopped: listening" in done.stdout
    assert listening.is_alive()
    assert rayjup("clusters").stdout.startswith("No cluster")


def test_without_the_right_credentials_nobody_gets_in(listening, elsewhere):
    address = listening.network
    done = rayjup("start", "--address", address)
    assert done.returncode == 1
    assert "lets nobody in without credentials" in done.stderr
    others = credentials.make(str(elsewhere / "others.pem"))
    with pytest.raises(RaySystemError, match="did not start"):
        manager.join(address, credentials_file=others, num_cpus=1, timeout_s=4.0)
    done = rayjup("start", "--address", "127.0.0.1:9", "--credentials", others)
    assert "nobody answers at 127.0.0.1:9" in done.stderr


def test_a_node_of_another_version_is_named(listening, elsewhere):
    (elsewhere / "sitecustomize.py").write_text("import rayjup.engine.dask.attach as a\na.PROTOCOL = 99\n")
    path = os.pathsep.join([str(elsewhere), os.environ.get("PYTHONPATH", "")])
    done = rayjup(
        *("start", "--address", str(listening.network), "--credentials", str(listening.credentials)),
        PYTHONPATH=path,
    )
    assert done.returncode == 1
    assert "(protocol 99), the cluster runs rayjup" in done.stderr
    assert "install the same version on both" in done.stderr


def test_options_that_mean_nothing_are_refused():
    for arguments, message in (
        (("start", "--head", "--credentials", "x.pem"), "add --port"),
        (("start", "--address", "a:1", "--port", "1"), "--port is for --head"),
        (
            ("start", "--head", "--port", "1", "--node-ip-address", "192.0.2.77"),
            "cannot listen on 192.0.2.77:1",
        ),
    ):
        done = rayjup(*arguments)
        assert done.returncode != 0
        assert message in done.stderr
