"""The actor that holds a kernel's resources and runs the kernel as its child (on a node of the cluster)."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
_TAIL = 8000  # characters of the kernel's output in a message
_DEVICES = ("CUDA_VISIBLE_DEVICES",)


class LeasedKernel:
    """Starts the kernel; it ends with this actor, however that ends.

    Parameters
    ----------
    command
        What starts the kernel; a first word ``python`` means the Python of this node.
    env, cwd
        Environment and folder of the notebook.
    log_name
        File in the cluster's directory for what the kernel prints outside of cells.
    """

    def __init__(self, command: list[str], env: dict[str, str], cwd: str, log_name: str) -> None:
        import rayjup

        session_dir = rayjup.get_runtime_context().get_temp_dir()
        self._log_path = os.path.join(session_dir, log_name)
        # The lease says which devices the kernel may use; the notebook's environment doesn't.
        env.pop("JPY_PARENT_PID", None)  # another parent's
        env = {**env, **{name: os.environ[name] for name in _DEVICES if name in os.environ}}
        if not os.path.isdir(cwd):
            cwd = os.path.expanduser("~")
        log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # From the constructor, because that runs in the main thread: the kernel is to end with the
            # thread that started it.
            self._process = subprocess.Popen(
                [sys.executable if command[0] == "python" else command[0], *command[1:]],
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # an interrupt is for the kernel's process group alone
                preexec_fn=_end_with_parent(os.getpid()),
            )
        finally:
            os.close(log)
        self._ended = threading.Event()
        threading.Thread(target=self._reap, name="kernel-reaper", daemon=True).start()

    def _reap(self) -> None:
        self._process.wait()
        self._ended.set()

    def where(self) -> dict[str, Any]:
        """The kernel's process and machine."""
        return {"pid": self._process.pid, "host": platform.node()}

    def wait(self) -> int:
        """Wait for the kernel's end; its exit status (negative: the signal that ended it)."""
        self._ended.wait()
        return int(self._process.returncode)

    def ended(self) -> int | None:
        """The exit status, None while the kernel runs."""
        return self._process.returncode if self._ended.is_set() else None

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and its children."""
        if not self._ended.is_set():
            os.killpg(self._process.pid, number)

    def output(self) -> str:
        """The end of what the kernel printed outside of cells."""
        with open(self._log_path, encoding="utf-8", errors="replace") as file:
            return file.read()[-_TAIL:]


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """What the child does first so that it dies with its parent (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here: the child of a fork may not

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has died meanwhile
            os.kill(os.getpid(), signal.SIGKILL)

    return arrange
