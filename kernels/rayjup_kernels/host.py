"""Stands for a kernel on the cluster towards the Jupyter server: ``python -m rayjup_kernels.host``.

A process of its own, because a process is connected to one cluster at a time, and a server has many kernels.
It is the kernel's driver: it asks the cluster for the kernel's resources, and when it ends, however it ends,
the cluster ends the kernel and takes the resources back. It reads one JSON object per line from standard
input (the request, then commands) and writes one per line to standard output (what happened).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any

import rayjup
from rayjup.cluster import descriptors, manager
from rayjup_kernels.leased import LeasedKernel

LINGER_S = 20.0
_RESOURCES = ("num_cpus", "num_gpus", "memory", "resources")


def main() -> int:
    """Run one kernel; the exit status is the kernel's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt in a terminal is for the kernel
    lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    request = lines.get()
    if request is None:
        return 1
    try:
        name = connect(request)
        actor = start(request)
        place = _await_start(actor, request, lines)
    except Exception as error:  # noqa: BLE001 - whatever it is: the user is told, and no kernel runs
        say({"state": "failed", "text": _text(error)})
        return 1
    say({"state": "started", "cluster": name, **place})
    return _watch(actor, lines, name)


def connect(request: dict[str, Any]) -> str:
    """Join the cluster that is asked for, or start one; its name."""
    wanted = request.get("cluster") or "auto"
    descriptor = None
    if wanted == "auto":
        running = descriptors.list_clusters()
        descriptor = running[-1] if running else None
        wanted = "kernels"
    descriptor = descriptor or descriptors.find(wanted)
    if descriptor is None:
        if request.get("cluster") not in (None, "auto"):
            known = ", ".join(d.name for d in descriptors.list_clusters()) or "none"
            raise LookupError(
                f"there is no running cluster {wanted!r} for this kernel (running: {known}): start it, or "
                "change the cluster in the kernel's kernel.json"
            )
        descriptor = manager.start(wanted, started_by="kernel", linger_s=LINGER_S)
    env = {str(k): str(v) for k, v in (request.get("runtime_env") or {}).get("env_vars", {}).items()}
    request["env"] = {**request["env"], **env, "RAYJUP_ADDRESS": descriptor.cluster_id}
    rayjup.init(address=descriptor.cluster_id, runtime_env=request.get("runtime_env") or None)
    return descriptor.name


def start(request: dict[str, Any]) -> Any:
    """The actor that holds the resources and runs the kernel; it may have to wait for them."""
    class_: Any = rayjup.remote(LeasedKernel)
    options = {key: request[key] for key in _RESOURCES if request.get(key)}
    options.setdefault("num_cpus", 0)
    return class_.options(max_concurrency=4, **options).remote(
        request["command"], request["env"], request["cwd"], f"kernel-{os.getpid()}.log"
    )


def _await_start(actor: Any, request: dict[str, Any], lines: queue.Queue[Any]) -> dict[str, Any]:
    """Wait until the kernel listens; raises with the reason when it doesn't."""
    deadline = time.monotonic() + float(request["timeout"])
    first = actor.where.remote()
    while not rayjup.wait([first], timeout=0.1)[0]:
        if time.monotonic() > deadline:
            raise TimeoutError(_no_room(request))
        _stop_if_told(lines)
    place: dict[str, Any] = rayjup.get(first)
    while not os.path.exists(request["ready_path"]):
        code = rayjup.get(actor.ended.remote())
        if code is not None:
            said = rayjup.get(actor.output.remote()).strip() or "(it printed nothing)"
            raise RuntimeError(f"the kernel ended with {how_ended(code)} while it started. It said:\n{said}")
        if time.monotonic() > deadline:
            said = rayjup.get(actor.output.remote()).strip() or "(it printed nothing)"
            raise TimeoutError(f"the kernel did not answer within {request['timeout']} s. It said:\n{said}")
        _stop_if_told(lines)
        time.sleep(0.02)
    return place


def _stop_if_told(lines: queue.Queue[Any]) -> None:
    """The notebook may be closed while its kernel starts."""
    try:
        command = lines.get_nowait()
    except queue.Empty:
        return
    if command is None or command.get("signal") in (signal.SIGTERM, signal.SIGKILL):
        raise RuntimeError("it was given up while it started")


def _no_room(request: dict[str, Any]) -> str:
    wants = {key: request[key] for key in _RESOURCES if request.get(key)}
    has, free = rayjup.cluster_resources(), rayjup.available_resources()
    shown = ", ".join(
        f"{free.get(key, 0):g} of {has[key]:g} {key} free"
        for key in sorted(has)
        if key not in ("memory", "object_store_memory") or key in wants
    )
    return (
        f"the cluster had no room for this kernel within {request['timeout']} s: "
        f"it asks for {wants}; {shown}. "
        "Stop what holds them, choose another kernel, or ask for less in its kernel.json"
    )


def _watch(actor: Any, lines: queue.Queue[Any], name: str) -> int:
    """Pass on signals until the kernel has ended."""
    end = actor.wait.remote()
    told = ""
    while True:
        try:
            if rayjup.wait([end], timeout=0.05)[0]:
                code = int(rayjup.get(end))
                reason = told or f"the kernel's process ended with {how_ended(code)}"
                break
        except Exception as error:  # noqa: BLE001 - the lease is lost, or the cluster: there is no kernel any more
            code = 1
            reason = f"the kernel's lease on cluster {name!r} was lost: {_text(error)}"
            break
        try:
            command = lines.get_nowait()
        except queue.Empty:
            continue
        if command is None:
            told = "the Jupyter server has gone"
            command = {"signal": int(signal.SIGKILL)}
        actor.send_signal.remote(command["signal"])
    say({"state": "ended", "code": code, "reason": reason})
    rayjup.shutdown()
    return code if code >= 0 else 128 - code


def how_ended(code: int) -> str:
    """The exit status in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"


def say(message: dict[str, Any]) -> None:
    """One line to the server."""
    sys.__stdout__.write(json.dumps(message) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def _read(lines: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    lines.put(None)


def _text(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    return str(cause) or type(cause).__name__


if __name__ == "__main__":
    # What tasks print must not get between the lines for the server.
    sys.stdout = sys.stderr
    sys.exit(main())
