"""Clouds and YARN without a cluster: what is asked for, addresses, tags, what is said when it fails."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clouds import FakeAzure, FakeGoogle, FakeYarn, Hypervisor, certificate

from rayjup.autoscaler.azure import AzureNodeProvider
from rayjup.autoscaler.gcp import GcpNodeProvider
from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import launchers
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.cloud import CloudLauncher
from rayjup.cluster.launchers.fargate import size
from rayjup.cluster.launchers.yarn import YarnLauncher
from rayjup.cluster.scaling.settings import NodeType

PLACE = {"project_id": "p", "availability_zone": "us-west1-a"}
TAGS = {"ray-cluster-name": "My_Cluster", "ray-node-type": "worker", "ray-node-name": "Big_CPU-1"}
IMAGE = {"imagePublisher": "c", "imageOffer": "u", "imageSku": "24", "imageVersion": "latest"}
RACK = """
from rayjup.autoscaler.node_provider import NodeProvider

class Rack(NodeProvider):
    def non_terminated_nodes(self, tag_filters):
        return []
    def with_startup_script(self, node_config, script):
        return {"script": script}
"""


def has(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture
def cluster(tmp_path: Path) -> Descriptor:
    """A cluster that lets other machines in, as far as launchers look at it."""
    secret = tmp_path / "cluster.pem"
    secret.write_text("-----BEGIN CERTIFICATE-----\nPRIVATE KEY-----\n")
    extra = {"addresses": ["10.0.0.1:6379"], "credentials": str(secret)}
    return Descriptor("rj-1", "blue", "unix:///x", str(tmp_path), "", 1, extra=extra)


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[Hypervisor]:
    made = Hypervisor(tmp_path, {})
    yield made
    made.close()


@pytest.fixture
def google(hypervisor: Hypervisor) -> Iterator[FakeGoogle]:
    if not has("google.cloud.compute_v1"):
        pytest.skip("Google's client is not installed: pip install 'rayjup[gcp]'")
    made = FakeGoogle(hypervisor)
    yield made
    made.close()


def test_machines_of_google(google: FakeGoogle) -> None:
    provider = GcpNodeProvider({**PLACE, "endpoint": google.url}, "My_Cluster")
    config: dict[str, Any] = {
        "machineType": "n2-standard-4",
        "scheduling": [{"preemptible": True}],
        "guestAccelerators": [{"acceleratorType": "nvidia-l4", "acceleratorCount": 1}],
        "metadata": {"items": [{"key": "team", "value": "blue"}]},
    }
    (one,) = provider.create_node(config, TAGS, 1)
    assert one == "my-cluster-big-cpu-1" and config["scheduling"] == [{"preemptible": True}]
    machine = google.machines[one]
    assert machine["machineType"] == "zones/us-west1-a/machineTypes/n2-standard-4"
    assert machine["scheduling"] == {"preemptible": True}
    accelerator = machine["guestAccelerators"][0]["acceleratorType"]
    assert accelerator == "zones/us-west1-a/acceleratorTypes/nvidia-l4"
    assert provider.node_tags(one) == TAGS
    provider.set_node_tags(one, {"ray-node-status": "up-to-date"})
    assert provider.node_tags(one) == {**TAGS, "ray-node-status": "up-to-date"}
    assert provider.non_terminated_nodes({"ray-node-name": "Big_CPU-1"}) == [one]
    assert provider.non_terminated_nodes({"ray-node-name": "other"}) == []
    assert (provider.internal_ip(one), provider.external_ip(one)) == ("127.0.0.1", "192.0.2.7")
    assert provider.get_node_id("192.0.2.7") == one
    assert provider.is_running(one) and not provider.is_terminated(one)
    provider.terminate_node(one)
    provider.terminate_node(one)
    assert provider.is_terminated(one) and provider.non_terminated_nodes({}) == []
    inner = {"networkInterfaces": [{"network": "global/networks/n"}]}
    (two,) = provider.create_node(inner, TAGS, 1)
    with pytest.raises(LookupError, match="has no public address; set use_internal_ips"):
        provider.external_ip(two)
    with pytest.raises(RuntimeError, match=r"no instance of Compute Engine: .*machineTyp"):
        provider.create_node({"machineTyp": "a"}, TAGS, 1)
    with pytest.raises(RuntimeError, match="already exists"):
        provider.create_node({}, TAGS, 1)


@pytest.fixture
def azure(hypervisor: Hypervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAzure]:
    if not has("azure.mgmt.compute"):
        pytest.skip("Azure's clients are not installed: pip install 'rayjup[azure]'")
    path = certificate(tmp_path)
    made = FakeAzure(hypervisor, path)
    for name, value in {**made.environ, "REQUESTS_CA_BUNDLE": f"{path}.crt"}.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def test_machines_of_azure(azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"subscription_id": "s", "resource_group": "g", "location": "westus2", "endpoint": azure.url}
    provider = AzureNodeProvider(given, "My_Cluster")
    own = {"virtual_machine": {"properties": {"licenseType": "x"}, "identity": {"type": "SystemAssigned"}}}
    config = {"azure_arm_parameters": {**IMAGE, "vmSize": "Standard_D4s_v5", "priority": "Spot"}, **own}
    with pytest.raises(ValueError, match="give the provider a subnet_id"):
        provider.create_node(config, TAGS, 1)
    provider.provider_config["subnet_id"] = "/subnet"
    with pytest.raises(ValueError, match="give auth an ssh_public_key"):
        provider.create_node(config, TAGS, 1)
    provider.provider_config |= {"ssh_public_key": "ssh-ed25519 AAAA", "ssh_user": "me"}
    (one,) = provider.create_node(config, TAGS, 1)
    assert one == "My-Cluster-Big-CPU-1"
    machine = azure.machines[one]
    properties = machine["properties"]
    assert (properties["priority"], properties["licenseType"]) == ("Spot", "x")
    assert machine["identity"] == {"type": "SystemAssigned"} and machine["location"] == "westus2"
    assert properties["osProfile"]["adminUsername"] == "me" and "customData" not in properties["osProfile"]
    assert provider.node_tags(one) == TAGS
    provider.set_node_tags(one, {"ray-node-status": "up-to-date"})
    assert provider.non_terminated_nodes({"ray-node-status": "up-to-date"}) == [one]
    assert (provider.internal_ip(one), provider.external_ip(one)) == ("127.0.0.1", "192.0.2.8")
    assert provider.is_running(one) and not provider.is_terminated(one)
    provider.terminate_node(one)
    assert provider.is_terminated(one) and provider.non_terminated_nodes({}) == []
    provider.provider_config["use_internal_ips"] = True
    (two,) = provider.create_node(config, TAGS, 1)
    with pytest.raises(LookupError, match="has no public address; set use_internal_ips"):
        provider.external_ip(two)
    for wrong, message in (
        ({"vm": {}}, "may have azure_arm_parameters and virtual_machine; not vm"),
        ({"azure_arm_parameters": {"colour": "red"}}, "azure_arm_parameters: colour is unknown"),
        ({"azure_arm_parameters": {}}, "no image is named: imagePublisher, imageOffer"),
    ):
        with pytest.raises(ValueError, match=message):
            provider.create_node(wrong, TAGS, 1)
    monkeypatch.setenv("IDENTITY_HEADER", "somebody else")
    with pytest.raises(RuntimeError, match=r"failed to retrieve a token|DefaultAzureCredential"):
        AzureNodeProvider(given, "My_Cluster").non_terminated_nodes({})


def test_settings_that_are_missing_are_named() -> None:
    with pytest.raises(ValueError, match="machines of Google need project_id"):
        GcpNodeProvider({}, "c")
    with pytest.raises(ValueError, match="machines of Azure need subscription_id"):
        AzureNodeProvider({}, "c")


@pytest.mark.skipif(has("google.cloud.compute_v1"), reason="Google's client is installed")
def test_the_extra_for_google_is_named() -> None:
    with pytest.raises(ImportError, match=r"pip install 'rayjup\[gcp\]'"):
        GcpNodeProvider(dict(PLACE), "c")


@pytest.mark.skipif(has("azure.mgmt.compute"), reason="Azure's clients are installed")
def test_the_extra_for_azure_is_named() -> None:
    with pytest.raises(ImportError, match=r"pip install 'rayjup\[azure\]'"):
        AzureNodeProvider({"subscription_id": "s", "resource_group": "g", "location": "l"}, "c")


def test_what_a_machine_starts_with(
    cluster: Descriptor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rack_of_scripts.py").write_text(RACK)
    monkeypatch.syspath_prepend(tmp_path)
    given = {"provider": {"module": "rack_of_scripts.Rack"}, "directory": str(tmp_path / "own")}
    done, python = tmp_path / "done", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$A" "$@" > {done}.node\nls -l "{tmp_path}/own" > {done}.files\n')
    python.chmod(0o700)
    launcher = launchers.make(
        cluster,
        {
            "launcher": "cloud",
            **given,
            "python": str(python),
            "setup": [f"echo prepared > {done}.setup"],
            "environment": {"A": "it's"},
            "at_end": [f"echo over > {done}.end"],
        },
    )
    assert isinstance(launcher, CloudLauncher)
    script = launcher.script(NodeType("cpu", {"CPU": 2}), "cpu-1")
    subprocess.run(["/bin/bash", "-c", script], check=True, timeout=30)
    words = shlex.split((tmp_path / "done.node").read_text().replace("it's", "its", 1))
    assert words[:6] == ["its", "-m", "rayjup", "start", "--address", "10.0.0.1:6379"]
    assert words[-2:] == ["--credentials", str(tmp_path / "own" / "rj-1.pem")]
    assert "-rw-------" in (tmp_path / "done.files").read_text()
    assert (tmp_path / "done.setup").read_text() == "prepared\n"
    assert (tmp_path / "done.end").read_text() == "over\n"
    assert os.listdir(tmp_path / "own") == []


def test_sizes_of_fargate() -> None:
    gib = 1 << 30
    for cpus, memory, expected in (
        (0.25, gib, (256, 2048)),
        (8, 17 * gib, (8192, 20480)),
        (1, 0, (1024, 2048)),
    ):
        assert size(NodeType("a", {"CPU": cpus, "memory": memory})) == expected
    with pytest.raises(RaySystemError, match="larger than all Fargate has: 16 CPUs and 120 GiB"):
        size(NodeType("a", {"CPU": 32}))


def test_services_of_yarn(cluster: Descriptor, hypervisor: Hypervisor) -> None:
    rm = FakeYarn(hypervisor)
    try:
        launcher = YarnLauncher(
            cluster, address_of_rm=rm.url, queue="q", artifact={"id": "a:1", "type": "DOCKER"}
        )
        kind = NodeType("Big_GPU", {"CPU": 2, "GPU": 1, "memory": 1 << 30, "object_store_memory": 1 << 29})
        made = launcher.service(kind, "Big_GPU-1")
        (component,) = made["components"]
        assert (made["name"], made["queue"]) == ("rayjup-rj-1-big-gpu-1", "q")
        wanted = {"cpus": 2, "memory": "1536", "additional": {"yarn.io/gpu": {"value": 1}}}
        assert component["resource"] == wanted and component["artifact"]["id"] == "a:1"
        assert component["restart_policy"] == "NEVER" and "PRIVATE" not in component["launch_command"]
        rm.kerberos = True
        with pytest.raises(RaySystemError, match="wants Kerberos, which rayjup does not speak"):
            launcher.start(kind, "Big_GPU-1")
    finally:
        rm.close()
    with pytest.raises(RaySystemError, match="no resource manager answers at"):
        YarnLauncher(cluster, address_of_rm=rm.url)
