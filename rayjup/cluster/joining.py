"""Joining a Dask cluster that somebody started with Dask's own commands.

The driver does not import Dask: a helper process registers the plugins, waits until a node on this
machine is ready and reports where its agent listens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from rayjup.cluster import credentials, gateway
from rayjup.cluster.descriptors import Descriptor, process_start_time

_TIMEOUT_S = 30.0


def join(address: str, timeout_s: float = _TIMEOUT_S) -> Descriptor:
    """Turn the Dask cluster at ``address`` into a rayjup cluster, or find the one it is already.

    Without a scheme it is ``tls://`` where RAYJUP_CREDENTIALS names credentials, else ``tcp://``. What
    dask-gateway lets in by ``gateway://`` it hands out itself.

    Raises
    ------
    ConnectionError
        No scheduler answers there, it or a worker runs another version of Python or has no
        rayjup, or none of its workers runs on this machine.
    """
    mine = credentials.given()
    if "://" not in address:
        address = f"{'tls' if mine else 'tcp'}://{address}"
    if gateway.is_address(address):
        tls = credentials.for_dask(gateway.access(address))
    else:
        tls = credentials.for_dask(mine) if mine and address.startswith("tls://") else {}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rayjup.cluster.join_helper", address, str(timeout_s)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **tls},
            timeout=timeout_s + 15.0,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(
            f"joining the Dask cluster at {address} took more than {timeout_s} s"
        ) from error
    lines = done.stdout.decode().splitlines()
    if not lines:
        tail = "\n".join(done.stderr.decode(errors="replace").splitlines()[-8:])
        raise ConnectionError(f"could not join the Dask cluster at {address}:\n{tail}")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "error" in answer:
        raise ConnectionError(answer["error"])
    descriptor = Descriptor(
        cluster_id=answer["cluster_id"],
        name=address,
        address=address,
        session_dir=answer["session_dir"],
        agent_socket=answer["agent_path"],
        head_pid=answer["head_pid"],
        head_start_time=process_start_time(answer["head_pid"]) if answer["head_here"] else 0.0,
        created=time.time(),
        started_by="dask",
        python=".".join(map(str, sys.version_info[:3])),
    )
    if descriptor.is_alive() and os.path.exists(descriptor.agent_socket):
        descriptor.write()
    return descriptor
