"""Kernels on the cluster: start, interrupt, restart, shutdown and every way in which that can fail."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
import rayjup_kernels
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from rayjup_kernels.__main__ import main as install_spec

from rayjup import observe
from rayjup.cluster import descriptors, manager

GROUP = "jupyter_client.kernel_provisioners"


@pytest.fixture(autouse=True)
def registered() -> None:
    """Jupyter finds provisioners by what is installed, not by what lies on the path."""
    if "rayjup-cluster" not in {point.name for point in entry_points(group=GROUP)}:
        pytest.fail("this environment's rayjup was installed before it had a provisioner: install it again")


class Cell:
    """What came back from a cell."""

    def __init__(self) -> None:
        self.text = ""
        self.error = ""


class OnCluster:
    """A kernel on the cluster with one client."""

    def __init__(self, folder: Path, config: dict[str, Any], argv: list[str] | None) -> None:
        spec = rayjup_kernels.kernel_json(sys.executable, on_cluster=config)
        if argv is not None:
            spec["argv"] = argv
        home = folder / "kernels" / "leased"
        home.mkdir(parents=True)
        (home / "kernel.json").write_text(json.dumps(spec))
        specs = KernelSpecManager(kernel_dirs=[str(home.parent)])
        self.manager = KernelManager(kernel_name="leased", kernel_spec_manager=specs)

    def start(self) -> OnCluster:
        self.manager.start_kernel(env={**os.environ, "FROM_SERVER": "yes"})
        self.connect()
        return self

    def connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> Cell:
        cell = Cell()

        def hook(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                cell.text += content["text"]
            elif message["msg_type"] == "error":
                cell.error = f"{content['ename']}: {content['evalue']}"

        self.client.execute_interactive(code, timeout=60, output_hook=hook, allow_stdin=False)
        return cell

    @property
    def pid(self) -> int:
        """The kernel's own process."""
        return int(self.run("import os; print(os.getpid())").text)

    def close(self) -> None:
        if hasattr(self, "client"):
            self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        else:
            self.manager.cleanup_resources()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., OnCluster]]:
    """Makes kernels (not started yet); everything ends with the test."""
    made: list[OnCluster] = []

    def one(argv: list[str] | None = None, **config: Any) -> OnCluster:
        made.append(OnCluster(tmp_path / str(len(made)), config, argv))
        return made[-1]

    yield one
    for kernel in made:
        kernel.close()
    for descriptor in descriptors.list_clusters():
        manager.stop(descriptor)


@pytest.fixture
def lab(make: Any) -> descriptors.Descriptor:
    """A cluster of two CPUs (stopped with the kernels)."""
    return manager.start("lab", num_cpus=2)


