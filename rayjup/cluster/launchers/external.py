"""Machines that somebody else's code makes and ends (Ray's ``NodeProvider``), made nodes by ssh."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher
from rayjup.cluster.launchers.ssh import SshLauncher
from rayjup.cluster.scaling.settings import NodeType

logger = logging.getLogger(__name__)

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
        self._making: set[str] = set()
        self._unwanted: set[str] = set()  # given back while they were being made
        self._lock = threading.Lock()
        # Providers are made for one caller at a time, unless they say otherwise.
        several = bool(getattr(self._provider, "takes_several_callers", False))
        self._turn: AbstractContextManager[Any] = nullcontext() if several else threading.Lock()
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

    def _make(self, kind: NodeType, name: str, config: dict[str, Any]) -> None:
        """Have a machine made for a node."""
        tags = {
            "ray-cluster-name": self._cluster.name,
            "ray-node-type": "worker",
            "ray-user-node-type": kind.name,
            "ray-node-name": name,
        }
        with self._lock:
            self._making.add(name)
        try:
            with self._turn:
                self._provider.create_node_with_resources_and_labels(
                    config, tags, 1, dict(kind.resources), dict(kind.labels)
                )
                found = self._provider.non_terminated_nodes({"ray-node-name": name})
            if not found:
                raise RaySystemError(f"the provider made no machine for the node {name}.")
            with self._lock:
                self._ids[name] = found[0]
        except (OSError, RuntimeError, ValueError, LookupError) as error:
            self._end_unseen(name)
            raise RaySystemError(f"the provider made no machine for the node {name}: {error}") from error
        finally:
            with self._lock:
                self._making.discard(name)
                unwanted = name in self._unwanted
                self._unwanted.discard(name)
        if unwanted:
            self._end(name)
            raise RaySystemError(f"the node {name} was given back while its machine was being made.")

    def _end_unseen(self, name: str) -> None:
        """Nobody pays for a machine that was made although the provider failed."""
        try:
            with self._turn:
                for machine in self._provider.non_terminated_nodes({"ray-node-name": name}):
                    self._provider.terminate_node(machine)
        except (OSError, RuntimeError, LookupError) as error:
            logger.error("a machine for the node %s may have been left: %s", name, error)

    def start(self, kind: NodeType, name: str) -> None:
        """Have a machine made, and make it a node."""
        self._make(kind, name, dict(kind.node_config))
        try:
            self._wait_runs(name)
            with self._turn:
                find = self._provider.internal_ip if self._internal else self._provider.external_ip
                ip = find(self._ids[name])
            self._ssh.start(_at(kind, ip), name)
        except BaseException:
            self._end(name)
            raise

    def _wait_runs(self, name: str) -> None:
        deadline = time.monotonic() + _RUNS_S
        while True:
            machine = self._ids.get(name)  # None: given back
            with self._turn:
                if machine is not None and self._provider.is_running(machine):
                    return
                ended = machine is None or self._provider.is_terminated(machine)
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
            if name in self._making:
                self._unwanted.add(name)
            machine = self._ids.pop(name, None)
        if machine is None:
            return
        try:
            with self._turn:
                self._provider.terminate_node(machine)
        except (OSError, RuntimeError, LookupError) as error:
            with self._lock:
                self._ids[name] = machine  # it is there still
            raise RaySystemError(f"the machine {machine} could not be ended: {error}") from error

    def instances(self) -> dict[str, Instance]:
        """The machines that were made and have not been ended."""
        up = self._ssh.instances()
        found = {}
        for name, machine in self._known():
            with self._turn:
                ended = self._provider.is_terminated(machine)
            if ended:
                found[name] = Instance(name, "ended", machine, "its machine has ended")
            else:
                state = up[name].state if name in up else "pending"
                found[name] = Instance(name, state, machine)
        return found

    def _known(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._ids.items())

    def log(self, name: str) -> str:
        """What starting the node has written."""
        return self._ssh.log(name)


def _at(kind: NodeType, ip: str) -> NodeType:
    return NodeType(kind.name, kind.resources, labels=kind.labels, node_config={"hosts": [ip]})
