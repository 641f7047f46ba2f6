"""Nodes on machines of clouds: the contract of launchers, with their own clients and servers of the tests."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clouds import FakeAmazon, FakeAzure, FakeGoogle, FakeYarn, Hypervisor, certificate
from support.clusters import poll
from support.launcher_contract import CONTRACT
from support.machines import LONG

from rayjup.cluster import cluster_file, descriptors

pytestmark = [
    pytest.mark.skipif(
        os.environ.get(LONG) != "1", reason=f"it takes long: 'make clusters' runs it ({LONG}=1)"
    ),
    pytest.mark.leaks("one cluster for the file; the check per file sees what is left"),
]


def needs(package: str, extra: str) -> None:
    try:
        found = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package around it
        found = False
    if not found:
        pytest.skip(f"{package} is not installed: pip install {extra}")


@pytest.fixture(scope="module")
def grid() -> Iterator[descriptors.Descriptor]:
    """A cluster that lets other machines in, on this one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = [sys.executable, "-m", "rayjup"]
    head = ["start", "--head", "--name", "blue", "--node-ip-address", "127.0.0.1", "--port", str(port)]
    subprocess.run([*run, *head, "--num-cpus", "1", "--no-dashboard"], check=True, timeout=60)
    yield descriptors.which("blue")
    subprocess.run([*run, "stop", "blue"], check=True, timeout=60)


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[Hypervisor]:
    made = Hypervisor(tmp_path, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    yield made
    made.close()


def launcher_of(provider: dict[str, Any], tmp_path: Path, **auth: str) -> dict[str, Any]:
    """What a cluster file makes of a provider whose machines join by what they start with."""
    how = {
        "join": "startup_script",
        "python": sys.executable,
        "directory": str(tmp_path / "own"),
        "at_end": [],
    }
    types = {"cpu": {"resources": {"CPU": 1}}}
    file = {
        "cluster_name": "blue",
        "provider": {**provider, **how},
        "auth": auth,
        "available_node_types": types,
    }
    return dict(cluster_file.parse(file).launcher)


def check(
    grid: descriptors.Descriptor,
    options: dict[str, Any],
    nowhere: dict[str, Any],
    config: dict[str, Any] | None = None,
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    told = (json.dumps(options), json.dumps(nowhere), "three another", json.dumps(config or {}))
    command = [sys.executable, "-c", CONTRACT, grid.name, *told]
    own = {**os.environ, **environ}
    done = subprocess.run(command, env=own, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_google(grid: descriptors.Descriptor, hypervisor: Hypervisor, tmp_path: Path) -> None:
    needs("google.cloud.compute_v1", "'rayjup[gcp]'")
    cloud = FakeGoogle(hypervisor)
    try:
        place = {"project_id": "p", "availability_zone": "us-west1-a", "endpoint": cloud.url}
        options = launcher_of({"type": "gcp", **place}, tmp_path)
        done = check(grid, options, {"machineType": "huge"})
        assert "no machine for the node four: " in done.stdout and "Quota 'CPUS' exceeded" in done.stdout
        poll(lambda: not any(map(hypervisor.is_on, hypervisor.processes)), 20)
        assert len(hypervisor.processes) == 4 and not list((tmp_path / "own").iterdir())
    finally:
        cloud.close()


def test_azure(grid: descriptors.Descriptor, hypervisor: Hypervisor, tmp_path: Path) -> None:
    needs("azure.mgmt.compute", "'rayjup[azure]'")
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    path = certificate(tmp_path)
    cloud = FakeAzure(hypervisor, path)
    try:
        place = {"subscription_id": "s", "resource_group": "g", "location": "westus2", "subnet_id": "/net"}
        provider = {"type": "azure", **place, "endpoint": cloud.url}
        options = launcher_of(provider, tmp_path, ssh_user="me", ssh_public_key="ssh-ed25519 AAAA")
        image = {"imagePublisher": "c", "imageOffer": "u", "imageSku": "24", "imageVersion": "latest"}
        config = {"azure_arm_parameters": image}
        nowhere = {"azure_arm_parameters": {**image, "vmSize": "Huge"}}
        done = check(grid, options, nowhere, config, **cloud.environ, REQUESTS_CA_BUNDLE=f"{path}.crt")
        assert "no machine for the node four: " in done.stdout and "exceeding quota" in done.stdout
        poll(lambda: not any(map(hypervisor.is_on, hypervisor.processes)), 20)
        assert len(hypervisor.processes) == 4 and not list((tmp_path / "own").iterdir())
    finally:
        cloud.close()


def test_amazon(grid: descriptors.Descriptor, hypervisor: Hypervisor, tmp_path: Path) -> None:
    needs("boto3", "'rayjup[aws]'")
    needs("moto.server", "'moto[ec2,server]'")
    cloud = FakeAmazon(hypervisor)
    try:
        place = {"region": "us-west-2", "endpoint_url": cloud.url}
        options = launcher_of({"type": "aws", **place}, tmp_path)
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        config = {"ImageId": "ami-12c6146b", "InstanceType": "m5.large"}  # which moto has
        done = check(grid, options, {"SubnetIds": ["subnet-nothing"]}, config, **keys)
        assert "no machine for the node four: " in done.stdout and "InvalidSubnetID" in done.stdout
        poll(lambda: not any(map(hypervisor.is_on, hypervisor.processes)), 20)
        assert len(hypervisor.processes) == 4 and not list((tmp_path / "own").iterdir())
        assert {machine._state.name for machine in cloud.machines()} == {"terminated"}
    finally:
        cloud.close()


def test_tasks_of_fargate(grid: descriptors.Descriptor, hypervisor: Hypervisor) -> None:
    needs("boto3", "'rayjup[aws]'")
    needs("moto.server", "'moto[ec2,ecs,secretsmanager,server]'")
    import boto3

    cloud = FakeAmazon(hypervisor)
    place = {"region_name": "us-west-2", "endpoint_url": cloud.url}
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    try:
        subnet = boto3.client("ec2", **place, **keys).describe_subnets()["Subnets"][0]["SubnetId"]
        ecs = boto3.client("ecs", **place, **keys)
        ecs.create_cluster(clusterName="default")
        provider = {
            "type": "fargate",
            "region": "us-west-2",
            "endpoint_url": cloud.url,
            "image": "registry.example/rayjup:1",
            "subnets": [subnet],
            "execution_role": "arn:aws:iam::123456789012:role/pulls",
            "python": sys.executable,
        }
        types = {"cpu": {"resources": {"CPU": 1}}}
        options = dict(cluster_file.parse({"provider": provider, "available_node_types": types}).launcher)
        environ = {name.upper(): value for name, value in keys.items()}
        done = check(grid, options, {"image": ""}, **environ)
        assert "no image is named for nodes of the type no" in done.stdout
        poll(lambda: not any(map(hypervisor.is_on, hypervisor.processes)), 20)
        assert len(hypervisor.processes) == 4
        assert {task.last_status for task in cloud.tasks()} == {"STOPPED"}
        assert all("PRIVATE" not in json.dumps(task.overrides) for task in cloud.tasks())
        assert ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []
        secrets = boto3.client("secretsmanager", **place, **keys)
        assert secrets.list_secrets()["SecretList"] == []
    finally:
        cloud.close()


def test_services_of_yarn(grid: descriptors.Descriptor, hypervisor: Hypervisor) -> None:
    rm = FakeYarn(hypervisor)
    try:
        provider = {"type": "yarn", "address_of_rm": rm.url, "python": sys.executable, "user": "me"}
        types = {"cpu": {"resources": {"CPU": 1}}}
        options = dict(cluster_file.parse({"provider": provider, "available_node_types": types}).launcher)
        done = check(grid, options, {"queue": "nowhere"})
        assert "YARN did not take the service of the node four: " in done.stdout
        assert "queue nowhere does not exist" in done.stdout
        poll(lambda: not any(map(hypervisor.is_on, hypervisor.processes)), 20)
        assert len(hypervisor.processes) == 4 and rm.services == {}
    finally:
        rm.close()