def free_cpus(cluster: descriptors.Descriptor) -> float:
    view = observe.ClusterView(cluster)
    try:
        return float(view.snapshot()["resources_available"].get("CPU", 0.0))
    finally:
        view.close()


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_kernel_holds_what_it_asks_for(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab", num_cpus=2).start()
    assert free_cpus(lab) == 0.0
    ran = kernel.run("import os; print(os.environ['FROM_SERVER'], os.environ['RAYJUP_ADDRESS'])")
    assert ran.text == f"yes {lab.cluster_id}\n"
    # It is on its cluster without being told which one that is, and its own lease does not count.
    joined = kernel.run("%ray_init --no-display").text
    assert "Joined cluster 'lab'" in joined
    kernel.run("%ray_shutdown")
    assert (
        kernel.run("import rayjup as ray\nray.init()\nprint(ray.cluster_resources()['CPU'])").text == "2.0\n"
    )
    kernel.run("ray.shutdown()")
    kernel.manager.shutdown_wait_time = 100.0  # it ends by itself
    began = time.monotonic()
    kernel.manager.shutdown_kernel()
    assert time.monotonic() - began < 50 and not kernel.manager.is_alive()
    eventually(lambda: free_cpus(lab) == 2.0, "the lease was not given back")


def test_its_sockets_are_private(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab").start()
    info = kernel.manager.get_connection_info()
    assert info["transport"] == "ipc"
    folder = Path(info["ip"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and len(list(folder.glob("k-*"))) >= 5
    # What it listens on by itself (for its debugger) is open to this machine only.
    listening = [c for c in psutil.Process(kernel.pid).net_connections("inet") if c.status == "LISTEN"]
    assert {c.laddr.ip for c in listening} <= {"127.0.0.1"}
    kernel.manager.shutdown_kernel()
    assert not folder.exists()


def test_interrupt(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab").start()
    pid = kernel.pid
    message = kernel.client.execute("import time\nprint('begun')\ntime.sleep(100)")
    while kernel.client.get_iopub_msg(timeout=30)["content"].get("text") != "begun\n":
        pass
    began = time.monotonic()
    kernel.manager.interrupt_kernel()
    reply = kernel.client.get_shell_msg(timeout=40)
    while reply["parent_header"]["msg_id"] != message:
        reply = kernel.client.get_shell_msg(timeout=40)
    assert reply["content"]["ename"] == "KeyboardInterrupt" and time.monotonic() - began < 50
    # Interrupting an idle kernel does no harm, nor to whoever holds its lease.
    # (Sent by the client, which hears the answer: an interrupt may come later than the next cell.)
    kernel.client.control_channel.send(kernel.client.session.msg("interrupt_request"))
    assert kernel.client.get_control_msg(timeout=30)["msg_type"] == "interrupt_reply"
    assert kernel.pid == pid and kernel.manager.is_alive()


def test_restart(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab", num_cpus=2).start()
    kernel.run("x = 1")
    before = kernel.pid
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("x").error.startswith("NameError")
    assert kernel.pid != before and gone(before) and free_cpus(lab) == 0.0
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("print(1)").text == "1\n"


def test_a_killed_kernel_is_noticed_and_explained(
    make: Any, lab: descriptors.Descriptor, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = make(cluster="lab").start()
    kernel.manager.log.propagate = True
    os.kill(kernel.pid, signal.SIGKILL)
    with caplog.at_level(logging.ERROR):
        eventually(lambda: not kernel.manager.is_alive(), "the server thinks the kernel lives")
    assert "ended with signal SIGKILL" in kernel.manager.provisioner.reason
    assert "ended with signal SIGKILL" in caplog.text
    eventually(lambda: free_cpus(lab) == 2.0, "the lease was not given back")
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    assert kernel.run("print(2)").text == "2\n"


def test_the_kernel_ends_with_its_lease(make: Any) -> None:
    cluster = manager.start("short", num_cpus=1)
    kernel = make(cluster="short").start()
    pid = kernel.pid
    manager.stop(cluster)
    eventually(lambda: gone(pid), "the kernel outlives its lease")
    eventually(lambda: not kernel.manager.is_alive(), "the server thinks the kernel lives")
    assert "lease on cluster 'short' was lost" in kernel.manager.provisioner.reason
    with pytest.raises(RuntimeError, match=r"no running cluster 'short' for this kernel \(running: none\)"):
        kernel.manager.restart_kernel(now=True)


def test_the_kernel_ends_with_the_server(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab").start()
    pid = kernel.pid
    kernel.manager.provisioner.process.stdin.close()  # as when the server's process ends
    eventually(lambda: gone(pid), "the kernel outlives the server")
    eventually(lambda: not kernel.manager.is_alive(), "what stood for the kernel lives on")
    kernel.manager.provisioner._discard()
    eventually(lambda: free_cpus(lab) == 2.0, "the lease was not given back")


def test_launch_failures_say_why(make: Any, lab: descriptors.Descriptor) -> None:
    crowded = make(cluster="lab", num_cpus=64, launch_timeout=1.0)
    with pytest.raises(RuntimeError, match=r"no room.*'num_cpus': 64.*2 of 2 CPU free"):
        crowded.start()
    broken = make(argv=[sys.executable, "-c", "raise SystemExit('no kernel in here')"], cluster="lab")
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1 while it started.*no kernel in here"):
        broken.start()
    silent = make(
        argv=[sys.executable, "-c", "import time; time.sleep(60)"], cluster="lab", launch_timeout=4.0
    )
    with pytest.raises(RuntimeError, match=r"did not answer within 4.0 s"):
        silent.start()
    missing = make(argv=["/no/such/python"], cluster="lab")
    with pytest.raises(RuntimeError, match="/no/such/python"):
        missing.start()
    nowhere = make(cluster="elsewhere")
    with pytest.raises(
        RuntimeError, match=r"no running cluster 'elsewhere' for this kernel \(running: lab\)"
    ):
        nowhere.start()
    eventually(lambda: free_cpus(lab) == 2.0, "a failed launch keeps its lease")


def test_without_a_cluster_one_is_started(make: Any) -> None:
    kernel = make().start()
    (cluster,) = descriptors.list_clusters()
    assert (cluster.name, cluster.started_by) == ("kernels", "kernel") and cluster.linger_s == 20.0
    assert "Joined cluster 'kernels'" in kernel.run("%ray_init --no-display").text


def test_nbclient_runs_a_notebook_on_it(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import os\nos.environ['RAYJUP_ADDRESS']")]
    )
    client = NotebookClient(notebook, km=kernel.manager, timeout=60)
    client.execute()
    if client.kc is not None:  # it leaves a kernel that it was given as it is, with its channels open
        client.kc.stop_channels()
    assert lab.cluster_id in notebook.cells[0].outputs[0]["data"]["text/plain"]


def test_jupyter_console_connects_to_it(make: Any, lab: descriptors.Descriptor) -> None:
    kernel = make(cluster="lab").start()
    # `jupyter console --existing` and `jupyter run --existing` know a kernel by its connection file alone.
    from jupyter_client.blocking.client import BlockingKernelClient

    client = BlockingKernelClient()
    client.load_connection_file(kernel.manager.connection_file)
    client.start_channels()
    client.wait_for_ready(timeout=30)
    assert client.execute("1", reply=True, timeout=30)["content"]["status"] == "ok"
    client.stop_channels()


def test_the_launcher_offers_it(tmp_path: Path) -> None:
    command = [
        "--prefix",
        str(tmp_path),
        "--on-cluster",
        "--num-cpus",
        "2",
        "--num-gpus",
        "1",
        "--name",
        "gpu",
    ]
    assert install_spec([*command, "--display-name", "GPU kernel"]) == 0
    env = {**os.environ, "JUPYTER_PATH": str(tmp_path / "share" / "jupyter")}
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter_client.kernelspecapp", "list", "--json"],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    spec = json.loads(listed.stdout)["kernelspecs"]["gpu"]["spec"]
    assert spec["display_name"] == "GPU kernel" and spec["interrupt_mode"] == "message"
    provisioner = spec["metadata"]["kernel_provisioner"]
    assert provisioner["provisioner_name"] == "rayjup-cluster"
    assert provisioner["config"] == {"cluster": "auto", "num_cpus": 2.0, "num_gpus": 1.0}
    with pytest.raises(SystemExit):
        install_spec(["--prefix", str(tmp_path), "--num-cpus", "2"])
