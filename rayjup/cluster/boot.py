"""Brings up a local cluster, or one more node of it: ``python -m rayjup.cluster.boot`` with JSON.

The process starts the zygote first (it imports on the other core meanwhile) and imports Dask once.
For a cluster it then forks: the parent becomes the first node, the child the head. All are told
apart from the terminal and live until the head decides otherwise. When the head ends by accident, the
first node starts another one (:mod:`rayjup.cluster.supervisor`), which goes on from the journal. A
cluster ends with its first node; whoever is left then removes what lies on disk and in shared memory.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from rayjup._version import __version__
from rayjup.cluster.descriptors import Descriptor, process_start_time, read, runtime_dir
from rayjup.cluster.leftovers import note_up, remove_session_if_last, tidy_after_node
from rayjup.cluster.network import joined
from rayjup.cluster.supervisor import FarFollower, Follower, Supervisor, start_template
from rayjup.engine.lane import credentials
from rayjup.engine.node.agent import host_id
from rayjup.engine.node.zygotes import spawn_zygote


def main() -> None:
    """Read the configuration from standard input; report on the descriptor named in argv."""
    config: dict[str, Any] = json.load(sys.stdin)
    report_fd = int(sys.argv[1])
    session = config["session_dir"]
    role = config.get("role")
    one_node = role == "node"
    if role is None:
        os.makedirs(f"{session}/logs", mode=0o700, exist_ok=True)
        os.chmod(session, 0o700)
        config["node_dir"] = session
    # A node makes no directory of the session: where there is none any more, its cluster has ended.
    path = config["log"] if one_node else f"{session}/logs/cluster.log"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    zygote = spawn_zygote(f"{session}/logs") if role != "head" else None
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Here and not above: the zygote imports on the other core meanwhile.
    import dask

    from rayjup.engine.dask import plugins, quiet, unix

    logging.getLogger("distributed").setLevel(logging.WARNING)
    dask.config.set(
        {
            "temporary-directory": config["node_dir"],
            "distributed.worker.memory.target": False,
            "distributed.worker.profile.enabled": False,
            # What Dask looks at for its own displays: 50 times a second it cost an idle node 1 % of a core.
            "distributed.admin.tick.interval": "1s",
            "distributed.admin.system-monitor.interval": "5s",
            "distributed.admin.system-monitor.disk": False,
        }
    )
    unix.register()
    gc.freeze()
    if role == "head":
        _run_and_exit(_run_head(config, None, report_fd, plugins, quiet))
    if one_node:
        os.mkdir(config["node_dir"], mode=0o700)
        Path(config["node_dir"], "owner").write_text(str(os.getpid()), encoding="utf-8")
        heads = FarFollower(config) if "far" in config else Follower(config)
        _run_and_exit(_run_node(config, heads, zygote, plugins, quiet, report_fd))
    assert zygote is not None
    config["supervisor"] = [os.getpid(), process_start_time(os.getpid())]
    config["created"] = time.time()
    pid = os.getpid()
    template = start_template(
        lambda fd: _run_and_exit(_run_head(config, None, fd, plugins, quiet)),
        lambda: tidy_after_node(session, config["cluster_id"], pid),
        [report_fd, zygote[1].fileno()],
    )
    ready_read, ready_write = os.pipe()
    head_pid = os.fork()
    if head_pid == 0:
        os.close(ready_read)
        zygote[1].close()
        template.close()
        _run_and_exit(_run_head(config, report_fd, ready_write, plugins, quiet))
    os.close(report_fd)
    os.close(ready_write)
    if not os.read(ready_read, 1):
        os._exit(1)  # the head has reported why
    os.close(ready_read)
    _run_and_exit(_run_node(config, Supervisor(config, head_pid, template), zygote, plugins, quiet))


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


async def _run_head(
    config: dict[str, Any], report_fd: int | None, ready_fd: int, plugins: Any, quiet: Any
) -> None:
    session = config["session_dir"]
    Path(session, "head.sock").unlink(missing_ok=True)  # noqa: ASYNC240 - of a head that was killed
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    place = config.get("network")
    own = f"{session}/own.pem" if place else ""
    if place and not os.path.exists(own):  # noqa: ASYNC240 - else another head has left it
        credentials.write(own, Path(place["credentials"]).read_text(encoding="ascii"))  # noqa: ASYNC240
    plugin = plugins.HeadPlugin(
        {key: config[key] for key in ("cluster_id", "name", "started_by", "linger_s", "session_dir")},
        f"{session}/journal.db",
        config.get("token"),
        (own, place["credentials"]) if place else None,
    )
    scheduler = quiet.QuietScheduler(
        host=f"unix://{session}/head.sock",
        protocol="unix",
        dashboard=False,
        idle_timeout=None,
        also=f"tls://{joined(place['ip'], place['port'])}" if place else None,
        security=_security(own) if place else None,
    )
    async with scheduler:
        await plugin.start(scheduler)
        scheduler.add_plugin(plugin)
        head = plugin.head
        os.write(ready_fd, b"1")
        os.close(ready_fd)
        pid, started = config["supervisor"]
        watch = asyncio.ensure_future(_end_with(pid, started, stop))
        if not await _first_node(plugin, stop, config.get("timeout_s", 30.0)):
            watch.cancel()
            await _end_all(head)
            if report_fd is None:  # else whoever starts the cluster wants to see the log
                shutil.rmtree(session, ignore_errors=True)
            return
        node = next(n for n in head.nodes.values() if n.info["is_head"])
        descriptor = Descriptor(
            cluster_id=config["cluster_id"],
            name=config["name"],
            address=scheduler.address,
            session_dir=session,
            agent_socket=node.info["agent_path"],
            head_pid=os.getpid(),
            head_start_time=process_start_time(os.getpid()),
            created=config["created"],
            started_by=config["started_by"],
            linger_s=config["linger_s"],
            python=".".join(map(str, sys.version_info[:3])),
            rayjup=__version__,
            extra={
                **dict(zip(("node_pid", "node_start_time"), config["supervisor"], strict=True)),
                **_reached(config),
            },
        )
        try:
            await _serve(head, descriptor, config, report_fd, stop)
        finally:
            # Also when the descriptor cannot be written: nodes tidy up only if they are told to end.
            watch.cancel()
            await _end_all(head)
    shutil.rmtree(session, ignore_errors=True)


def _reached(config: dict[str, Any]) -> dict[str, Any]:
    """For the descriptor: how other machines reach the cluster."""
    place = config.get("network")
    if place is None:
        return {}
    port = place["port"]
    address = joined(place["ip"], port)
    own = [f"localhost:{port}", f"127.0.0.1:{port}", f"{socket.gethostname()}:{port}"]
    return {
        "addresses": list(dict.fromkeys([address, f"tls://{address}", *own])),
        "credentials": place["credentials"],
    }


def _security(credentials: str) -> Any:
    """Dask's form of a cluster's credentials."""
    from rayjup.engine.dask.following import FollowingSecurity  # Dask is imported by now

    roles = {
        f"tls_{role}_{kind}": credentials for role in ("scheduler", "worker", "client") for kind in _KINDS
    }
    return FollowingSecurity(tls_ca_file=credentials, require_encryption=True, **roles)


_KINDS = ("cert", "key")


async def _first_node(plugin: Any, stop: asyncio.Event, timeout_s: float) -> bool:
    """Wait for the node that started us; False when it does not come, or has ended."""
    waiting = [asyncio.ensure_future(c) for c in (plugin.wait_for_node(), stop.wait())]
    await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return waiting[0].done() and not stop.is_set()


async def _end_all(head: Any) -> None:
    """End all nodes, also those that have not come back."""
    head.shutdown_nodes()
    away = list(head.recovery.expected.values())
    await _end_processes([n.info for n in head.nodes.values()] + away + head.dead_nodes)


async def _end_processes(infos: list[dict[str, Any]], timeout_s: float = 5.0) -> None:
    """Wait until these nodes of this machine have ended; by force where they do not."""
    infos = [info for info in infos if info["host_id"] == host_id()]
    running = {info["pid"]: process_start_time(info["pid"]) for info in infos}

    def alive() -> list[int]:
        return [pid for pid, started in running.items() if process_start_time(pid) == started != 0.0]

    if not await _poll(lambda: not alive(), timeout_s):
        for pid in alive():
            os.kill(pid, signal.SIGKILL)
        await _poll(lambda: not alive())
    for info in infos:
        _remove_files_of(info)


def _remove_files_of(info: dict[str, Any]) -> None:
    """What a node that was killed could not remove itself."""
    for key in ("store_dir", "socket_dir", "node_dir"):
        if info.get(key) and info[key] != info["session_dir"]:
            shutil.rmtree(info[key], ignore_errors=True)


async def _serve(
    head: Any, descriptor: Descriptor, config: dict[str, Any], report_fd: int | None, stop: asyncio.Event
) -> None:
    """Tell where the cluster is, and wait for its end."""
    if config.get("listed", True):
        descriptor.write()
    note_up(descriptor.session_dir)
    if report_fd is not None:
        os.write(report_fd, json.dumps(descriptor.__dict__).encode())
        os.close(report_fd)
    tidying: set[asyncio.Task[None]] = set()

    def node_left(info: dict[str, Any]) -> None:
        if info["is_head"]:
            stop.set()  # drivers are connected through this node
        else:
            task = asyncio.ensure_future(_end_processes([info]))
            tidying.add(task)
            task.add_done_callback(tidying.discard)

    head.on_node_left = node_left
    _end_when_unused(head, config["linger_s"], stop)
    watches = [asyncio.ensure_future(_give_up_dead(head))]
    if config.get("owner_pid") is not None:
        owner = config["owner_pid"]
        watches.append(asyncio.ensure_future(_end_with(owner, process_start_time(owner), stop)))
    try:
        await stop.wait()
    finally:
        for watch in watches:
            watch.cancel()
        descriptor.remove()


async def _end_with(pid: int, started: float, stop: asyncio.Event) -> None:
    """Stop when a process is gone: that which owns the cluster, or the first node."""
    await _poll(lambda: not process_start_time(pid) == started != 0.0, every_s=0.25)
    stop.set()


async def _give_up_dead(head: Any) -> None:
    """After a head was lost: do not wait for nodes of this machine that have ended meanwhile."""
    while head.recovery.active:
        for node_id, info in list(head.recovery.expected.items()):
            if info["host_id"] == host_id() and process_start_time(info["pid"]) == 0.0:
                head.recovery.give_up(node_id)
        await asyncio.sleep(0.1)


async def _poll(
    condition: Callable[[], bool], timeout_s: float = float("inf"), every_s: float = 0.01
) -> bool:
    """Wait for something that makes no event here, such as the end of somebody else's process."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        if condition():
            return True
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(every_s)


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


