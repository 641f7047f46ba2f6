"""Starting and stopping clusters as processes of their own.

Neither the notebook nor the Jupyter server holds a cluster: both find it by its descriptor.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import time
import uuid
from collections.abc import Mapping
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.base.paths import session_root
from rayjup.cluster import credentials, descriptors, network
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launch import launch, reap
from rayjup.cluster.leftovers import remove_stores_of
from rayjup.cluster.nodes import NodeInfo, add_node, join, remove_node
from rayjup.cluster.scaling import monitor as scaling
from rayjup.cluster.scaling.settings import ScalingSettings, alike

__all__ = ["NodeInfo", "add_node", "join", "reap", "remove_node", "start", "stop", "stop_all"]

_KILLED_S = 5.0  # longest wait for the end of a process that was killed


def start(
    name: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    object_store_memory: int | None = None,
    memory: int | None = None,
    started_by: str = "python",
    linger_s: float | None = None,
    listed: bool = True,
    labels: dict[str, str] | None = None,
    node_name: str | None = None,
    owner_pid: int | None = None,
    settings: dict[str, Any] | None = None,
    host: str | None = None,
    autoscaling: ScalingSettings | None = None,
    adaptive: tuple[int, int] | None = None,
    launcher: Mapping[str, Any] | None = None,
    ip: str | None = None,
    port: int | None = None,
    credentials_file: str | None = None,
    timeout_s: float = 30.0,
) -> Descriptor:
    """Start a local cluster (a head and one node) and wait until it is usable.

    Parameters
    ----------
    name
        Shown in lists; made up when None.
    num_cpus, num_gpus, resources, memory, object_store_memory
        What the node offers; found out where None. Memory in bytes.
    linger_s
        Seconds the cluster lives on after its last driver has gone; None: until stopped.
    listed
        Whether others find it (a private cluster of one script is not listed).
    labels, node_name
        Of the cluster's first node, for label selectors and lists.
    owner_pid
        A process of this user with which the cluster ends, however that process ends; None: none.
    settings
        What ``init(_system_config=…)`` says.
    host
        Declares the first node to be on a host of its own: it shares neither sockets nor memory with
        nodes of other hosts, and speaks with them by TCP on loopback.
    autoscaling
        What the cluster may grow to; None: it keeps the nodes it is given.
    adaptive
        The same for nodes on this machine that are all as the first one: how many at least and at most.
    launcher
        Where its nodes are had, see :func:`rayjup.cluster.launchers.make`; None: on this machine.
    ip, port
        Where the cluster listens for other machines, with TLS; None for both: it does not. One alone: the
        other is found out (port 6379, if that is free).
    credentials_file
        What lets other machines in; made where it is missing. None: a new file in the session's directory.

    Returns
    -------
    Descriptor

    Raises
    ------
    RaySystemError
        When it did not come up within ``timeout_s`` seconds; nothing is left running then.
    """
    if adaptive is not None:
        offer = {
            "CPU": float(len(os.sched_getaffinity(0)) if num_cpus is None else num_cpus),
            **(resources or {}),
        }
        if num_gpus:
            offer["GPU"] = float(num_gpus)
        if object_store_memory is not None:
            offer["object_store_memory"] = float(object_store_memory)
        autoscaling = alike(adaptive, offer, labels or {})
    cluster_id = f"rj-{uuid.uuid4().hex[:8]}"
    config: dict[str, Any] = {
        "cluster_id": cluster_id,
        "name": name or cluster_id,
        "session_dir": f"{session_root()}/{cluster_id}",
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": resources,
        "object_store_memory": object_store_memory,
        "memory": memory,
        "started_by": started_by,
        "linger_s": linger_s,
        "listed": listed,
        "labels": labels,
        "node_name": node_name,
        "owner_pid": owner_pid,
        "settings": settings,
        "timeout_s": timeout_s,
        "token": secrets.token_hex(32),
        "host": host,
    }
    os.makedirs(config["session_dir"], mode=0o700)
    if ip is not None or port is not None:
        try:
            ip = ip or network.own_ip()
            place = {"ip": ip, "port": network.free_port(ip, port)}
            path = credentials.make(credentials_file or f"{config['session_dir']}/credentials.pem")
            config["network"] = {**place, "credentials": path}
        except RaySystemError:
            shutil.rmtree(config["session_dir"], ignore_errors=True)
            raise
    log = f"{config['session_dir']}/logs/cluster.log"
    try:
        cluster = Descriptor(**launch(config, f"the cluster {config['name']}", log, timeout_s))
    except RaySystemError:
        shutil.rmtree(config["session_dir"], ignore_errors=True)
        raise
    if autoscaling is not None:
        try:
            scaling.start(cluster, autoscaling, launcher or {})
        except BaseException:
            stop(cluster)
            raise
    return cluster


def stop(cluster: Descriptor | str, timeout_s: float = 10.0) -> bool:
    """Stop a cluster, given its descriptor, id or name; by force after ``timeout_s`` seconds.

    Returns True if there was something to stop. A Dask cluster that was joined is taken off the
    list only: whoever started it stops it.
    """
    descriptor = descriptors.find(cluster) if isinstance(cluster, str) else cluster
    if descriptor is None or not descriptor.is_alive():
        return False
    if descriptor.started_by == "node":  # of a cluster on another machine: only our node ends
        return _end_node(descriptor, timeout_s)
    if descriptor.started_by == "dask":  # somebody else's Dask cluster, that drivers of ours joined
        descriptor.remove()
        return False
    node = (int(descriptor.extra["node_pid"]), float(descriptor.extra["node_start_time"]))
    deadline = time.monotonic() + timeout_s
    monitor = scaling.running(descriptor.session_dir)

    processes = {node, (descriptor.head_pid, descriptor.head_start_time)}

    def running() -> list[tuple[int, float]]:
        reap()
        processes.add(descriptor.head())  # there may be another one now
        return [p for p in processes if descriptors.process_start_time(p[0]) == p[1] != 0.0]

    told: set[tuple[int, float]] = set()
    while (alive := running()) and time.monotonic() < deadline:
        # The head ends the others; where it has just ended by accident, its first node does.
        target = descriptor.head() if descriptor.head() in alive else node
        if target not in told:
            told.add(target)
            _signal(target, signal.SIGTERM)
        time.sleep(0.01)
    if running():
        descriptor.remove()
        deadline = time.monotonic() + _KILLED_S
        _signal(node, signal.SIGKILL)  # first: it would start another head
        while left := running():
            for process in left:
                _signal(process, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RaySystemError(
                    f"processes of the cluster {descriptor.name} do not end although they were killed: "
                    f"{', '.join(str(pid) for pid, _ in left)}. They hang in the kernel, as on a file system "
                    "that does not answer; look at them with 'ps -o pid,stat,wchan'."
                )
            time.sleep(0.01)
        shutil.rmtree(descriptor.session_dir, ignore_errors=True)
        remove_stores_of(node[0])
    descriptor.remove()  # a head that took over just now may have written it once more
    if monitor is not None:
        scaling.wait_end(monitor)
    return True


def _end_node(descriptor: Descriptor, timeout_s: float) -> bool:
    pid, started = descriptor.head_pid, descriptor.head_start_time
    ended = remove_node(NodeInfo("", descriptor.name, pid, started, "", ""), timeout_s=timeout_s)
    descriptor.remove()
    shutil.rmtree(descriptor.session_dir, ignore_errors=True)  # where it had to be killed
    remove_stores_of(pid)
    return ended


def _signal(process: tuple[int, float], number: int) -> bool:
    """Send a signal to a process, given its pid and start time; False when it is gone."""
    pid, started = process
    if not descriptors.process_start_time(pid) == started != 0.0:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def stop_all(timeout_s: float = 10.0) -> int:
    """Stop all listed clusters of this user; how many there were."""
    return sum(stop(descriptor, timeout_s) for descriptor in descriptors.list_clusters())
