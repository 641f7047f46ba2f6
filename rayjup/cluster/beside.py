"""A node without resources beside a driver whose machine has none: ``python -m rayjup.cluster.beside JSON``.

It keeps the driver's objects, passes its messages on and brings what it reads; nothing runs there that asks
for a CPU. It is no Dask worker, and ends with the driver or with the cluster.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import psutil
from distributed.comm import connect

from rayjup.cluster import credentials, gateway
from rayjup.cluster.descriptors import process_start_time
from rayjup.engine.dask import plugins, unix
from rayjup.engine.dask.following import FollowingSecurity
from rayjup.engine.node.store_place import default_capacity, shm_free

_LOOK_S = 0.5
_START_S = 15.0


def start(address: str, cluster_id: str, owner: int) -> str:
    """Start the node of the process ``owner``; why that failed, or nothing.

    It is a node of the cluster when this returns.
    """
    config = {"address": address, "cluster_id": cluster_id, "owner": [owner, process_start_time(owner)]}
    process = subprocess.Popen(
        [sys.executable, "-m", "rayjup.cluster.beside", json.dumps(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        line = pipe.readline()  # the process limits how long it takes to say this
    if not line:
        return f"the node beside this process ended with code {process.wait()}"
    error: str = json.loads(line)["error"]
    return error


def main() -> None:
    """Be the node."""
    logging.basicConfig(level=logging.ERROR)
    unix.register()
    config = json.loads(sys.argv[1])
    if gateway.is_address(config["address"]):
        importlib.import_module("dask_gateway.comm")  # it registers itself
    try:
        asyncio.run(_run(config))
    except (OSError, asyncio.TimeoutError) as error:
        _report(f"a node beside this process did not come up: {type(error).__name__}: {error}")


def _report(error: str) -> None:
    """Tell whoever has started us; the second time nobody listens."""
    try:
        os.write(1, (json.dumps({"error": error}) + "\n").encode())
    except OSError:
        pass


async def _run(config: dict[str, Any]) -> None:
    address = config["address"]
    security = FollowingSecurity()
    arguments = security.get_connection_args("client")
    comm = await connect(address, **arguments)
    ip = comm.local_address.partition("://")[2].rpartition(":")[0]  # by which the cluster is reached
    await comm.close()
    owner, started = config["owner"]
    memory = psutil.virtual_memory().available
    resources = {"CPU": 0.0, "object_store_memory": float(int(default_capacity(memory, shm_free())))}
    user_file = os.environ.get(credentials.VARIABLE)
    plugin = plugins.NodePlugin(
        config["cluster_id"],
        None,
        resources,
        extra={"name": f"driver-{owner}", "beside": owner},
        renewed=([], [user_file] if user_file else []),
    )
    stand_in: Any = SimpleNamespace(  # what the plugin needs of a worker
        name=f"driver-{owner}",
        address=f"{'tls' if gateway.is_address(address) else address.partition('://')[0]}://{ip}:0",
        scheduler=SimpleNamespace(address=address),
        connection_args=arguments,
        security=SimpleNamespace(
            tls_ca_file=security.tls_ca_file,
            tls_worker_cert=security.tls_client_cert,
            tls_worker_key=security.tls_client_key,
        ),
    )
    try:
        await plugin.setup(stand_in)
        plugin.agent.on_shutdown = plugin.head_ended.set  # type: ignore[method-assign]  # as it is meant to be
        ended = asyncio.ensure_future(plugin.head_ended.wait())
        joined = asyncio.ensure_future(plugin.agent.joined.wait())
        await asyncio.wait((ended, joined), timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if not plugin.agent.joined.is_set():
            ended.cancel()
            _report(plugin.agent.refused or f"the head did not answer within {_START_S:g} s")
            return
        _report("")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # who waits for the end of the report is to see it
        os.close(null)
        while not ended.done() and process_start_time(owner) == started:
            await asyncio.wait((ended,), timeout=_LOOK_S)
        ended.cancel()
    finally:
        await plugin.teardown(stand_in)


if __name__ == "__main__":
    main()
