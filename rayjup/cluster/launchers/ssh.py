"""Nodes on machines that one has already, reached by ssh: one node per machine."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher
from rayjup.cluster.launchers.joining import address, join_command, secret, words_of
from rayjup.cluster.scaling.settings import NodeType
from rayjup.cluster.ssh import Machine, shell_path

_START_S = 120.0
_STOP_S = 60.0


class SshLauncher(Launcher):
    """Takes machines from a list.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in.
    hosts
        Their names or addresses. A type's ``node_config`` may name others, as ``{"hosts": [...]}``.
    user, port, key, known_hosts, proxy_command
        As of :class:`rayjup.cluster.ssh.Machine`.
    python
        Its Python, which has rayjup; as here by default.
    directory
        Where the credentials go, on each machine.
    setup
        Shell commands that run before the node is started.
    environment
        Environment variables of the node.
    """

    def __init__(
        self,
        cluster: Descriptor,
        *,
        hosts: Sequence[str] = (),
        user: str | None = None,
        port: int | None = None,
        key: str | None = None,
        known_hosts: str | None = None,
        proxy_command: str | None = None,
        python: str | None = None,
        directory: str = "~/.rayjup",
        setup: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        address(cluster)
        self._cluster = cluster
        self._hosts = list(dict.fromkeys(hosts))
        self._machine = Machine("", user, port, key, known_hosts, proxy_command)
        self._python = python or sys.executable
        self._directory = directory
        self._setup = list(setup)
        self._environment = dict(environment or {})
        self._state = Path(cluster.session_dir, "launcher-ssh.json")
        self._taken: dict[str, str] = {}  # name of a node → its host
        self._ended: dict[str, Instance] = {}
        self._logs: dict[str, str] = {}
        self._up: set[str] = set()
        self._lock = threading.Lock()
        if self._state.exists():  # of the launcher before this one
            self._taken = json.loads(self._state.read_text(encoding="utf-8"))
            self._up = set(self._taken)

    def _on(self, host: str) -> Machine:
        return replace(self._machine, host=host)

    def start(self, kind: NodeType, name: str) -> None:
        """Start the node on a machine that has none yet."""
        hosts = list(kind.node_config.get("hosts", self._hosts))
        with self._lock:
            free = [host for host in hosts if host not in self._taken.values()]
            if not free:
                raise RaySystemError(f"all {len(hosts)} machines for nodes of type {kind.name} are in use.")
            host = self._taken[name] = free[0]
            if host in self._hosts:  # one that fails is tried last the next time
                self._hosts.remove(host)
                self._hosts.append(host)
            self._write()
        try:
            machine = self._on(host)
            credentials = f"{self._directory}/{self._cluster.cluster_id}.pem"
            machine.put_private(secret(self._cluster), credentials)
            command = join_command(self._cluster, kind, name, shell_path(credentials), self._python)
            variables = [f"{key}={value}" for key, value in self._environment.items()]
            prefix = "".join(f"export {shell_word(each)} && " for each in variables)
            done = machine.run(f"{words_of(self._setup)}{prefix}{command}", timeout_s=_START_S)
            with self._lock:
                self._logs[name] = done.stdout + done.stderr
            if done.returncode:
                text = (done.stderr or done.stdout).strip()
                raise RaySystemError(
                    f"{host} did not become a node (exit code {done.returncode}): {text[-1500:]}"
                )
            with self._lock:
                self._up.add(name)
        except BaseException:
            with self._lock:
                self._taken.pop(name, None)
                self._write()
            raise

    def stop(self, name: str) -> None:
        """End the node on its machine, which is free again then."""
        with self._lock:
            host = self._taken.get(name)
            self._ended.pop(name, None)
        if host is None:
            return
        # Credentials are left to no machine that is not in the cluster.
        own = shell_path(f"{self._directory}/{self._cluster.cluster_id}.pem")
        end = f"{self._python} -m rayjup stop {self._cluster.cluster_id} || true; rm -f {own}"
        variables = "".join(f"export {shell_word(f'{k}={v}')} && " for k, v in self._environment.items())
        try:
            self._on(host).run(f"{variables}{{ {end}; }}", timeout_s=_STOP_S)
        finally:
            with self._lock:
                self._taken.pop(name, None)
                self._up.discard(name)
                self._write()

    def instances(self) -> dict[str, Instance]:
        """The machines that are in use."""
        with self._lock:
            return {
                name: Instance(name, "running" if name in self._up else "pending", host)
                for name, host in self._taken.items()
            }

    def log(self, name: str) -> str:
        """What starting the node has written."""
        with self._lock:
            return self._logs.get(name, "")

    def _write(self) -> None:
        if os.path.isdir(self._state.parent):  # else the cluster has ended
            self._state.write_text(json.dumps(self._taken), encoding="utf-8")


def shell_word(variable: str) -> str:
    """``NAME=value`` as a word of a shell script."""
    name, _, value = variable.partition("=")
    quoted = value.replace("'", "'\\''")
    return f"{name}='{quoted}'"
