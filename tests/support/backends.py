"""What launchers ask for nodes in the tests: the real thing where this machine can have it, else a fake.

Each is a context that yields how the contract is run there, and looks at its end that nothing is left.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayjup.cluster import cluster_file
from support.clouds import FakeAmazon, FakeAzure, FakeGoogle, FakeYarn, Hypervisor, certificate
from support.clusters import poll
from support.kubernetes import FakeKubernetes
from support.machines import LONG

NODES = 4  # that the contract asks for, besides those that cannot be had


@dataclass(frozen=True)
class Backend:
    """How the contract is run.

    Parameters
    ----------
    options
        Of the launcher.
    nowhere
        ``node_config`` of what cannot be had; None: everything can.
    refusal
        Parts of what is said then.
    config
        ``node_config`` of all others.
    environ
        By which one is known there.
    """

    options: dict[str, Any]
    nowhere: dict[str, Any] | None = None
    refusal: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


def missing(*packages: str) -> str:
    """Why a back-end that takes long and needs packages cannot run here; empty where it can."""
    if os.environ.get(LONG) != "1":
        return f"it takes long: 'make clusters' runs it ({LONG}=1)"
    for package in packages:
        try:
            found = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:  # not even the package around it
            found = False
        if not found:
            return f"{package} is not installed: 'make clusters' installs it"
    return ""


def _of_file(provider: dict[str, Any], **auth: str) -> dict[str, Any]:
    """The options that a cluster file gives."""
    types = {"cpu": {"resources": {"CPU": 1}}}
    data = {"cluster_name": "blue", "provider": provider, "auth": auth, "available_node_types": types}
    return dict(cluster_file.parse(data).launcher)


def _by_script() -> dict[str, Any]:
    """Machines join by what they start with; they are not switched off for that."""
    return {
        "join": "startup_script",
        "python": sys.executable,
        "at_end": [],
    }


@contextmanager
def _hypervisor(directory: Path) -> Iterator[Hypervisor]:
    made = Hypervisor(directory, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    try:
        yield made
        poll(lambda: not any(map(made.is_on, made.processes)) and not made.credentials(), 40)
        assert len(made.processes) == NODES
    finally:
        made.close()


@contextmanager
def processes(directory: Path) -> Iterator[Backend]:
    """Processes of this machine."""
    yield Backend({"launcher": "local"})


@contextmanager
def kubernetes(directory: Path) -> Iterator[Backend]:
    """Pods."""
    fake = FakeKubernetes(directory, {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
    fake.most_cpus = 2
    try:
        yield Backend(
            {
                "launcher": "kubernetes",
                "kubeconfig": str(fake.kubeconfig),
                "image": "registry.example/rayjup:1",
                "python": sys.executable,
            },
            {"spec": {"containers": [{"resources": {"requests": {"cpu": "64"}}}]}},
            (
                "Kubernetes did not take the pod of the node four: ",
                "exceeded quota: requested: requests.cpu=64",
            ),
        )
        poll(lambda: fake.objects == {}, 40)  # neither a pod nor the credentials
    finally:
        fake.close()


@contextmanager
def google(directory: Path) -> Iterator[Backend]:
    """Machines of Compute Engine."""
    with _hypervisor(directory) as hypervisor:
        cloud = FakeGoogle(hypervisor)
        try:
            place = {"project_id": "p", "availability_zone": "us-west1-a", "endpoint": cloud.url}
            yield Backend(
                _of_file({"type": "gcp", **place, **_by_script()}),
                {"machineType": "huge"},
                ("no machine for the node four: ", "Quota 'CPUS' exceeded"),
            )
        finally:
            cloud.close()


@contextmanager
def azure(directory: Path) -> Iterator[Backend]:
    """Virtual machines of Azure."""
    with _hypervisor(directory) as hypervisor:
        path = certificate(directory)
        cloud = FakeAzure(hypervisor, path)
        try:
            place = {"subscription_id": "s", "resource_group": "g", "location": "westus2", "subnet_id": "/n"}
            provider = {"type": "azure", **place, "endpoint": cloud.url, **_by_script()}
            image = {"imagePublisher": "c", "imageOffer": "u", "imageSku": "24", "imageVersion": "latest"}
            yield Backend(
                _of_file(provider, ssh_user="me", ssh_public_key="ssh-ed25519 AAAA"),
                {"azure_arm_parameters": {**image, "vmSize": "Huge"}},
                ("no machine for the node four: ", "exceeding quota"),
                {"azure_arm_parameters": image},
                {**cloud.environ, "REQUESTS_CA_BUNDLE": f"{path}.crt"},
            )
        finally:
            cloud.close()


_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@contextmanager
def amazon(directory: Path) -> Iterator[Backend]:
    """Machines of EC2."""
    with _hypervisor(directory) as hypervisor:
        cloud = FakeAmazon(hypervisor)
        try:
            provider = {"type": "aws", "region": "us-west-2", "endpoint_url": cloud.url}
            yield Backend(
                _of_file({**provider, **_by_script()}),
                {"SubnetIds": ["subnet-nothing"]},
                ("no machine for the node four: ", "InvalidSubnetID"),
                {"ImageId": "ami-12c6146b", "InstanceType": "m5.large"},  # which moto has
                _KEYS,
            )
            poll(lambda: {machine._state.name for machine in cloud.machines()} == {"terminated"}, 30)
        finally:
            cloud.close()


@contextmanager
def fargate(directory: Path) -> Iterator[Backend]:
    """Tasks of ECS."""
    import boto3

    with _hypervisor(directory) as hypervisor:
        cloud = FakeAmazon(hypervisor)

        def client(service: str) -> Any:
            keys = {name.lower(): value for name, value in _KEYS.items()}
            return boto3.client(service, region_name="us-west-2", endpoint_url=cloud.url, **keys)

        try:
            client("ecs").create_cluster(clusterName="default")
            provider = {
                "type": "fargate",
                "region": "us-west-2",
                "endpoint_url": cloud.url,
                "image": "registry.example/rayjup:1",
                "subnets": [client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]],
                "execution_role": "arn:aws:iam::123456789012:role/pulls",
                "python": sys.executable,
            }
            said = ("no image is named for nodes of the type no",)
            yield Backend(_of_file(provider), {"image": ""}, said, environ=_KEYS)
            tasks = cloud.tasks()
            poll(lambda: {task.last_status for task in tasks} == {"STOPPED"}, 30)
            assert not any("PRIVATE" in str(task.overrides) for task in tasks)
            assert client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []
            assert client("secretsmanager").list_secrets()["SecretList"] == []
        finally:
            cloud.close()


@contextmanager
def yarn(directory: Path) -> Iterator[Backend]:
    """Services of YARN."""
    with _hypervisor(directory) as hypervisor:
        rm = FakeYarn(hypervisor)
        try:
            provider = {"type": "yarn", "address_of_rm": rm.url, "python": sys.executable, "user": "me"}
            said = ("YARN did not take the service of the node four: ", "queue nowhere does not exist")
            yield Backend(_of_file(provider), {"queue": "nowhere"}, said)
            poll(lambda: rm.services == {}, 30)
        finally:
            rm.close()


def _openssl() -> str:
    return "" if shutil.which("openssl") else "the program openssl is not installed"


HERE: dict[str, tuple[Callable[[Path], AbstractContextManager[Backend]], Callable[[], str]]] = {
    "local": (processes, lambda: ""),
    "kubernetes": (
        kubernetes,
        lambda: "" if importlib.util.find_spec("kubernetes") else "Kubernetes' client is not installed",
    ),
    "aws": (amazon, lambda: missing("boto3", "moto.server", "flask")),
    "gcp": (google, lambda: missing("google.cloud.compute_v1")),
    "azure": (azure, lambda: missing("azure.mgmt.compute", "azure.identity") or _openssl()),
    "fargate": (fargate, lambda: missing("boto3", "moto.server", "flask")),
    "yarn": (yarn, lambda: missing()),
}
"""Those that need no machines of their own: name of the launcher → context, and why it cannot be had."""
