"""Machines that somebody else's code makes and ends (Ray's ``NodeProvider``), made nodes by ssh."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher
from rayjup.cluster.launchers.ssh import SshLauncher
from rayjup.cluster.scaling.settings import NodeType

_RUNS_S = 600.0
_LOOK_S = 0.5


class ExternalLauncher(Launcher):
    """Asks a provider.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in.
    provider
        The file's ``provider``; ``module`` names the class, as ``package.module.Class``.
    ssh
        Options of :class:`rayjup.cluster.launchers.ssh.SshLauncher`.
    use_internal_ips
        Whether machines are reached at their inner addresses.
    """

    def __init__(
        self,
        cluster: Descriptor,
        *,
        provider: Mapping[str, Any],
        ssh: Mapping[str, Any] | None = None,
        use_internal_ips: bool = True,
    ) -> None:
        name = str(provider.get("module", ""))
        module, _, attribute = name.rpartition(".")
        if not module:
            raise ValueError(f"provider: module {name!r} is no class: write package.module.Class.")
        kind = getattr(importlib.import_module(module), attribute)
        self._provider = kind(dict(provider), cluster.name)
        self._cluster = cluster
        self._internal = use_internal_ips
        self._ssh = SshLauncher(cluster, **dict(ssh or {}))
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()  # providers are made for one caller at a time
        self._find_again()

    def _find_again(self) -> None:
        """The machines of the launcher before this one, where the provider remembers tags."""
        known = {"ray-cluster-name": self._cluster.name, "ray-node-type": "worker"}
        try:
            for machine in self._provider.non_terminated_nodes(known):
                if name := self._provider.node_tags(machine).get("ray-node-name"):
                    self._ids[name] = machine
        except NotImplementedError:
            pass  # it remembers none

    def start(self, kind: NodeType, name: str) -> None:
        """Have a machine made, and make it a node."""
        tags = {
            "ray-cluster-name": self._cluster.name,
            "ray-node-type": "worker",
            "ray-user-node-type": kind.name,
            "ray-node-name": name,
        }
        with self._lock:
            try:
                self._provider.create_node_with_resources_and_labels(
                    dict(kind.node_config), tags, 1, dict(kind.resources), dict(kind.labels)
                )
            except (OSError, RuntimeError, ValueError, LookupError) as error:
                raise RaySystemError(f"the provider made no machine for the node {name}: {error}") from error
            found = self._provider.non_terminated_nodes({"ray-node-name": name})
            if not found:
                raise RaySystemError(f"the provider made no machine for the node {name}.")
            self._ids[name] = found[0]
        try:
            self._wait_runs(name)
            with self._lock:
                find = self._provider.internal_ip if self._internal else self._provider.external_ip
                ip = find(self._ids[name])
            self._ssh.start(_at(kind, ip), name)
        except BaseException:
            self._end(name)
            raise

    def _wait_runs(self, name: str) -> None:
        deadline = time.monotonic() + _RUNS_S
        while True:
            with self._lock:
                if self._provider.is_running(self._ids[name]):
                    return
                ended = self._provider.is_terminated(self._ids[name])
            if ended or time.monotonic() > deadline:
                raise RaySystemError(f"the machine for the node {name} ended, or was not up in time.")
            time.sleep(_LOOK_S)

    def stop(self, name: str) -> None:
        """End the node, and its machine."""
        try:
            self._ssh.stop(name)
        finally:
            self._end(name)

    def _end(self, name: str) -> None:
        with self._lock:
            machine = self._ids.pop(name, None)
            if machine is not None:
                self._provider.terminate_node(machine)

    def instances(self) -> dict[str, Instance]:
        """The machines that were made and have not been ended."""
        up = self._ssh.instances()
        with self._lock:
            found = {}
            for name, machine in self._ids.items():
                if self._provider.is_terminated(machine):
                    found[name] = Instance(name, "ended", machine, "its machine has ended")
                else:
                    state = up[name].state if name in up else "pending"
                    found[name] = Instance(name, state, machine)
            return found

    def log(self, name: str) -> str:
        """What starting the node has written."""
        return self._ssh.log(name)


def _at(kind: NodeType, ip: str) -> NodeType:
    return NodeType(kind.name, kind.resources, labels=kind.labels, node_config={"hosts": [ip]})
