"""Starting ``rayjup.cluster.boot`` as a process of its own, and hearing from it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rayjup.base.exceptions import RaySystemError

_children: list[subprocess.Popen[bytes]] = []


def launch(config: dict[str, Any], what: str, log: str, timeout_s: float) -> dict[str, Any]:
    """Boot what ``config`` describes; its report once it is usable.

    Parameters
    ----------
    config
        For :mod:`rayjup.cluster.boot`.
    what
        How an error calls it, as in "the cluster rj-1".
    log
        The log whose end explains why it did not come up.

    Raises
    ------
    RaySystemError
        It did not come up within ``timeout_s`` seconds; no process of it is left then.
    """
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
    except BaseException:  # an interrupt: nobody would know of it
        _end_session(process)
        raise
    finally:
        os.close(read_fd)
    if report is None:
        reason = _log_tail(log)
        _end_session(process)
        raise RaySystemError(f"{what} did not start (it may take {timeout_s:g} s).\n{reason}")
    answer: dict[str, Any] = json.loads(report)
    return answer


def reap() -> None:
    """Collect the exit status of what was started by this process and has ended."""
    for process in list(_children):
        if process.poll() is not None:
            _children.remove(process)


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
    """End what is left of something that did not come up, by force where it does not end itself."""
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


def _log_tail(log: str) -> str:
    try:
        lines = Path(log).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "It wrote no log."
    return "The end of its log:\n" + "\n".join(lines[-15:])
