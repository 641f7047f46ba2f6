"""Machines of Amazon EC2, made and ended with boto3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rayjup.autoscaler.node_provider import NodeProvider

__all__ = ["Ec2NodeProvider"]

_UP = ("pending", "running")


class Ec2NodeProvider(NodeProvider):
    """Instances of EC2; what a cluster file with ``provider: {type: aws}`` uses.

    Parameters
    ----------
    provider_config
        ``region``; ``availability_zone`` (the first of several, divided by commas, is used), ``key_pair``
        (``key_name``), ``profile`` of the AWS configuration, ``endpoint_url``, as far as they are given.
    cluster_name
        Becomes a tag of each instance.

    Notes
    -----
    A type's ``node_config`` goes to ``run_instances`` as it is: ``InstanceType``, ``ImageId``, ``KeyName``,
    ``SecurityGroupIds``, ``IamInstanceProfile``, ``BlockDeviceMappings``, ``InstanceMarketOptions`` … Of
    ``SubnetIds`` the first is used. Roles, groups, keys and networks are not made: name those you have.
    """

    takes_several_callers = True

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        if not provider_config.get("region"):
            raise ValueError("provider: machines of Amazon need a region, such as us-west-2.")
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise ImportError("machines of Amazon need boto3: pip install 'rayjup[aws]'.") from error
        self._refused = (ClientError, BotoCoreError)
        session = boto3.Session(
            profile_name=provider_config.get("profile"), region_name=provider_config["region"]
        )
        self._ec2 = session.client("ec2", endpoint_url=provider_config.get("endpoint_url"))

    def with_startup_script(self, node_config: dict[str, Any], script: str) -> dict[str, Any]:
        """The configuration of a machine that runs a script (by cloud-init) when it starts."""
        given = {"UserData": script, "InstanceInitiatedShutdownBehavior": "terminate"}
        return {**node_config, **given}

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Run instances; their ids and what EC2 says of them.

        Raises
        ------
        RuntimeError
            EC2 makes none, and why.
        """
        wanted = dict(node_config)
        own = {"Name": f"{self.cluster_name}-{tags.get('ray-node-name', 'node')}", **tags}
        given = [dict(each) for each in wanted.pop("TagSpecifications", ())]
        for each in given:
            if each.get("ResourceType") == "instance":
                own |= {tag["Key"]: tag["Value"] for tag in each["Tags"]}
        others = [each for each in given if each.get("ResourceType") != "instance"]
        wanted["TagSpecifications"] = [{"ResourceType": "instance", "Tags": _rows(own)}, *others]
        if subnets := wanted.pop("SubnetIds", None):
            wanted.setdefault("SubnetId", subnets[0])
        if key := (self.provider_config.get("key_pair") or {}).get("key_name"):
            wanted.setdefault("KeyName", key)
        if (zone := self.provider_config.get("availability_zone")) and "SubnetId" not in wanted:
            wanted.setdefault("Placement", {"AvailabilityZone": zone.split(",")[0].strip()})
        wanted |= {"MinCount": count, "MaxCount": count}
        try:
            made = self._ec2.run_instances(**wanted)["Instances"]
            # EC2 does not know at once everywhere what it has just made.
            ids = [each["InstanceId"] for each in made]
            self._ec2.get_waiter("instance_exists").wait(InstanceIds=ids, WaiterConfig={"Delay": 1})
        except self._refused as error:
            raise RuntimeError(str(error)) from error
        return {each["InstanceId"]: each for each in made}

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The ids of instances of this cluster that are pending or running."""
        wanted = {"ray-cluster-name": self.cluster_name, **tag_filters}
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in wanted.items()]
        filters.append({"Name": "instance-state-name", "Values": list(_UP)})
        try:
            pages = list(self._ec2.get_paginator("describe_instances").paginate(Filters=filters))
        except self._refused as error:
            raise RuntimeError(str(error)) from error
        return [each["InstanceId"] for page in pages for r in page["Reservations"] for each in r["Instances"]]

    def is_running(self, node_id: str) -> bool:
        """Whether it is up."""
        return bool(self._state(node_id) == "running")

    def is_terminated(self, node_id: str) -> bool:
        """Whether it has ended, or is about to."""
        return self._state(node_id) not in _UP

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Its tags."""
        return {tag["Key"]: tag["Value"] for tag in self._look(node_id).get("Tags", ())}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Add tags."""
        self._ec2.create_tags(Resources=[node_id], Tags=_rows(tags))

    def internal_ip(self, node_id: str) -> str:
        """Its private address."""
        return str(self._look(node_id)["PrivateIpAddress"])

    def external_ip(self, node_id: str) -> str:
        """Its public address.

        Raises
        ------
        LookupError
            It has none.
        """
        address = self._look(node_id).get("PublicIpAddress")
        if address is None:
            raise LookupError(f"the instance {node_id} has no public address; set use_internal_ips: true.")
        return str(address)

    def terminate_node(self, node_id: str) -> None:
        """Terminate it."""
        self.terminate_nodes([node_id])

    def terminate_nodes(self, node_ids: list[str]) -> None:
        """Terminate them in one call."""
        if node_ids:
            try:
                self._ec2.terminate_instances(InstanceIds=list(node_ids))
            except self._refused as error:
                raise RuntimeError(str(error)) from error

    def console(self, node_id: str) -> str:
        """What it has written to its console."""
        try:
            return str(self._ec2.get_console_output(InstanceId=node_id).get("Output") or "")
        except self._refused:
            return ""

    def _state(self, node_id: str) -> str:
        found = self._look(node_id)
        return str(found["State"]["Name"]) if found else "terminated"

    def _look(self, node_id: str) -> Mapping[str, Any]:
        try:
            answer = self._ec2.describe_instances(InstanceIds=[node_id])
        except self._refused as error:
            if "InvalidInstanceID.NotFound" in str(error):  # it ended long ago
                return {}
            raise RuntimeError(str(error)) from error
        found = [each for r in answer["Reservations"] for each in r["Instances"]]
        return found[0] if found else {}


def _rows(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
