"""Further nodes of a running local cluster, each a process of its own on this machine.

They belong to the cluster: they end with its first node, when the cluster is stopped, or alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.base.paths import session_root
from rayjup.cluster import credentials, descriptors, network
from rayjup.cluster.descriptors import Descriptor, process_start_time
from rayjup.cluster.launch import launch, reap


@dataclass(frozen=True)
class NodeInfo:
    """A node that was started here: enough to watch it and to end it."""

    node_id: str
    name: str
    pid: int
    start_time: float
    agent_socket: str
    store_dir: str

    def is_alive(self) -> bool:
        """True while its process runs (a recycled pid does not count)."""
        reap()
        return process_start_time(self.pid) == self.start_time != 0.0


def add_node(
    cluster: Descriptor | str,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    name: str | None = None,
    object_store_memory: int | None = None,
    memory: int | None = None,
    settings: dict[str, Any] | None = None,
    host: str | None = None,
    timeout_s: float = 30.0,
) -> NodeInfo:
    """Start one more node on this machine and wait until the cluster has it.

    Parameters
    ----------
    cluster
        A running local cluster: its descriptor, id or name.
    num_cpus, resources, memory, object_store_memory
        What the node offers, as in :func:`rayjup.cluster.manager.start`.
    num_gpus
        None: no GPUs, since the head's node offers those of the machine.
    labels
        For label selectors.
    settings
        What ``init(_system_config=…)`` says.
    host
        Declares the node to be on a host of its own, as in :func:`rayjup.cluster.manager.start`; the other
        nodes have to declare theirs, too.
    name
        Shown in lists; made up when None.

    Raises
    ------
    RaySystemError
        There is no such cluster, somebody else's Dask keeps it, or the node did not come up.
    """
    descriptor = descriptors.find(cluster) if isinstance(cluster, str) else cluster
    if descriptor is None or not descriptor.is_alive():
        shown = cluster if isinstance(cluster, str) else cluster.name
        raise RaySystemError(f"there is no running cluster {shown!r} that a node could be added to.")
    if descriptor.started_by == "dask":
        raise RaySystemError(
            f"the cluster {descriptor.name} was started with Dask's own commands: start 'dask worker "
            f"{descriptor.address}' instead; the worker becomes a node by itself."
        )
    key = uuid.uuid4().hex[:8]
    name = name or f"node-{key}"
    config: dict[str, Any] = {
        "role": "node",
        "cluster_id": descriptor.cluster_id,
        "session_dir": descriptor.session_dir,
        "node_dir": f"{descriptor.session_dir}/n-{key}",
        "log": f"{descriptor.session_dir}/logs/node-{key}.log",
        "head": descriptor.head(),
        "supervisor": [descriptor.extra["node_pid"], descriptor.extra["node_start_time"]],
        "node_name": name,
        "num_cpus": num_cpus,
        "num_gpus": num_gpus or 0,
        "resources": resources,
        "labels": labels,
        "object_store_memory": object_store_memory,
        "memory": memory,
        "settings": settings,
        "host": host,
    }
    if descriptor.network is not None:
        where = network.split(descriptor.network)
        config["network"] = {"ip": where[0], "port": where[1], "credentials": descriptor.credentials}
    try:
        return NodeInfo(**launch(config, f"the node {name}", str(config["log"]), timeout_s))
    except RaySystemError:
        shutil.rmtree(str(config["node_dir"]), ignore_errors=True)
        raise


def join(
    address: str,
    *,
    credentials_file: str | None = None,
    ip: str | None = None,
    name: str | None = None,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    memory: int | None = None,
    settings: dict[str, Any] | None = None,
    timeout_s: float = 30.0,
) -> NodeInfo:
    """Make this machine a node of a cluster on another one, and wait until the cluster has it.

    It ends with the cluster, or when the cluster cannot be reached for half a minute.

    Parameters
    ----------
    address
        ``host:port`` of the cluster, as ``rayjup start --head --port …`` prints it.
    credentials_file
        What lets this machine in; None: what RAYJUP_CREDENTIALS names.
    ip
        The address of this machine for the others; None: the one by which it reaches the cluster.
    name, num_cpus, num_gpus, resources, labels, object_store_memory, memory, settings
        As of :func:`add_node`; here GPUs are found out, too.

    Raises
    ------
    RaySystemError
        There are no credentials, nobody answers at the address, or the cluster does not take this machine.
    """
    host, port = network.split(address)
    mine = credentials.given(credentials_file)
    if mine is None:
        raise RaySystemError(
            f"the cluster at {address} lets nobody in without credentials: copy its file to this machine "
            f"(mode 0600) and name it with --credentials or {credentials.VARIABLE}."
        )
    _reachable(host, port, address)
    key = uuid.uuid4().hex[:8]
    session = f"{session_root()}/n-{key}"
    os.makedirs(f"{session}/logs", mode=0o700)
    own = f"{session}/credentials.pem"
    credentials.write(own, Path(mine).read_text(encoding="ascii"))
    name = name or f"{socket.gethostname()}-{key[:4]}"
    config = {
        "role": "node",
        "far": {
            "address": f"tls://{network.joined(host, port)}",
            "ip": ip or network.own_ip(host),
            "credentials": own,
            "source": mine,
        },
        "cluster_id": "",
        "session_dir": session,
        "node_dir": f"{session}/n-{key}",
        "log": f"{session}/logs/node-{key}.log",
        "node_name": name,
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": resources,
        "labels": labels,
        "object_store_memory": object_store_memory,
        "memory": memory,
        "settings": settings,
    }
    try:
        return NodeInfo(**launch(config, f"the node {name}", str(config["log"]), timeout_s))
    except BaseException:
        shutil.rmtree(session, ignore_errors=True)
        raise


def _reachable(host: str, port: int, address: str) -> None:
    try:
        socket.create_connection((host, port), 10.0).close()
    except OSError as error:
        raise RaySystemError(
            f"nobody answers at {address} ({error.strerror or error}): check address and port, and that "
            "no firewall is between."
        ) from error


def remove_node(node: NodeInfo, *, graceful: bool = True, timeout_s: float = 10.0) -> bool:
    """End a node that :func:`add_node` started; True if it was still there.

    Gracefully, it ends its processes and removes its files itself; otherwise it is killed as a
    machine that fails would be, and the head tidies up. What ran there is retried elsewhere
    where that is allowed.
    """
    if not node.is_alive():
        return False
    if graceful:
        _signal(node, signal.SIGTERM)
        if _wait_end(node, timeout_s):
            return True
    _signal(node, signal.SIGKILL)
    _wait_end(node, timeout_s)
    return True


def _signal(node: NodeInfo, number: int) -> None:
    try:
        os.kill(node.pid, number)
    except ProcessLookupError:
        pass  # it has ended meanwhile


def _wait_end(node: NodeInfo, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while node.is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
