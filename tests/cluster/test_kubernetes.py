"""Nodes as pods, and manifests of KubeRay, against a server that starts pods as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clusters import poll
from support.kubernetes import FakeKubernetes
from support.machines import LONG
from support.ports import quiet_port

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
    port = quiet_port("127.0.0.1")
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
    fake.processes["team", f"{grid.cluster_id}-a-1"].wait(60)
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


def test_requests_of_a_manifest_go_before_ours(launcher: KubernetesLauncher) -> None:
    theirs = {
        "name": "w",
        "image": "b",
        "resources": {"limits": {"cpu": "1", "amd.com/gpu": "1"}},
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    volumes = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    config = {"spec": {"containers": [theirs], "volumes": volumes}}
    kind = NodeType("w", {"CPU": 4, "GPU": 1, "memory": 1000}, 0, 1, node_config=config)
    spec = launcher.manifest(kind, "w-1")["spec"]
    (container,) = spec["containers"]
    assert container["resources"] == {
        "limits": {"cpu": "1", "amd.com/gpu": "1", "memory": "1000"},
        "requests": {"memory": "1000"},
    }
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/etc/rayjup", "/dev/shm"]
    assert [each["name"] for each in spec["volumes"]] == ["rayjup-credentials", "shm"]


JOB = """
import os, rayjup as ray

ray.init()

@ray.remote(resources={"far": 1}, num_cpus=0)
def where():
    return ray.get_runtime_context().get_node_id()

here = ray.get_runtime_context().get_node_id()
print(os.environ["STAGE"], ray.get(where.remote()) != here, ray.cluster_resources()["license"])
"""


def manifest_file(directory: Path, kind: str, name: str, **spec: object) -> Path:
    """A manifest whose cluster has one group of pods; its head listens on a port that was free."""
    port = quiet_port()
    container = {"name": "w", "image": "a:1", "resources": {"limits": {"cpu": "1", "memory": "400Mi"}}}
    group = {
        "groupName": "far",
        "minReplicas": 0,
        "maxReplicas": 2,
        "rayStartParams": {"resources": '"{\\"far\\": 1, \\"license\\": 3}"'},
        "template": {"spec": {"containers": [container]}},
    }
    cluster = {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {"rayStartParams": {"num-cpus": "1", "port": str(port)}},
        "workerGroupSpecs": [group],
    }
    within = {"RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}[kind]
    metadata = {"name": name, "annotations": {"rayjup.dev/python": sys.executable}}
    whole = {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": {**spec, within: cluster}}
    file = directory / f"{name}.yaml"
    file.write_text(json.dumps(whole))
    return file


def rayjup(fake: FakeKubernetes, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rayjup", *arguments],
        env={**os.environ, "KUBECONFIG": str(fake.kubeconfig)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_a_rayjob_runs_on_pods_and_ends_with_its_cluster(fake: FakeKubernetes, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(JOB)
    file = manifest_file(
        tmp_path,
        "RayJob",
        "nightly",
        entrypoint=f"{sys.executable} {program}",
        runtimeEnvYAML="env_vars: {STAGE: test}",
        shutdownAfterJobFinishes=True,
    )
    done = rayjup(fake, "up", str(file), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test True 3.0" in done.stdout and "has ended: SUCCEEDED" in done.stderr
    assert "Stopped: nightly." in done.stdout
    poll(lambda: fake.objects == {}, 40)


APPLICATION = """
from rayjup import serve

@serve.deployment(ray_actor_options={"num_cpus": 0, "resources": {"far": 1}})
def hello(request):
    return "from a pod"

app = hello.bind()
"""


@pytest.mark.skipif(LONG not in os.environ, reason=f"takes long: set {LONG}=1 (make clusters)")
def test_a_rayservice_serves_from_pods(fake: FakeKubernetes, tmp_path: Path) -> None:
    http = quiet_port("127.0.0.1")
    (tmp_path / "greeting.py").write_text(APPLICATION)
    applications = [{"name": "hello", "route_prefix": "/", "import_path": "greeting:app"}]
    config = {"http_options": {"host": "127.0.0.1", "port": http}, "applications": applications}
    file = manifest_file(tmp_path, "RayService", "greeter", serveConfigV2=json.dumps(config))
    done = rayjup(fake, "up", str(file), cwd=tmp_path)
    try:
        assert done.returncode == 0, done.stdout + done.stderr

        def answer() -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{http}/", timeout=30) as said:
                    return str(said.read().decode())
            except urllib.error.URLError:  # it is not deployed yet
                return ""

        poll(lambda: answer() == "from a pod", 60)
        assert [name for (_, kind, name) in fake.objects if kind == "pods" and "-far-" in name]
    finally:
        assert rayjup(fake, "down", str(file), cwd=tmp_path).returncode == 0
    poll(lambda: fake.objects == {}, 40)
