"""Brings up a local cluster: ``python -m rayjup.cluster.boot`` with a JSON configuration.

The process starts the zygote first (it imports on the other core meanwhile), imports Dask once
and forks: the parent becomes the node, the child the head. Both are told apart from the terminal
and live until the head decides otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any, NoReturn

from rayjup._version import __version__
from rayjup.cluster.descriptors import Descriptor, process_start_time, runtime_dir
from rayjup.engine.node.executors import spawn_zygote


def main() -> None:
    """Read the configuration from standard input; report on the descriptor named in argv."""
    config: dict[str, Any] = json.load(sys.stdin)
    report_fd = int(sys.argv[1])
    session = config["session_dir"]
    os.makedirs(f"{session}/logs", mode=0o700, exist_ok=True)
    os.chmod(session, 0o700)
    log = os.open(f"{session}/logs/cluster.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    zygote = spawn_zygote(f"{session}/logs")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Here and not above: the zygote imports on the other core meanwhile.
    import dask

    from rayjup.engine.dask import plugins, quiet, unix

    logging.getLogger("distributed").setLevel(logging.WARNING)
    dask.config.set(
        {
            "temporary-directory": session,
            "distributed.worker.memory.target": False,
            "distributed.worker.profile.enabled": False,
        }
    )
    unix.register()
    gc.freeze()
    ready_read, ready_write = os.pipe()
    head_pid = os.fork()
    if head_pid == 0:
        os.close(ready_read)
        zygote[1].close()
        _run_and_exit(_run_head(config, report_fd, ready_write, plugins, quiet))
    os.close(report_fd)
    os.close(ready_write)
    if not os.read(ready_read, 1):
        os._exit(1)  # the head has reported why
    os.close(ready_read)
    _run_and_exit(_run_node(config, zygote, plugins, quiet))


def _run_and_exit(main: Coroutine[Any, Any, None]) -> NoReturn:
    """Run to the end and leave without the interpreter's own tidying up, which other threads can hold up."""
    code = 1
    try:
        asyncio.run(main)
        code = 0
    except BaseException:  # the last frame of the process: the log is all that can be told
        logging.getLogger(__name__).exception("the cluster process ends with an error")
    finally:
        logging.shutdown()
        os._exit(code)


async def _run_head(config: dict[str, Any], report_fd: int, ready_fd: int, plugins: Any, quiet: Any) -> None:
    session = config["session_dir"]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    plugin = plugins.HeadPlugin(
        {key: config[key] for key in ("cluster_id", "name", "started_by", "linger_s", "session_dir")}
    )
    scheduler = quiet.QuietScheduler(
        host=f"unix://{session}/head.sock", protocol="unix", dashboard=False, idle_timeout=None
    )
    async with scheduler:
        await plugin.start(scheduler)
        scheduler.add_plugin(plugin)
        head = plugin.head
        os.write(ready_fd, b"1")
        os.close(ready_fd)
        await asyncio.wait_for(plugin.wait_for_node(), config.get("timeout_s", 30.0))
        node = next(iter(head.nodes.values()))
        descriptor = Descriptor(
            cluster_id=config["cluster_id"],
            name=config["name"],
            address=scheduler.address,
            session_dir=session,
            agent_socket=node.info["agent_path"],
            head_pid=os.getpid(),
            head_start_time=process_start_time(os.getpid()),
            created=time.time(),
            started_by=config["started_by"],
            linger_s=config["linger_s"],
            python=".".join(map(str, sys.version_info[:3])),
            rayjup=__version__,
            extra={"node_pid": node.info["pid"]},
        )
        try:
            await _serve(head, descriptor, config, report_fd, stop)
        finally:
            # Also when the descriptor cannot be written: the node tidies up only if it is told to end.
            head.shutdown_nodes()
            deadline = loop.time() + 5.0
            while head.nodes and loop.time() < deadline:  # noqa: ASYNC110 - the head knows no event loop
                await asyncio.sleep(0.01)
            for info in head.dead_nodes:
                # The connection of a killed process ends before the process has quite gone.
                while process_start_time(info["pid"]) and loop.time() < deadline:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.01)
                if process_start_time(info["pid"]) == 0.0:  # killed: it could not tidy up
                    shutil.rmtree(info["store_dir"], ignore_errors=True)
                    shutil.rmtree(session, ignore_errors=True)


async def _serve(
    head: Any, descriptor: Descriptor, config: dict[str, Any], report_fd: int, stop: asyncio.Event
) -> None:
    """Tell where the cluster is, and wait for its end."""
    if config.get("listed", True):
        descriptor.write()
    os.write(report_fd, json.dumps(descriptor.__dict__).encode())
    os.close(report_fd)
    head.on_no_nodes = stop.set  # a local cluster is nothing without its node
    _end_when_unused(head, config["linger_s"], stop)
    try:
        await stop.wait()
    finally:
        descriptor.remove()


def _end_when_unused(head: Any, linger_s: float | None, stop: asyncio.Event) -> None:
    """Stop ``linger_s`` seconds after the last driver has gone (never, if None)."""
    if linger_s is None:
        return
    loop = asyncio.get_running_loop()
    pending: list[asyncio.TimerHandle] = []

    def changed(drivers: int) -> None:
        while pending:
            pending.pop().cancel()
        if drivers == 0:
            pending.append(loop.call_later(linger_s, stop.set))

    head.on_driver_change = changed
    # Whoever started us connects at once; if it died meanwhile, nobody will.
    pending.append(loop.call_later(max(linger_s, 20.0), stop.set))


async def _run_node(config: dict[str, Any], zygote: Any, plugins: Any, quiet: Any) -> None:
    import psutil

    session = config["session_dir"]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    declared = dict(config.get("resources") or {})
    if config.get("num_gpus") is not None:
        declared["GPU"] = float(config["num_gpus"])
    cpus = config.get("num_cpus")
    cpus = float(len(os.sched_getaffinity(0)) if cpus is None else cpus)
    memory = float(config.get("memory") or psutil.virtual_memory().available)
    resources = plugins.complete_resources(declared, cpus, memory, config.get("object_store_memory"))
    if config.get("memory"):
        resources["memory"] = float(config["memory"])
    plugin = plugins.NodePlugin(config["cluster_id"], session, resources, is_head=True, zygote=zygote)
    worker = quiet.QuietWorker(
        f"unix://{session}/head.sock",
        host=f"unix://{session}/node.sock",
        protocol="unix",
        name=config.get("node_name") or "node-0",
        nthreads=1,
        memory_limit=0,
        dashboard=False,
        plugins=(plugin,),
        local_directory=session,
        death_timeout=10,
    )
    async with worker:
        plugin.agent.on_shutdown = stop.set
        finished = asyncio.ensure_future(worker.finished())
        await asyncio.wait(
            {finished, asyncio.ensure_future(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
    shutil.rmtree(session, ignore_errors=True)
    # The head has removed it, unless it was killed.
    (runtime_dir() / f"{config['cluster_id']}.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
