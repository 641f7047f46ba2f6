"""Runs a kernel on a node of the cluster with the resources it asks for.

Named in a ``kernel.json``::

    "interrupt_mode": "message",
    "metadata": {"kernel_provisioner": {
        "provisioner_name": "rayjup-cluster",
        "config": {"num_cpus": 2, "num_gpus": 1, "cluster": "auto"}}}

The kernel is the child of an actor that holds the resources; `rayjup_kernels.host` is the process that
stands for it here. Its sockets are unix sockets in a private directory, so nobody else on the machine can
reach them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner
from tornado.web import HTTPError
from traitlets import Dict, Float, Unicode

_POLL_S = 0.02


class LaunchError(HTTPError, RuntimeError):
    """A kernel could not be started.

    To a Jupyter server it is an answer with a text, which JupyterLab shows in its dialog; of any other
    exception the user would only be told that it was not handled.
    """

    def __init__(self, text: str) -> None:
        super().__init__(503, log_message=text, reason="Kernel not started")
        self.text = text

    def __str__(self) -> str:
        return self.text


class ClusterProvisioner(LocalProvisioner):
    """Provisions a kernel from a lease of a rayjup cluster.

    Preparation (connection file, keys, command line) is the local provisioner's; the process is another.
    """

    cluster = Unicode("auto", config=True, help="Name or id of the cluster; auto: the newest, or a new one.")
    num_cpus = Float(1.0, config=True, help="CPUs the kernel holds.")
    num_gpus = Float(0.0, config=True, help="GPUs the kernel holds and sees.")
    memory = Float(0.0, config=True, help="Bytes of memory the kernel reserves.")
    resources = Dict(config=True, help="Other resources the kernel holds.")
    runtime_env = Dict(config=True, help="Runtime environment of the kernel.")
    launch_timeout = Float(60.0, config=True, help="Seconds to wait for resources and the kernel.")

    reason = ""
    """Why the kernel has ended."""

    _folder: str | None = None
    _started: dict[str, Any] | None = None
    _failed: str | None = None
    _told = False
    _asked = False  # the kernel's end is what was asked for

    # ------------------------------------------------------------ launching

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        manager = self.parent
        if manager is not None and self._folder is None:
            # Short, because the path of a unix socket may have 107 bytes only.
            self._folder = tempfile.mkdtemp(prefix="rjk-", dir=_short_tmp())  # mkdtemp makes it 0700
            manager.transport = "ipc"
            manager.ip = os.path.join(self._folder, "k")
        kwargs.setdefault("cwd", os.getcwd())
        return await super().pre_launch(**kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel on the cluster and wait until it listens.

        Raises
        ------
        LaunchError
            It could not be started; says why, with what the kernel printed.
        """
        self._open(dict(kwargs["env"]))
        self.cwd = kwargs["cwd"]
        command = ["python", *cmd[1:]] if cmd[0] == sys.executable else cmd
        self._send(
            {
                "cluster": self.cluster,
                "num_cpus": self.num_cpus,
                "num_gpus": self.num_gpus,
                "memory": int(self.memory) or None,
                "resources": dict(self.resources),
                "runtime_env": dict(self.runtime_env),
                "command": command,
                "env": dict(kwargs["env"]),
                "cwd": os.fspath(self.cwd),
                "timeout": self.launch_timeout,
                "ready_path": f"{self.connection_info['ip']}-{self.connection_info['hb_port']}",
            }
        )
        await asyncio.to_thread(self._answered.wait)
        if self._failed is not None:
            self._discard()
            raise LaunchError(f"The kernel could not be started on the cluster: {self._failed}")
        return self.connection_info

    def get_stable_start_time(self, recommended: float = 10.0) -> float:
        return max(recommended, self.launch_timeout)

    # ------------------------------------------------------------ life

    async def poll(self) -> int | None:
        code = await super().poll()
        if code is not None and self.reason and not self._told:
            self._told = True
            tell = self.log.debug if self._asked else self.log.error
            tell("Kernel %s: %s", self.kernel_id, self.reason)
        return code

    async def send_signal(self, signum: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self._send({"signal": int(signum)})

    async def shutdown_requested(self, restart: bool = False) -> None:
        self._asked = True

    async def kill(self, restart: bool = False) -> None:
        self._asked = True
        process = self.process
        if process is None:
            return
        await self.send_signal(signal.SIGKILL)
        for _ in range(int(2.0 / _POLL_S)):
            if process.poll() is not None:
                return
            await asyncio.sleep(_POLL_S)
        process.kill()  # the cluster ends the kernel of a driver that is gone

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        await super().cleanup(restart=restart)
        if not restart and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def get_provisioner_info(self) -> dict[str, Any]:
        info: dict[str, Any] = await super().get_provisioner_info()
        return {**info, "kernel": self._started}

    # ------------------------------------------------------------ the process that stands for the kernel

    def _open(self, env: dict[str, str]) -> None:
        self._started = self._failed = None
        self._told = self._asked = False
        self.reason = ""
        self._answered = threading.Event()
        for old in Path(self._folder or os.devnull).glob("k-*"):
            old.unlink()  # of the kernel before a restart: its presence must not look like an answer
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rayjup_kernels.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,  # Ctrl-C in a terminal is for the kernel, and arrives as a message
        )
        self.pid, self.pgid = self.process.pid, None
        listener = threading.Thread(target=self._listen, args=(self.process, self._answered), daemon=True)
        listener.start()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has just ended; poll() says so

    def _listen(self, process: subprocess.Popen[str], answered: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if message["state"] == "started":
                self._started = message
                answered.set()
            elif message["state"] == "failed":
                self._failed = message["text"]
            else:
                self.reason = message["reason"]
        process.wait()
        if self._started is None and self._failed is None:
            self._failed = (
                f"the process that starts it ended with status {process.returncode}; "
                "what it said is in the log of the Jupyter server"
            )
        answered.set()

    def _discard(self) -> None:
        process = self.process
        self.process = None  # type: ignore[assignment]
        if process is not None:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            process.wait()


def _short_tmp() -> str:
    """A directory for sockets whose name leaves room for theirs."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return base if len(base) < 60 and os.path.isdir(base) else "/tmp"
