"""Starting and stopping clusters as processes of their own.

Neither the notebook nor the Jupyter server holds a cluster: both find it by its descriptor.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.base.paths import session_root
from rayjup.cluster import descriptors
from rayjup.cluster.descriptors import Descriptor


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
        "timeout_s": timeout_s,
    }
    os.makedirs(config["session_dir"], mode=0o700)
    read_fd, write_fd = os.pipe()
    package_root = str(Path(__file__).parent.parent.parent)
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != package_root]
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "rayjup.cluster.boot", str(write_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[write_fd],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([package_root, *paths])},
        )
    finally:
        os.close(write_fd)
    _children.append(process)
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(config).encode())
    try:
        report = _read_report(read_fd, time.monotonic() + timeout_s)
    except BaseException:  # an interrupt: nobody would know of the cluster
        _end_session(process)
        raise
    finally:
        os.close(read_fd)
    if report is None:
        reason = _log_tail(config["session_dir"])
        _end_session(process)
        shutil.rmtree(config["session_dir"], ignore_errors=True)
        raise RaySystemError(
            f"the cluster {config['name']} did not start (it may take {timeout_s:g} s).\n{reason}"
        )
    return Descriptor(**json.loads(report))


_children: list[subprocess.Popen[bytes]] = []


def _read_report(fd: int, deadline: float) -> bytes | None:
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            return None
        part = os.read(fd, 65536)
        if not part:
            return data or None
        data += part


def _end_session(process: subprocess.Popen[bytes], timeout_s: float = 5.0) -> None:
    """End what is left of a cluster that did not come up, by force where it does not end itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break  # it has ended by itself
        # Asked politely, the node removes its directory in shared memory.
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
    _children.remove(process)


def _log_tail(session_dir: str) -> str:
    try:
        lines = (
            Path(session_dir, "logs", "cluster.log")
            .read_text(encoding="utf-8", errors="replace")
            .splitlines()
        )
    except FileNotFoundError:
        return "It wrote no log."
    return "The end of its log:\n" + "\n".join(lines[-15:])


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
    node_pid = int(descriptor.extra.get("node_pid", 0))
    node_started = descriptors.process_start_time(node_pid) if node_pid else 0.0
    os.kill(descriptor.head_pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s

    def running() -> bool:
        reap()
        node_runs = node_pid and descriptors.process_start_time(node_pid) == node_started != 0.0
        return descriptor.is_alive() or bool(node_runs)

    while running() and time.monotonic() < deadline:
        time.sleep(0.01)
    if running():
        for pid, started in ((descriptor.head_pid, descriptor.head_start_time), (node_pid, node_started)):
            if pid and descriptors.process_start_time(pid) == started != 0.0:
                os.kill(pid, signal.SIGKILL)
        descriptor.remove()
    return True


def reap() -> None:
    """Collect the exit status of clusters started by this process that have ended."""
    for process in list(_children):
        if process.poll() is not None:
            _children.remove(process)


def stop_all(timeout_s: float = 10.0) -> int:
    """Stop all listed clusters of this user; how many there were."""
    return sum(stop(descriptor, timeout_s) for descriptor in descriptors.list_clusters())
