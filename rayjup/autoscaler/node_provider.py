"""Where nodes come from when somebody else's code knows that, as ``ray.autoscaler.node_provider``.

A cluster file with ``provider: {type: external, module: my_package.MyProvider}`` uses such a class: it makes
and ends machines, and rayjup makes them nodes by ssh.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from rayjup.autoscaler.command_runner import CommandRunnerInterface, SshCommandRunner
from rayjup.cluster.ssh import Machine

__all__ = ["NodeProvider"]


class NodeProvider:
    """Makes and ends machines; to be subclassed.

    Parameters
    ----------
    provider_config
        The file's ``provider``.
    cluster_name
        The file's ``cluster_name``.

    Examples
    --------
    >>> from rayjup.autoscaler.node_provider import NodeProvider
    >>> class Rack(NodeProvider):
    ...     def __init__(self, provider_config, cluster_name):
    ...         super().__init__(provider_config, cluster_name)
    ...         self.used = {}
    ...     def create_node(self, node_config, tags, count):
    ...         self.used["10.0.0.2"] = dict(tags)
    ...     def non_terminated_nodes(self, tag_filters):
    ...         return [n for n, tags in self.used.items() if tag_filters.items() <= tags.items()]
    ...     def internal_ip(self, node_id):
    ...         return node_id
    >>> rack = Rack({"type": "external"}, "example")
    >>> rack.create_node({}, {"ray-node-type": "worker"}, 1)
    >>> rack.get_node_id("10.0.0.2", use_internal_ip=True)
    '10.0.0.2'
    """

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        self.provider_config = provider_config
        self.cluster_name = cluster_name

    def is_readonly(self) -> bool:
        """Whether it only shows nodes, and makes none."""
        return False

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """The ids of machines that have all these tags and have not ended."""
        raise self._missing("non_terminated_nodes")

    def is_running(self, node_id: str) -> bool:
        """Whether a machine is up."""
        raise self._missing("is_running")

    def is_terminated(self, node_id: str) -> bool:
        """Whether a machine has ended."""
        raise self._missing("is_terminated")

    def node_tags(self, node_id: str) -> dict[str, str]:
        """The tags of a machine."""
        raise self._missing("node_tags")

    def external_ip(self, node_id: str) -> str:
        """The address of a machine for those outside."""
        raise self._missing("external_ip")

    def internal_ip(self, node_id: str) -> str:
        """The address of a machine for the others of its cluster."""
        raise self._missing("internal_ip")

    def get_node_id(self, ip_address: str, use_internal_ip: bool = False) -> str:
        """The machine that has an address.

        Raises
        ------
        ValueError
            None has it.
        """
        for node_id in self.non_terminated_nodes({}):
            if ip_address == (self.internal_ip(node_id) if use_internal_ip else self.external_ip(node_id)):
                return node_id
        raise ValueError(f"no machine of the cluster {self.cluster_name} has the address {ip_address}.")

    def create_node(
        self, node_config: dict[str, Any], tags: dict[str, str], count: int
    ) -> dict[str, Any] | None:
        """Make machines with these tags."""
        raise self._missing("create_node")

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> dict[str, Any] | None:
        """The same, for those who want to know what the nodes will offer."""
        return self.create_node(node_config, tags, count)

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Add tags to a machine."""
        raise self._missing("set_node_tags")

    def terminate_node(self, node_id: str) -> dict[str, Any] | None:
        """End a machine."""
        raise self._missing("terminate_node")

    def terminate_nodes(self, node_ids: list[str]) -> dict[str, Any] | None:
        """End machines."""
        for node_id in node_ids:
            self.terminate_node(node_id)
        return None

    @property
    def max_terminate_nodes(self) -> int | None:
        """How many machines may be ended in one call; None: any number."""
        return None

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        """The machines that end with the cluster."""
        return self.non_terminated_nodes(tag_filters)

    def get_command_runner(
        self,
        log_prefix: str,
        node_id: str,
        auth_config: dict[str, Any],
        cluster_name: str,
        process_runner: ModuleType,
        use_internal_ip: bool,
        docker_config: dict[str, Any] | None = None,
    ) -> CommandRunnerInterface:
        """What runs commands on a machine: ssh.

        Raises
        ------
        ValueError
            With ``docker_config``: nodes run without containers.
        """
        if docker_config and docker_config.get("container_name"):
            raise ValueError("docker: nodes of rayjup run without containers; leave container_name out.")
        ip = self.internal_ip(node_id) if use_internal_ip else self.external_ip(node_id)
        port = auth_config.get("ssh_port")
        return SshCommandRunner(
            Machine(
                ip,
                auth_config.get("ssh_user"),
                int(port) if port else None,
                auth_config.get("ssh_private_key"),
                auth_config.get("ssh_known_hosts"),
                auth_config.get("ssh_proxy_command"),
            )
        )

    def safe_to_scale(self) -> bool:
        """Whether machines may be made or ended now."""
        return True

    def post_process(self) -> None:
        """Called after each decision about the cluster's size."""

    def prepare_for_head_node(self, cluster_config: dict[str, Any]) -> dict[str, Any]:
        """The configuration as the head's machine is to see it."""
        return cluster_config

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with what the provider adds to it."""
        return cluster_config

    @staticmethod
    def fillout_available_node_types_resources(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """The configuration with the resources of each type of node."""
        return cluster_config

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} makes no nodes: it does not define {method}().")
