"""Starting and ending the process that keeps a cluster at the size it needs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor, process_start_time
from rayjup.cluster.scaling.settings import ScalingSettings

_END_S = 30.0  # machines that do not answer take ten


def start(cluster: Descriptor, settings: ScalingSettings, launcher: Mapping[str, Any]) -> int:
    """Have a cluster keep the size it needs, from now on; the pid of the process that sees to it.

    One that does so already ends; its nodes stay.

    Parameters
    ----------
    launcher
        ``{"launcher": name, **options}``, see :func:`rayjup.cluster.launchers.make`.

    Raises
    ------
    RaySystemError
        The launcher cannot be used; the message says why.
    """
    stop(cluster)
    config = {
        "cluster": cluster.__dict__,
        "settings": settings.to_dict(),
        "launcher": dict(launcher),
    }
    log = Path(cluster.session_dir, "logs", "monitor.log")
    root = str(Path(__file__).parent.parent.parent.parent)
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != root]
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "rayjup.cluster.scaling.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *paths])},
        )
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as pipe:
        pipe.write(json.dumps(config).encode())
    with process.stdout as pipe:
        said = pipe.readline()  # the process limits how long it takes to say this
    if not said:
        raise RaySystemError(f"the process that scales the cluster {cluster.name} did not start; see {log}.")
    answer = json.loads(said)
    if answer["error"]:
        process.wait(_END_S)
        raise RaySystemError(f"the cluster {cluster.name} cannot be scaled: {answer['error']}")
    _ours.append(process)
    return process.pid


_ours: list[subprocess.Popen[bytes]] = []


def running(session_dir: str) -> tuple[int, float] | None:
    """Pid and start time of the process that scales a cluster; None where there is none."""
    try:
        pid, started = Path(session_dir, "monitor").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return None
    return (int(pid), float(started)) if process_start_time(int(pid)) == float(started) else None


def stop(cluster: Descriptor) -> bool:
    """Have a cluster keep the nodes it has; False where it did so anyway."""
    there = running(cluster.session_dir)
    if there is None:
        return False
    os.kill(there[0], signal.SIGTERM)
    wait_end(there)
    return True


def wait_end(process: tuple[int, float], timeout_s: float = _END_S) -> None:
    """Wait for the end of such a process, by force where it takes too long."""
    pid, started = process
    deadline = time.monotonic() + timeout_s
    while process_start_time(pid) == started:
        for ours in [each for each in _ours if each.poll() is not None]:
            _ours.remove(ours)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += timeout_s
        time.sleep(0.01)
