"""Nodes as pods: the contract of launchers against a server that starts pods as processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clusters import poll
from support.kubernetes import FakeKubernetes
from support.launcher_contract import CONTRACT

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import descriptors, launchers
from rayjup.cluster.launchers.kubernetes import KubernetesLauncher
from rayjup.cluster.scaling.settings import NodeType

pytest.importorskip(
    "kubernetes", reason="Kubernetes' client is not installed: pip install 'rayjup[kubernetes]'"
)
pytestmark = pytest.mark.leaks("one cluster for the file; the check per file sees what is left")


@pytest.fixture(scope="module")
def grid() -> Iterator[descriptors.Descriptor]:
    """A cluster that lets other machines in, on this one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "rayjup"]
    head = ["start", "--head", "--name", "pods", "--node-ip-address", "127.0.0.1", "--port", str(port)]
    subprocess.run([*run, *head, "--num-cpus", "1", "--no-dashboard"], check=True, timeout=60)
    yield descriptors.which("pods")
    subprocess.run([*run, "stop", "pods"], check=True, timeout=60)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKubernetes]:
    server = FakeKubernetes(tmp_path, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    yield server
    server.close()


def test_pods_keep_the_contract(grid: descriptors.Descriptor, fake: FakeKubernetes) -> None:
    fake.most_cpus = 2
    options = {
        "launcher": "kubernetes",
        "kubeconfig": str(fake.kubeconfig),
        "image": "registry.example/rayjup:1",
        "python": sys.executable,
    }
    huge = {"spec": {"containers": [{"resources": {"requests": {"cpu": "64"}}}]}}
    command = [sys.executable, "-c", CONTRACT, grid.name, json.dumps(options), json.dumps(huge)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Kubernetes did not take the pod of the node four: " in done.stdout
    assert "exceeded quota: requested: requests.cpu=64" in done.stdout
    poll(lambda: not fake.objects)  # neither a pod nor the credentials are left


@pytest.fixture
def launcher(grid: descriptors.Descriptor, fake: FakeKubernetes) -> Iterator[KubernetesLauncher]:
    made = launchers.make(
        grid, {"launcher": "kubernetes", "kubeconfig": str(fake.kubeconfig), "image": "a:1"}
    )
    assert isinstance(made, KubernetesLauncher)
    yield made
    made.close()


def test_the_manifest_of_a_node(launcher: KubernetesLauncher) -> None:
    resources = {"CPU": 2, "GPU": 1, "memory": 1000, "object_store_memory": 500, "license": 1}
    config = {
        "metadata": {"labels": {"team": "blue"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "containers": [
                {"name": "ray-node", "image": "b:2", "env": [{"name": "A", "value": "1"}]},
                {"name": "side", "image": "c"},
            ],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    pod = launcher.manifest(NodeType("Big_GPU", resources, 0, 1, node_config=config), "Big_GPU-1")
    assert pod["metadata"]["name"].endswith("-big-gpu-1") and pod["metadata"]["labels"]["team"] == "blue"
    assert pod["metadata"]["labels"]["rayjup.dev/node"] == "Big_GPU-1"
    spec = pod["spec"]
    assert spec["nodeSelector"] == {"disk": "ssd"} and spec["restartPolicy"] == "Never"
    assert [volume["name"] for volume in spec["volumes"]] == ["rayjup-credentials", "shared-memory", "data"]
    node, side = spec["containers"]
    assert (node["name"], node["image"], node["env"]) == ("ray-node", "b:2", [{"name": "A", "value": "1"}])
    assert side == {"name": "side", "image": "c"}
    assert node["resources"]["limits"] == {"cpu": "2", "memory": "1500", "nvidia.com/gpu": "1"}
    assert "--credentials /etc/rayjup/cluster.pem" in node["command"][2] and "PRIVATE" not in json.dumps(pod)


def test_what_goes_wrong_is_said(
    grid: descriptors.Descriptor, launcher: KubernetesLauncher, fake: FakeKubernetes, tmp_path: Path
) -> None:
    with pytest.raises(RaySystemError, match="may have image, metadata and spec of a pod; not InstanceType"):
        launcher.manifest(NodeType("a", {}, 0, 1, node_config={"InstanceType": "m5"}), "a-1")
    launcher.start(
        NodeType("a", {"CPU": 1}, 0, 1, node_config={"spec": {"containers": [{"command": ["false"]}]}}), "a-1"
    )
    fake.processes["team", f"{grid.cluster_id}-a-1"].wait(10)
    poll(lambda: launcher.instances()["a-1"].state == "ended")
    assert launcher.instances()["a-1"].why == "Error: 1"
    fake.token = "changed"
    with pytest.raises(RaySystemError, match="Kubernetes does not list the pods: Unauthorized"):
        launcher.instances()
    fake.token = "letmein"
    options = {"launcher": "kubernetes", "kubeconfig": str(tmp_path / "nothing")}
    with pytest.raises(RaySystemError, match="the configuration of kubectl cannot be used"):
        launchers.make(grid, options)
    options["kubeconfig"] = str(fake.kubeconfig)
    again = launchers.make(grid, options)  # it replaces the credentials
    with pytest.raises(RaySystemError, match="no image is named for nodes of the type b"):
        again.start(NodeType("b", {"CPU": 1}), "b-1")