async def _run_node(
    config: dict[str, Any],
    heads: Supervisor | Follower | FarFollower,
    zygote: Any,
    plugins: Any,
    quiet: Any,
    report_fd: int | None = None,
) -> None:
    session = config["session_dir"]
    node_dir = config["node_dir"]
    first = node_dir == session
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    name = config.get("node_name") or "node-0"
    plugin = plugins.NodePlugin(
        config["cluster_id"],
        session,
        _resources(config, plugins),
        is_head=first,
        zygote=zygote,
        extra={
            "name": name,
            "labels": config.get("labels") or {},
            "node_dir": node_dir,
            "declared_host": config.get("host"),
        },
        survives=True,
        settings=config.get("settings"),
        network=_listens_at(config),
        renewed=_renewed(config),
    )
    if isinstance(heads, Supervisor):
        plugin.ops = {
            "head_renew": lambda connection: heads.renew(),
            "head_renewal": lambda connection: heads.renewal,
        }
    lives = itertools.count()
    try:
        await _until_head_ends(config, plugin, stop, quiet, next(lives), report_fd)
        while not stop.is_set() and await _next_head(heads, stop):
            try:
                await _until_head_ends(config, plugin, stop, quiet, next(lives))
            except (OSError, RuntimeError, asyncio.TimeoutError):  # it has ended, too
                logging.getLogger(__name__).warning("the new head could not be joined", exc_info=True)
    finally:
        if hasattr(plugin, "agent"):
            await plugin.agent.close()
        if not first:
            shutil.rmtree(node_dir, ignore_errors=True)
        if "far" in config:
            _forget(config)
        told = "far" in config or (hasattr(plugin, "agent") and plugin.agent.told_to_end)
        if not told and await _head_is_gone(heads.head, 0.0 if stop.is_set() else 2.0):
            remove_session_if_last(session, config["cluster_id"])


