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
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.base.paths import session_root
from rayjup.cluster import descriptors
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launch import launch, reap
from rayjup.cluster.leftovers import remove_stores_of
from rayjup.cluster.nodes import NodeInfo, add_node, remove_node

__all__ = ["NodeInfo", "add_node", "reap", "remove_node", "start", "stop", "stop_all"]

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

    Returns
    -------
    Descriptor

    Raises
    ------
    RaySystemError
        When it did not come up within ``timeout_s`` seconds; nothing is left running then.
    """
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
    log = f"{config['session_dir']}/logs/cluster.log"
    try:
        return Descriptor(**launch(config, f"the cluster {config['name']}", log, timeout_s))
    except RaySystemError:
        shutil.rmtree(config["session_dir"], ignore_errors=True)
        raise


def stop(cluster: Descriptor | str, timeout_s: float = 10.0) -> bool:
    """Stop a cluster, given its descriptor, id or name; by force after ``timeout_s`` seconds.

    Returns True if there was something to stop. A Dask cluster that was joined is taken off the
    list only: whoever started it stops it.
    """
    descriptor = descriptors.find(cluster) if isinstance(cluster, str) else cluster
    if descriptor is None or not descriptor.is_alive():
        return False
    if descriptor.started_by == "dask":  # somebody else's Dask cluster, that drivers of ours joined
        descriptor.remove()
        return False
    node = (int(descriptor.extra["node_pid"]), float(descriptor.extra["node_start_time"]))
    deadline = time.monotonic() + timeout_s

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
    return True


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
