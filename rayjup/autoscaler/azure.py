"""Virtual machines of Microsoft Azure, made and ended with its management clients."""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Mapping
from typing import Any

from rayjup.autoscaler.node_provider import NodeProvider

__all__ = ["AzureNodeProvider"]

_UP = ("PowerState/starting", "PowerState/running")
_MADE_S = 600
_NETWORK_API = "2022-11-01"
_PARAMETERS = {
    *("vmSize", "imagePublisher", "imageOffer", "imageSku", "imageVersion", "imageId", "osDiskSizeGb"),
    *("priority", "evictionPolicy", "billingProfile", "adminUsername", "publicKey", "subnetId", "zones"),
    *("provisionPublicIp", "networkSecurityGroupId"),
}


class AzureNodeProvider(NodeProvider):
    """Virtual machines; what a cluster file with ``provider: {type: azure}`` uses.

    Parameters
    ----------
    provider_config
        ``subscription_id``, ``resource_group`` (which exists) and ``location``; ``subnet_id`` where the types
        do not name one; ``use_internal_ips``; ``ssh_user`` and ``ssh_public_key``, which cluster files have
        in ``auth``; ``endpoint`` of another server than Azure's. Who one is comes from Azure's usual places.
    cluster_name
        Becomes a tag of each machine.

    Notes
    -----
    Of a type's ``node_config``, ``azure_arm_parameters`` are used as Ray's files have them (``vmSize``,
    ``imagePublisher``, ``imageOffer``, ``imageSku``, ``imageVersion``, ``priority`` …) and
    ``virtual_machine``, parts of a machine as Azure's API has it, which go before all others. Interface,
    disk and public address belong to the machine and end with it. Groups, networks and identities are not
    made: name those you have.
    """

    takes_several_callers = True

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        for key in ("subscription_id", "resource_group", "location"):
            if not provider_config.get(key):
                raise ValueError(f"provider: machines of Azure need {key}.")
        try:
            from azure.core.exceptions import AzureError, ResourceNotFoundError
            from azure.identity import DefaultAzureCredential
            from azure.mgmt.compute import ComputeManagementClient
            from azure.mgmt.network import NetworkManagementClient
        except ImportError as error:
            raise ImportError("machines of Azure need its clients: pip install 'rayjup[azure]'.") from error
        self._refused, self._unknown = AzureError, ResourceNotFoundError
        self._group = str(provider_config["resource_group"])
        given: dict[str, Any] = {}
        if endpoint := provider_config.get("endpoint"):
            given = {"base_url": endpoint, "credential_scopes": [f"{endpoint}/.default"]}
        who = DefaultAzureCredential()
        subscription = str(provider_config["subscription_id"])
        self._machines = ComputeManagementClient(who, subscription, **given).virtual_machines
        self._interfaces = NetworkManagementClient(who, subscription, **given).network_interfaces

    def with_startup_script(self, node_config: dict[str, Any], script: str) -> dict[str, Any]:
        """The configuration of a machine that runs a script (by cloud-init) when it starts."""
        made = copy.deepcopy(dict(node_config))
        data = base64.b64encode(script.encode()).decode()
        own = made.get("virtual_machine") or {}
        made["virtual_machine"] = _merged(own, {"properties": {"osProfile": {"customData": data}}})
        return made

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Make machines; their names and what was asked for.

        Raises
        ------
        RuntimeError
            Azure makes none, and why.
        """
        made: dict[str, Any] = {}
        base = f"{self.cluster_name}-{tags.get('ray-node-name', 'node')}"
        for number in range(count):
            name = _machine_name(f"{base}-{number}" if number else base)
            body = self._machine(node_config, tags, name)
            try:
                self._machines.begin_create_or_update(self._group, name, body).result(_MADE_S)
            except self._refused as error:
                raise RuntimeError(_said(error)) from error
            made[name] = body
        return made

    def _machine(self, node_config: Mapping[str, Any], tags: Mapping[str, str], name: str) -> dict[str, Any]:
        if unknown := set(node_config) - {"azure_arm_parameters", "virtual_machine"}:
            raise ValueError(
                "node_config of Azure's machines may have azure_arm_parameters and virtual_machine; not "
                f"{', '.join(sorted(unknown))}."
            )
        given = dict(node_config.get("azure_arm_parameters") or {})
        if unknown := set(given) - _PARAMETERS:
            raise ValueError(
                f"azure_arm_parameters: {', '.join(sorted(unknown))} is unknown; known are "
                f"{', '.join(sorted(_PARAMETERS))}. Other parts go into virtual_machine."
            )
        subnet = given.get("subnetId") or self.provider_config.get("subnet_id")
        key = given.get("publicKey") or self.provider_config.get("ssh_public_key")
        if not subnet:
            raise ValueError("no network is named for machines of Azure: give the provider a subnet_id.")
        if not key:
            raise ValueError("machines of Azure need a public key: give auth an ssh_public_key.")
        user = given.get("adminUsername") or self.provider_config.get("ssh_user") or "ubuntu"
        disk: dict[str, Any] = {"createOption": "FromImage", "deleteOption": "Delete"}
        if given.get("osDiskSizeGb"):
            disk["diskSizeGB"] = int(given["osDiskSizeGb"])
        properties: dict[str, Any] = {
            "hardwareProfile": {"vmSize": given.get("vmSize", "Standard_D2s_v3")},
            "storageProfile": {"imageReference": _image(given), "osDisk": disk},
            "osProfile": {
                "computerName": name,
                "adminUsername": user,
                "linuxConfiguration": {
                    "disablePasswordAuthentication": True,
                    "ssh": {"publicKeys": [{"path": f"/home/{user}/.ssh/authorized_keys", "keyData": key}]},
                },
            },
            "networkProfile": {
                "networkApiVersion": _NETWORK_API,
                "networkInterfaceConfigurations": [self._interface(given, name, str(subnet))],
            },
        }
        for part in ("priority", "evictionPolicy", "billingProfile"):
            if given.get(part):
                properties[part] = given[part]
        body: dict[str, Any] = {
            "location": self.provider_config["location"],
            "tags": {**tags, "ray-cluster-name": self.cluster_name},
            "properties": properties,
        }
        if given.get("zones"):
            body["zones"] = [str(zone) for zone in given["zones"]]
        return _merged(body, node_config.get("virtual_machine") or {})

    def _interface(self, given: Mapping[str, Any], name: str, subnet: str) -> dict[str, Any]:
        address: dict[str, Any] = {"primary": True, "subnet": {"id": subnet}}
        inner = bool(self.provider_config.get("use_internal_ips"))
        if given.get("provisionPublicIp", not inner):
            address["publicIPAddressConfiguration"] = {
                "name": f"{name}-ip",
                "sku": {"name": "Standard"},
                "properties": {"deleteOption": "Delete"},
            }
        properties: dict[str, Any] = {
            "primary": True,
            "deleteOption": "Delete",
            "ipConfigurations": [{"name": f"{name}-ip", "properties": address}],
        }
        if given.get("networkSecurityGroupId"):
            properties["networkSecurityGroup"] = {"id": given["networkSecurityGroupId"]}
        return {"name": f"{name}-nic", "properties": properties}

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The names of machines of this cluster that are there and not being deleted."""
        wanted = {"ray-cluster-name": self.cluster_name, **tag_filters}.items()
        try:
            found = [each.as_dict() for each in self._machines.list(self._group)]
        except self._refused as error:
            raise RuntimeError(_said(error)) from error
        return [
            str(each["name"])
            for each in found
            if wanted <= each.get("tags", {}).items() and _provisioning(each) not in ("Deleting", "Failed")
        ]

    def is_running(self, node_id: str) -> bool:
        """Whether it is up."""
        return "PowerState/running" in self._states(node_id)

    def is_terminated(self, node_id: str) -> bool:
        """Whether it has ended, or is about to."""
        states = self._states(node_id)
        power = [state for state in states if state.startswith("PowerState/")]
        if power:
            return power[0] not in _UP
        return not any(state.endswith(("/creating", "/updating")) for state in states)

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Its tags."""
        found = self._look(node_id)
        return dict(found.get("tags") or {}) if found is not None else {}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Add tags."""
        try:
            body = {"tags": {**self.node_tags(node_id), **tags}}
            self._machines.begin_update(self._group, node_id, body).result(_MADE_S)
        except self._refused as error:
            raise RuntimeError(_said(error)) from error

    def internal_ip(self, node_id: str) -> str:
        """Its private address."""
        return str(self._address(node_id)["privateIPAddress"])

    def external_ip(self, node_id: str) -> str:
        """Its public address.

        Raises
        ------
        LookupError
            It has none.
        """
        public = self._address(node_id).get("publicIPAddress") or {}
        address = (public.get("properties") or {}).get("ipAddress")
        if address is None:
            raise LookupError(f"the machine {node_id} has no public address; set use_internal_ips: true.")
        return str(address)

    def terminate_node(self, node_id: str) -> None:
        """Delete it, with its disk and interface."""
        try:
            self._machines.begin_delete(self._group, node_id)
        except self._unknown:
            return  # it ended long ago
        except self._refused as error:
            raise RuntimeError(_said(error)) from error

    def console(self, node_id: str) -> str:
        """Nothing: what a machine writes to its console lies in a storage account, if at all."""
        return ""

    def _address(self, node_id: str) -> Mapping[str, Any]:
        found = self._look(node_id)
        if found is None:
            raise LookupError(f"there is no machine {node_id}.")
        interface = found["properties"]["networkProfile"]["networkInterfaces"][0]["id"].rpartition("/")[2]
        expand = "ipConfigurations/publicIPAddress"
        try:
            answer = self._interfaces.get(self._group, interface, expand=expand).as_dict()
        except self._refused as error:
            raise RuntimeError(_said(error)) from error
        properties: Mapping[str, Any] = answer["properties"]["ipConfigurations"][0]["properties"]
        return properties

    def _states(self, node_id: str) -> list[str]:
        try:
            view = self._machines.instance_view(self._group, node_id).as_dict()
        except self._unknown:
            return []
        except self._refused as error:
            raise RuntimeError(_said(error)) from error
        return [str(each.get("code", "")) for each in view.get("statuses") or ()]

    def _look(self, node_id: str) -> dict[str, Any] | None:
        try:
            return dict(self._machines.get(self._group, node_id).as_dict())
        except self._unknown:
            return None
        except self._refused as error:
            raise RuntimeError(_said(error)) from error


def _image(given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("imageId"):
        return {"id": given["imageId"]}
    names = {
        "publisher": "imagePublisher",
        "offer": "imageOffer",
        "sku": "imageSku",
        "version": "imageVersion",
    }
    found = {ours: given[theirs] for ours, theirs in names.items() if given.get(theirs)}
    if missing := [theirs for ours, theirs in names.items() if ours not in found]:
        raise ValueError(f"azure_arm_parameters: no image is named: {', '.join(missing)} is missing.")
    return found


def _provisioning(machine: Mapping[str, Any]) -> str:
    return str((machine.get("properties") or {}).get("provisioningState", ""))


def _said(error: Exception) -> str:
    return str(getattr(error, "message", None) or error).splitlines()[0]


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(ours)
    for key, value in theirs.items():
        before = made.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        made[key] = _merged(before, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return made


def _machine_name(text: str) -> str:
    """Text as Azure allows it for names of machines."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")[:64].strip("-")