def _listens_at(config: dict[str, Any]) -> tuple[str, str] | None:
    """Where a node listens for nodes of other machines, and its credentials."""
    place = config.get("far") or config.get("network")
    return (f"tls://{joined(place['ip'], 0)}", place["credentials"]) if place else None


def _renewed(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Files of a node that are written when credentials change: its own, and its user's."""
    far = config.get("far")
    return ([far["credentials"]], [far["source"]]) if far is not None else ([], [])


async def _next_head(heads: Supervisor | Follower | FarFollower, stop: asyncio.Event) -> bool:
    """Wait for another head; False when there will be none, or the node is to end."""
    coming = asyncio.ensure_future(heads.again())
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait((coming, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if stop.is_set():
        coming.cancel()
        await heads.end()
        return False
    return coming.result()


async def _until_head_ends(
    config: dict[str, Any],
    plugin: Any,
    stop: asyncio.Event,
    quiet: Any,
    life: int,
    report_fd: int | None = None,
) -> None:
    """Be a worker of the head there is, until that ends or the node is to end."""
    node_dir = config["node_dir"]
    far = config.get("far")
    if far is not None:
        place = {"host": far["ip"], "protocol": "tls", "security": _security(far["credentials"])}
    else:
        place = {"host": f"unix://{node_dir}/node-{life}.sock", "protocol": "unix"}
    worker = quiet.QuietWorker(
        far["address"] if far is not None else f"unix://{config['session_dir']}/head.sock",
        **place,
        name=os.path.basename(node_dir),
        nthreads=1,
        memory_limit=0,
        dashboard=False,
        plugins=(plugin,),
        local_directory=node_dir,
        death_timeout=10,
    )
    plugin.head_ended = asyncio.Event()
    head_ended, stopped = (asyncio.ensure_future(e.wait()) for e in (plugin.head_ended, stop))
    starting = asyncio.ensure_future(worker.start())
    try:
        # Dask would go on trying for long to reach a scheduler that is gone.
        await asyncio.wait((starting, head_ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return
        await starting
        plugin.agent.on_shutdown = stop.set
        if plugin.agent.told_to_end or plugin.agent.refused:
            stop.set()  # before anybody listened
        waiting = [asyncio.ensure_future(worker.finished()), head_ended, stopped]
        if report_fd is not None:
            come = asyncio.ensure_future(plugin.agent.joined.wait())
            await asyncio.wait([*waiting, come], return_when=asyncio.FIRST_COMPLETED)
            if come.done():
                if far is not None:
                    _enter(config, plugin)
                _report_node(plugin.agent, report_fd)
            os.close(report_fd)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (starting, head_ended, stopped):
            task.cancel()
        await worker.close()


def _enter(config: dict[str, Any], plugin: Any) -> None:
    """Let drivers on this machine find the cluster, unless they know it by another node already."""
    cluster = plugin.agent.cluster
    config["cluster_id"] = cluster["cluster_id"]
    pid = os.getpid()
    address = config["far"]["address"]
    descriptor = Descriptor(
        cluster_id=cluster["cluster_id"],
        name=cluster["name"],
        address=address,
        session_dir=config["session_dir"],
        agent_socket=plugin.agent.agent_path,
        head_pid=pid,  # of what ends here with the cluster
        head_start_time=process_start_time(pid),
        created=time.time(),
        started_by="node",
        python=".".join(map(str, sys.version_info[:3])),
        rayjup=__version__,
        extra={
            "addresses": [address.partition("://")[2], address],
            "credentials": config["far"]["credentials"],
        },
    )
    known = read(descriptor.path)
    if known is None or not known.is_alive():
        descriptor.write()


def _forget(config: dict[str, Any]) -> None:
    """A node of a cluster on another machine has ended."""
    mine = read(runtime_dir() / f"{config['cluster_id']}.json") if config["cluster_id"] else None
    if mine is not None and mine.session_dir == config["session_dir"]:
        mine.remove()
    shutil.rmtree(config["session_dir"], ignore_errors=True)


def _resources(config: dict[str, Any], plugins: Any) -> dict[str, float]:
    import psutil

    declared = dict(config.get("resources") or {})
    if config.get("num_gpus") is not None:
        declared["GPU"] = float(config["num_gpus"])
    cpus = config.get("num_cpus")
    cpus = float(len(os.sched_getaffinity(0)) if cpus is None else cpus)
    memory = float(config.get("memory") or psutil.virtual_memory().available)
    resources: dict[str, float] = plugins.complete_resources(
        declared, cpus, memory, config.get("object_store_memory")
    )
    if config.get("memory"):
        resources["memory"] = float(config["memory"])
    if resources.get("GPU") == 0.0:
        del resources["GPU"]  # none is not a resource, as in Ray
    return resources


def _report_node(agent: Any, report_fd: int) -> None:
    pid = os.getpid()
    report = {
        "node_id": agent.node_id,
        "name": agent.name,
        "pid": pid,
        "start_time": process_start_time(pid),
        "agent_socket": agent.agent_path,
        "store_dir": agent.store_dir,
    }
    os.write(report_fd, json.dumps(report).encode())


async def _head_is_gone(head: list[Any], timeout_s: float) -> bool:
    """Whether the head has ended: its sockets close a moment before it is no process any more."""
    pid, started = head
    return await _poll(lambda: process_start_time(pid) != started, timeout_s)


if __name__ == "__main__":
    main()
