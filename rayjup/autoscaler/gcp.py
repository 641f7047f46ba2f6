"""Machines of Google Compute Engine, made and ended with Google's client."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from rayjup.autoscaler.node_provider import NodeProvider

__all__ = ["GcpNodeProvider"]

_UP = ("PROVISIONING", "STAGING", "RUNNING")
_MADE_S = 180.0
_TAGS = "ray-tags"
_CLUSTER = "ray-cluster-name"


class GcpNodeProvider(NodeProvider):
    """Instances of Compute Engine; what a cluster file with ``provider: {type: gcp}`` uses.

    Parameters
    ----------
    provider_config
        ``project_id`` and ``availability_zone``; ``endpoint`` of another server than Google's (without a
        password, where it has no TLS). Who one is comes from Google's usual places.
    cluster_name
        Becomes a label of each instance.

    Notes
    -----
    A type's ``node_config`` is an instance as Google's API has it: ``machineType``, ``disks``,
    ``networkInterfaces``, ``serviceAccounts``, ``scheduling``, ``guestAccelerators`` … Networks, firewalls,
    keys and service accounts are not made: name those you have.
    """

    takes_several_callers = True

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        for key in ("project_id", "availability_zone"):
            if not provider_config.get(key):
                raise ValueError(f"provider: machines of Google need {key}.")
        try:
            from google.api_core.exceptions import GoogleAPICallError, NotFound
            from google.auth.credentials import AnonymousCredentials
            from google.auth.exceptions import GoogleAuthError
            from google.cloud import compute_v1
            from google.protobuf.json_format import ParseError
        except ImportError as error:
            raise ImportError("machines of Google need its client: pip install 'rayjup[gcp]'.") from error
        self._api = compute_v1
        self._refused = (GoogleAPICallError, GoogleAuthError)
        self._unknown, self._malformed = NotFound, ParseError
        given: dict[str, Any] = {}
        if endpoint := provider_config.get("endpoint"):
            given["client_options"] = {"api_endpoint": endpoint}
            if endpoint.startswith("http://"):
                given["credentials"] = AnonymousCredentials()
        try:
            self._instances = compute_v1.InstancesClient(**given)
        except GoogleAuthError as error:
            raise RuntimeError(f"Google does not know who you are: {error}") from error
        self._place = {
            "project": provider_config["project_id"],
            "zone": str(provider_config["availability_zone"]).split(",")[0].strip(),
        }

    def with_startup_script(self, node_config: dict[str, Any], script: str) -> dict[str, Any]:
        """The configuration of a machine that runs a script when it starts."""
        return _with_metadata(node_config, {"startup-script": script})

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Make instances; their names and what was asked for.

        Raises
        ------
        RuntimeError
            Google makes none, and why.
        """
        made: dict[str, Any] = {}
        base = f"{self.cluster_name}-{tags.get('ray-node-name', 'node')}"
        for number in range(count):
            name = _label(f"{base}-{number}" if number else base)
            body = self._instance(node_config, tags, name)
            try:
                asked = self._api.Instance.from_json(json.dumps(body))
            except self._malformed as error:
                said = str(error).splitlines()[0]
                raise RuntimeError(f"node_config is no instance of Compute Engine: {said}") from error
            try:
                # What cannot be had is often said by the operation only.
                self._instances.insert(**self._place, instance_resource=asked).result(_MADE_S)
            except self._refused as error:
                raise RuntimeError(str(error)) from error
            made[name] = body
        return made

    def _instance(self, node_config: Mapping[str, Any], tags: Mapping[str, str], name: str) -> dict[str, Any]:
        body = _with_metadata(node_config, {_TAGS: json.dumps(dict(tags))})
        zone = self._place["zone"]
        kind = body.get("machineType", "n1-standard-2")
        body["machineType"] = kind if "/" in kind else f"zones/{zone}/machineTypes/{kind}"
        for each in body.get("guestAccelerators") or ():
            if "/" not in each["acceleratorType"]:
                each["acceleratorType"] = f"zones/{zone}/acceleratorTypes/{each['acceleratorType']}"
        if isinstance(body.get("scheduling"), list):  # as in Ray's files
            body["scheduling"] = {key: value for each in body["scheduling"] for key, value in each.items()}
        body.setdefault(
            "networkInterfaces",
            [
                {
                    "network": "global/networks/default",
                    "accessConfigs": [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}],
                }
            ],
        )
        body["labels"] = {**(body.get("labels") or {}), _CLUSTER: _label(self.cluster_name)}
        body["name"] = name
        return body

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The names of instances of this cluster that run or are about to."""
        request = {**self._place, "filter": f'labels.{_CLUSTER} = "{_label(self.cluster_name)}"'}
        try:
            found = list(self._instances.list(request=request))
        except self._refused as error:
            raise RuntimeError(str(error)) from error
        wanted = {_CLUSTER: self.cluster_name, **tag_filters}.items()
        return [each.name for each in found if each.status in _UP and wanted <= _tags(each).items()]

    def is_running(self, node_id: str) -> bool:
        """Whether it is up."""
        found = self._look(node_id)
        return found is not None and found.status == "RUNNING"

    def is_terminated(self, node_id: str) -> bool:
        """Whether it has ended, or is about to."""
        found = self._look(node_id)
        return found is None or found.status not in _UP

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Its tags."""
        found = self._look(node_id)
        return _tags(found) if found is not None else {}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Add tags."""
        found = self._there(node_id)
        metadata = found.metadata
        for item in metadata.items:
            if item.key == _TAGS:
                item.value = json.dumps({**_tags(found), **tags})
        try:
            self._instances.set_metadata(**self._place, instance=node_id, metadata_resource=metadata).result(
                _MADE_S
            )
        except self._refused as error:
            raise RuntimeError(str(error)) from error

    def internal_ip(self, node_id: str) -> str:
        """Its private address."""
        return str(self._there(node_id).network_interfaces[0].network_i_p)

    def external_ip(self, node_id: str) -> str:
        """Its public address.

        Raises
        ------
        LookupError
            It has none.
        """
        for config in self._there(node_id).network_interfaces[0].access_configs:
            if config.nat_i_p:
                return str(config.nat_i_p)
        raise LookupError(f"the instance {node_id} has no public address; set use_internal_ips: true.")

    def terminate_node(self, node_id: str) -> None:
        """Delete it."""
        try:
            self._instances.delete(**self._place, instance=node_id)
        except self._unknown:
            return  # it ended long ago
        except self._refused as error:
            raise RuntimeError(str(error)) from error

    def console(self, node_id: str) -> str:
        """What it has written to its console."""
        try:
            return str(self._instances.get_serial_port_output(**self._place, instance=node_id).contents)
        except self._refused:
            return ""

    def _there(self, node_id: str) -> Any:
        found = self._look(node_id)
        if found is None:
            raise LookupError(f"there is no instance {node_id}.")
        return found

    def _look(self, node_id: str) -> Any:
        try:
            return self._instances.get(**self._place, instance=node_id)
        except self._unknown:
            return None
        except self._refused as error:
            raise RuntimeError(str(error)) from error


def _tags(instance: Any) -> dict[str, str]:
    """Labels allow neither capitals nor dots, so tags stand in the metadata."""
    for item in instance.metadata.items:
        if item.key == _TAGS:
            return dict(json.loads(item.value))
    return {}


def _with_metadata(node_config: Mapping[str, Any], items: Mapping[str, str]) -> dict[str, Any]:
    made = copy.deepcopy(dict(node_config))
    before = (made.get("metadata") or {}).get("items") or []
    kept = [each for each in before if each["key"] not in items]
    rows = [{"key": key, "value": value} for key, value in items.items()]
    made["metadata"] = {**(made.get("metadata") or {}), "items": [*kept, *rows]}
    return made


def _label(text: str) -> str:
    """Text as Google allows it for names and labels."""
    found = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")
    return (found if found[:1].isalpha() else f"n-{found}")[:63].strip("-")
