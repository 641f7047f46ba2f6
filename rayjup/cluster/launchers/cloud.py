"""Nodes on machines of a cloud that join by themselves: the script they start with makes nodes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance
from rayjup.cluster.launchers.external import ExternalLauncher
from rayjup.cluster.launchers.joining import join_command, secret
from rayjup.cluster.launchers.ssh import shell_word
from rayjup.cluster.scaling.settings import NodeType


class CloudLauncher(ExternalLauncher):
    """Asks a provider that can hand a script to its machines, and needs no way to them.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in, at an address that they can reach.
    provider
        The file's ``provider``; ``module`` names the class.
    python
        The Python of the machines' image, which has rayjup.
    directory
        Where the credentials go, on each machine.
    setup
        Shell commands that run before the node is started.
    environment
        Environment variables of the node.
    at_end
        Shell commands for when the node has ended by itself, as with its cluster.

    Notes
    -----
    The script holds the cluster's credentials: whoever may read the machines' metadata, in the cloud's
    account or on such a machine, can join the cluster.
    """

    def __init__(
        self,
        cluster: Descriptor,
        *,
        provider: Mapping[str, Any],
        python: str = "python3",
        directory: str = "/var/lib/rayjup",
        setup: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        at_end: Sequence[str] = ("shutdown -h now",),
    ) -> None:
        super().__init__(cluster, provider=provider)
        if not hasattr(self._provider, "with_startup_script"):
            name = type(self._provider).__name__
            raise ValueError(f"{name} hands no scripts to its machines: leave join: startup_script out.")
        self._python, self._directory = python, directory
        self._setup, self._at_end = list(setup), list(at_end)
        self._environment = dict(environment or {})

    def script(self, kind: NodeType, name: str) -> str:
        """What the machine of a node runs when it starts."""
        credentials = f"{self._directory}/{self._cluster.cluster_id}.pem"
        command = join_command(self._cluster, kind, name, credentials, self._python, block=True)
        lines = [
            "#!/bin/bash",
            "umask 077",
            f"mkdir -p {self._directory}",
            f"cat > {credentials} <<'CREDENTIALS'",
            secret(self._cluster).strip(),
            "CREDENTIALS",
            *(f"export {shell_word(f'{key}={value}')}" for key, value in self._environment.items()),
            "become_a_node() {",
            *(f"  {line} || return" for line in self._setup),
            f"  {command} &",
            "  node=$!",
            "  trap 'kill -TERM $node' TERM",  # a signal for the script is to reach it
            "  wait $node; wait $node 2>/dev/null",
            "}",
            "become_a_node",
            f"rm -f {credentials}",
            *self._at_end,
        ]
        return "\n".join(lines) + "\n"

    def start(self, kind: NodeType, name: str) -> None:
        """Have a machine made; it makes itself a node."""
        config = self._provider.with_startup_script(dict(kind.node_config), self.script(kind, name))
        self._make(kind, name, config)

    def stop(self, name: str) -> None:
        """End the machine."""
        self._end(name)

    def instances(self) -> dict[str, Instance]:
        """The machines that were made and have not been ended."""
        found = {}
        for name, machine in self._known():
            with self._turn:
                if self._provider.is_running(machine):
                    found[name] = Instance(name, "running", machine)
                elif self._provider.is_terminated(machine):
                    found[name] = Instance(name, "ended", machine, "its machine has ended")
                else:
                    found[name] = Instance(name, "pending", machine)
        return found

    def log(self, name: str) -> str:
        """What the machine has written to its console, where the cloud tells."""
        machine = dict(self._known()).get(name)
        if machine is None:
            return ""
        with self._turn:
            return str(self._provider.console(machine))
