"""Real kernels for the notebook tests, and a small front end that records what they send."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from traitlets import default

from rayjup.cluster import descriptors, manager


class Manager(KernelManager):
    """Starts the kernel with this interpreter, on unix sockets."""

    @default("transport")
    def _private_sockets(self) -> str:
        return "ipc"

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="test", language="python")


@dataclass
class Ran:
    """What came back from one cell."""

    text: str = ""
    displays: list[dict[str, Any]] = field(default_factory=list)  # contents of display_data
    updates: list[dict[str, Any]] = field(default_factory=list)  # contents of update_display_data
    comms: list[dict[str, Any]] = field(default_factory=list)  # whole comm_* messages
    ename: str = ""
    evalue: str = ""
    traceback: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)  # texts of execute_result


class Kernel:
    """A kernel with one client, as a front end sees it."""

    def __init__(self, path: Path, env: dict[str, str]) -> None:
        self.manager = Manager(ip=str(path / "k"), connection_file=str(path / "k.json"))
        self.manager.start_kernel(env={**os.environ, **env})
        self.client: BlockingKernelClient = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def pid(self) -> int:
        return self.manager.provisioner.process.pid

    def send(self, code: str) -> str:
        return self.client.execute(code, store_history=True, allow_stdin=False)

    def collect(self, message_id: str, timeout_s: float = 60.0, ran: Ran | None = None) -> Ran:
        """Everything the kernel publishes until this cell has ended, added to ``ran``."""
        ran = ran or Ran()
        for message in self._published(ran, timeout_s):
            if _ends(message, message_id):
                break
        return ran

    def _published(self, ran: Ran, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Messages of the kernel, each added to ``ran``; fails when the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"not within {timeout_s} s; so far: {ran}"
            try:
                message = self.client.get_iopub_msg(timeout=left)
            except Empty:
                continue
            self.note(message, ran)
            yield message

    def note(self, message: dict[str, Any], ran: Ran) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            ran.text += content["text"]
        elif kind == "display_data":
            ran.displays.append(content)
        elif kind == "update_display_data":
            ran.updates.append(content)
        elif kind.startswith("comm_"):
            ran.comms.append(message)
        elif kind == "execute_result":
            ran.results.append(content["data"]["text/plain"])
        elif kind == "error":
            ran.ename, ran.evalue = content["ename"], content["evalue"]
            ran.traceback = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in content["traceback"]]

    def run(self, code: str, timeout_s: float = 60.0) -> Ran:
        """Run a cell and wait for its end."""
        return self.collect(self.send(code), timeout_s)

    def ok(self, code: str, timeout_s: float = 60.0) -> Ran:
        """As `run`, for a cell that must not raise."""
        ran = self.run(code, timeout_s)
        assert not ran.ename, f"{ran.ename}: {ran.evalue}\n{ran.text}"
        return ran

    def read(self, message_id: str, holds: Callable[[Ran], object], timeout_s: float = 30.0) -> Ran:
        """What a cell publishes until ``holds``, while it goes on (`collect` with ``ran`` has the rest)."""
        ran = Ran()
        self._read(ran, holds, timeout_s, message_id)
        return ran

    def wait(self, holds: Callable[[Ran], object], timeout_s: float = 30.0) -> Ran:
        """What arrives until ``holds`` without any cell running."""
        ran = Ran()
        self._read(ran, holds, timeout_s, "")
        return ran

    def _read(self, ran: Ran, holds: Callable[[Ran], object], timeout_s: float, message_id: str) -> None:
        messages = self._published(ran, timeout_s)
        while not holds(ran):
            message = next(messages)
            assert not _ends(message, message_id), f"the cell has ended before: {ran}"

    def listen(self, seconds: float) -> Ran:
        """What arrives within ``seconds`` without any cell running."""
        ran = Ran()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self.note(self.client.get_iopub_msg(timeout=left), ran)
            except Empty:
                break
        return ran

    def until(self, code: str, wanted: str, timeout_s: float = 40.0) -> str:
        """Run ``code`` until what it prints contains ``wanted``; what it printed then."""
        deadline = time.monotonic() + timeout_s
        while True:
            text = self.ok(code).text
            if wanted in text:
                return text
            assert time.monotonic() < deadline, f"{code!r} still prints {text!r}, not {wanted!r}"
            time.sleep(0.1)

    def report_views(self, comm_id: str, count: int) -> None:
        """Tell the kernel, as a front end does, how many views of a widget are open."""
        data = {"method": "update", "state": {"_view_count": count}, "buffer_paths": []}
        self.client.shell_channel.send(
            self.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        )

    def restart(self) -> None:
        self.manager.restart_kernel(now=False)
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=False)


def _ends(message: dict[str, Any], message_id: str) -> bool:
    ended = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
    return bool(ended and message["parent_header"].get("msg_id") == message_id)


@pytest.fixture
def start_kernel(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """A function that starts a kernel (with ``env`` added to its environment); all end with the test."""
    kernels: list[Kernel] = []
    # tmp_path is too long for the path of a unix socket.
    base = descriptors.runtime_dir().parent

    def start(**env: str) -> Kernel:
        folder = base / f"t{os.getpid()}-{len(kernels)}"
        folder.mkdir(parents=True, exist_ok=True)
        kernels.append(Kernel(folder, env))
        return kernels[-1]

    yield start
    for kernel in kernels:
        kernel.close()
    for descriptor in descriptors.list_clusters():
        # Most would end by themselves a little later; the test is over now.
        manager.stop(descriptor)


@pytest.fixture
def kernel(start_kernel: Callable[..., Kernel]) -> Kernel:
    """A kernel with the extension loaded."""
    one = start_kernel()
    one.ok("%load_ext rayjup")
    return one


@pytest.fixture
def clusters() -> Callable[[], list[descriptors.Descriptor]]:
    """The running clusters of this test run."""
    return descriptors.list_clusters
