"""Machines of Amazon, against moto's EC2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rayjup.autoscaler.aws import Ec2NodeProvider
from rayjup.cluster import cluster_file

pytest.importorskip("boto3", reason="boto3 is not installed: pip install 'rayjup[aws]'")
moto = pytest.importorskip("moto", reason="moto is not installed: pip install 'moto[ec2]'")

TAGS = {"ray-cluster-name": "blue", "ray-node-type": "worker", "ray-node-name": "cpu-1"}


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        import boto3

        images = boto3.client("ec2", region_name="us-west-2").describe_images(Owners=["amazon"])["Images"]
        yield images[0]["ImageId"]


@pytest.fixture
def blue(image: str) -> Ec2NodeProvider:
    return Ec2NodeProvider(
        {"type": "aws", "region": "us-west-2", "availability_zone": "us-west-2b, us-west-2a"}, "blue"
    )


def test_instances_are_made_found_and_ended(blue: Ec2NodeProvider, image: str) -> None:
    own = [{"ResourceType": "instance", "Tags": [{"Key": "team", "Value": "research"}]}]
    config: dict[str, Any] = {"InstanceType": "m5.large", "ImageId": image, "TagSpecifications": own}
    (one,) = blue.create_node(config, TAGS, 1)
    assert config["TagSpecifications"] == own, "the configuration stays as it was given"
    two, three = blue.create_node(config, {**TAGS, "ray-node-name": "cpu-2"}, 2)
    assert sorted(blue.non_terminated_nodes({})) == sorted([one, two, three])
    assert blue.non_terminated_nodes({"ray-node-name": "cpu-1"}) == [one]
    tags = blue.node_tags(one)
    assert tags.items() >= {**TAGS, "Name": "blue-cpu-1", "team": "research"}.items()
    assert blue.is_running(one) and not blue.is_terminated(one)
    assert blue._look(one)["Placement"]["AvailabilityZone"] == "us-west-2b"
    assert blue.get_node_id(blue.internal_ip(one), use_internal_ip=True) == one
    assert blue.external_ip(one) != blue.internal_ip(one)
    blue.set_node_tags(one, {"ray-node-status": "up-to-date"})
    assert blue.non_terminated_nodes({"ray-node-status": "up-to-date"}) == [one]
    blue.terminate_node(one)
    blue.terminate_nodes([two, three])
    assert blue.non_terminated_nodes({}) == [] and blue.is_terminated(one)
    assert blue.is_terminated("i-0123456789abcdef0")


def test_other_clusters_are_not_seen(blue: Ec2NodeProvider, image: str) -> None:
    green = Ec2NodeProvider({"type": "aws", "region": "us-west-2"}, "green")
    green.create_node({"InstanceType": "m5.large", "ImageId": image}, {"ray-cluster-name": "green"}, 1)
    assert blue.non_terminated_nodes({}) == []


def test_what_cannot_be_had_is_said(blue: Ec2NodeProvider, image: str) -> None:
    config = {"InstanceType": "m5.large", "ImageId": image, "SubnetIds": ["subnet-nothing", "subnet-2"]}
    with pytest.raises(RuntimeError, match=r"InvalidSubnetID\.NotFound.*subnet-nothing"):
        blue.create_node(config, TAGS, 1)
    with pytest.raises(ValueError, match="need a region, such as us-west-2"):
        Ec2NodeProvider({"type": "aws"}, "blue")


def test_a_cluster_file_of_amazons(image: str) -> None:
    file = cluster_file.parse(
        {
            "cluster_name": "blue",
            "max_workers": 3,
            "provider": {"type": "aws", "region": "us-west-2", "cache_stopped_nodes": True},
            "auth": {"ssh_user": "ubuntu"},
            "available_node_types": {
                "cpu": {
                    "resources": {"CPU": 2},
                    "node_config": {"InstanceType": "m5.large", "ImageId": image},
                }
            },
        }
    )
    assert file.launcher["launcher"] == "external" and file.launcher["ssh"]["user"] == "ubuntu"
    assert file.launcher["provider"]["module"] == "rayjup.autoscaler.aws.Ec2NodeProvider"
    assert file.remarks == ("provider: cache_stopped_nodes has no effect: machines are terminated.",)
