"""The process that joins a Dask cluster for a driver; prints one line of JSON.

``python -m rayjup.cluster.join_helper ADDRESS SECONDS``
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import sys
from typing import Any

from distributed import Client

from rayjup.cluster import beside, gateway
from rayjup.engine.dask import attach, plugins, unix
from rayjup.engine.node.agent import host_id
from rayjup.engine.node.neighbours import declared_host

_FIRST_WORKER_S = 5.0  # a cluster that is just being started gets its workers a moment later


class CannotJoin(Exception):
    """Why it is not possible, for the user."""


async def join(address: str, timeout_s: float) -> dict[str, Any]:
    """Register what is missing and wait for a node on this machine; make one where there is no worker."""
    try:
        client = await Client(address, asynchronous=True, timeout=min(timeout_s, 5.0), set_as_default=False)
    except (OSError, ValueError) as error:
        raise CannotJoin(
            f"no Dask scheduler answers at {address} ({error}). Check the address that 'dask scheduler' "
            "printed, or leave out the address to start a cluster on this machine."
        ) from error
    try:
        await _check_versions(client, address)
        await _register(client, address)
        return await _local_node(client, address, timeout_s)
    finally:
        await client.close()


async def _check_versions(client: Client, address: str) -> None:
    versions = await client.get_versions(check=False)
    mine = ".".join(map(str, sys.version_info[:2]))
    places = {
        "the scheduler": versions["scheduler"],
        **{f"worker {a}": v for a, v in versions["workers"].items()},
    }
    for place, version in places.items():
        theirs = ".".join(str(version["host"]["python"]).split(".")[:2])
        if theirs != mine:
            raise CannotJoin(
                f"{place} of the Dask cluster at {address} runs Python {theirs}, this process runs Python "
                f"{mine}: functions cannot travel between them. Use the same Python (major.minor) on both "
                "sides."
            )


async def _register(client: Client, address: str) -> None:
    info = await _info(client)
    if info is None:
        cluster = {
            "cluster_id": plugins.new_cluster_id(),
            "name": address,
            "started_by": "dask",
            "linger_s": None,
            "session_dir": "",
        }
        try:
            await client.register_plugin(plugins.HeadPlugin(cluster))
        except ModuleNotFoundError as error:
            raise CannotJoin(
                f"the scheduler of the Dask cluster at {address} cannot import {error.name}: install rayjup, "
                "in the version this process has, where the scheduler and the workers run."
            ) from error
        info = await _info(client)
    if info is None:
        raise CannotJoin(f"the scheduler at {address} did not take rayjup's plugin; its log says why.")
    if info["protocol"] != attach.PROTOCOL:
        raise CannotJoin(
            f"the Dask cluster at {address} runs another version of rayjup (protocol {info['protocol']}, "
            f"here {attach.PROTOCOL}): use the same version on both sides."
        )
    await client.register_plugin(plugins.NodePlugin(info["cluster"]["cluster_id"]))


async def _info(client: Client) -> dict[str, Any] | None:
    known = await client.run_on_scheduler(_has_head)
    return await client.scheduler.rayjup_info() if known else None


def _has_head(dask_scheduler: Any = None) -> bool:
    return "rayjup" in dask_scheduler.extensions


async def _local_node(client: Client, address: str, timeout_s: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    first_worker_by = loop.time() + min(_FIRST_WORKER_S, timeout_s)
    here = declared_host() or host_id()
    owner, started = os.getppid(), False
    while True:
        info = await _info(client)
        assert info is not None
        refused = info["refused"].get(here)
        if refused:
            raise CannotJoin(f"the worker on this machine is no node of the cluster: {refused}")
        for node in info["nodes"]:
            if node["lane_host"] == here and node.get("beside") in (None, owner):
                return {
                    "cluster_id": info["cluster"]["cluster_id"],
                    "session_dir": node["session_dir"],
                    "agent_path": node["agent_path"],
                    "head_pid": info["head_pid"],
                    "head_here": info["host_id"] == here,
                }
        workers = (await client.scheduler.identity(n_workers=-1))["workers"]
        if not workers:
            if loop.time() < first_worker_by:
                await asyncio.sleep(0.05)
                continue
            raise CannotJoin(
                f"the Dask cluster at {address} has no workers yet: start one with 'dask worker {address}'."
            )
        if not started and len([n for n in info["nodes"] if not n.get("beside")]) >= len(workers):
            started = True  # all workers are nodes, and none is here
            problem = await loop.run_in_executor(
                None, beside.start, address, info["cluster"]["cluster_id"], owner
            )
            if problem:
                raise CannotJoin(
                    f"no worker of the Dask cluster at {address} runs on this machine, and this process "
                    f"cannot have a node of its own: {problem} Start a worker here with 'dask worker "
                    f"{address}', or run the notebook on one of the cluster's machines."
                )
            continue
        if loop.time() > deadline:
            elsewhere = ", ".join(sorted({n["host"] for n in info["nodes"]})) or "none is ready"
            raise CannotJoin(
                f"no worker of the Dask cluster at {address} is ready on this machine (ready elsewhere: "
                f"{elsewhere}). Start one here with 'dask worker {address}', or run the notebook "
                "on one of those machines."
            )
        await asyncio.sleep(0.05)


def gateway_comms(address: str) -> None:
    """Let Dask reach schedulers behind the proxy of dask-gateway."""
    if gateway.is_address(address):
        importlib.import_module("dask_gateway.comm")  # it registers itself


def main() -> None:
    """Join and print the outcome."""
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    unix.register()
    gateway_comms(sys.argv[1])
    try:
        answer = asyncio.run(join(sys.argv[1], float(sys.argv[2])))
    except CannotJoin as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
