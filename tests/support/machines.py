"""Machines of a test: namespaces of their own for network, mounts and processes, on one virtual switch.

Each has its own ``/dev/shm``, its own temporary directory and its own address; cables can be pulled, and
switching a machine off kills whatever runs on it. Nothing is left once the first process of each is gone.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

NETWORK = "10.86.5"
_PORT = 8786
_SHM = "mount -t tmpfs -o size=1g tmpfs /dev/shm"
_INIT = f"ip link set lo up && {_SHM} && mount -t tmpfs tmpfs {{tmp}} && exec sleep 3600"


@functools.cache
def why_not() -> str:
    """Why machines cannot be made here; empty where they can."""
    for program in ("ip", "unshare", "nsenter", "openssl"):
        if shutil.which(program) is None:
            return f"{program} is not installed (packages iproute2, util-linux, openssl)"
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    all_that = f"ip link add v0 type veth peer name v1 && ip link add br0 type bridge && {_SHM}"
    done = subprocess.run([*command, "sh", "-c", all_that], capture_output=True, check=False, timeout=60)
    if done.returncode:
        return f"this machine forbids namespaces: {done.stderr.decode().strip()}"
    return ""


class Machine:
    """One of them; ``run`` and ``start`` execute commands on it."""

    def __init__(self, name: str, address: str, tmp: str) -> None:
        self.name = name
        self.address = address
        self.tmp = tmp
        self._has_run = False
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._outer = subprocess.Popen(
            [*command, "sh", "-c", _INIT.format(tmp=tmp)], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 40
        while True:
            children = psutil.Process(self._outer.pid).children()
            if children and children[0].name() == "sleep":
                break
            assert time.monotonic() < deadline and self._outer.poll() is None, "a namespace did not come up"
            time.sleep(0.01)
        self.pid = children[0].pid

    def inside(self, *command: str) -> list[str]:
        """What executes a command there."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", "--", *command]

    def run(self, *command: str) -> None:
        """Execute a command there that takes no time."""
        subprocess.run(self.inside(*command), check=True, capture_output=True, timeout=60)

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command there."""
        environ = {**os.environ, "TMPDIR": self.tmp, "JUPYTER_RUNTIME_DIR": self.tmp}
        environ |= options.pop("environ", {})
        return subprocess.Popen(self.inside(*command), env=environ, text=True, **options)

    def own_run(self, *directories: str) -> None:
        """Give it a ``/run`` of its own, with these directories."""
        if not self._has_run:
            self.run("mount", "-t", "tmpfs", "tmpfs", "/run")
            self._has_run = True
        self.run("mkdir", "-p", *(f"/run/{name}" for name in directories))

    def switch_off(self) -> None:
        """End everything on it at once."""
        if self._outer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._outer.wait(40)


class Lab:
    """A switch, machines, and a Dask cluster of them with TLS: the scheduler and the driver on the first."""

    def __init__(
        self, names: str, directory: Path, encrypted: bool = True, environ: dict[str, str] | None = None
    ):
        self.directory = directory
        self.encrypted = encrypted
        self.environ = environ or {}
        self.machines: dict[str, Machine] = {}
        self._ports: dict[str, str] = {}
        self._processes: list[subprocess.Popen[str]] = []
        self._logs: list[Any] = []
        (directory / "pki").mkdir()
        if encrypted:
            _make_certificates(directory / "pki")
        tmp = directory / "t"
        tmp.mkdir()
        self._switch = Machine("switch", "", str(tmp))
        try:
            self._switch.run("ip", "link", "add", "br0", "type", "bridge")
            self._switch.run("ip", "link", "set", "br0", "up")
            for number, name in enumerate(names.split(), 1):
                self.add(name, number)
        except BaseException:
            self.close()
            raise

    def add(self, name: str, number: int) -> Machine:
        """One more machine, on the switch."""
        machine = Machine(name, f"{NETWORK}.{number}", self._switch.tmp)
        self.machines[name] = machine
        self._ports[name] = f"p{number}"
        ends = [
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            str(machine.pid),
            "type",
            "veth",
            "peer",
            "name",
            self._ports[name],
        ]
        subprocess.run([*ends, "netns", str(self._switch.pid)], check=True, capture_output=True)
        self._switch.run("ip", "link", "set", self._ports[name], "master", "br0")
        self._switch.run("ip", "link", "set", self._ports[name], "up")
        machine.run("ip", "addr", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        return machine

    def replace(self, name: str, number: int) -> None:
        """Switch a machine off, and put a new one with another address in its place, with a worker."""
        self.machines[name].switch_off()
        self.start_worker(self.add(name, number))

    def slow(self, name: str, rate: str) -> None:
        """Let a machine send only so fast, such as ``400mbit``."""
        limit = ["tbf", "rate", rate, "burst", "1mb", "latency", "100ms"]
        self.machines[name].run("tc", "qdisc", "replace", "dev", "eth0", "root", *limit)

    def cut(self, name: str) -> None:
        """Pull a machine's cable out of the switch."""
        self._switch.run("ip", "link", "set", self._ports[name], "down")

    def mend(self, name: str) -> None:
        """Plug it in again."""
        self._switch.run("ip", "link", "set", self._ports[name], "up")

    def files(self, name: str) -> list[str]:
        """What lies in a machine's shared memory."""
        script = "import glob; print(*glob.glob('/dev/shm/rayjup-*/*-*'))"
        found = subprocess.run(
            self.machines[name].inside(sys.executable, "-c", script),
            check=True,
            capture_output=True,
            text=True,
        )
        return found.stdout.split()

    def programs(self, name: str, text: str) -> list[int]:
        """The processes on a machine in whose command line ``text`` stands."""
        family = psutil.Process(self.machines[name].pid).children(recursive=True)
        inside = os.readlink(f"/proc/{self.machines[name].pid}/ns/pid")
        found = []
        for process in [*family, *psutil.process_iter()]:
            try:
                if (
                    text in " ".join(process.cmdline())
                    and os.readlink(f"/proc/{process.pid}/ns/pid") == inside
                ):
                    found.append(process.pid)
            except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                continue
        return found

    def sent_bytes(self, name: str) -> int:
        """What a machine has sent so far."""
        shown = subprocess.run(
            self.machines[name].inside("ip", "-s", "-j", "link", "show", "eth0"),
            check=True,
            capture_output=True,
            text=True,
        )
        return int(json.loads(shown.stdout)[0]["stats64"]["tx"]["bytes"])

    def start_sshd(self, name: str) -> None:
        """Have a machine take commands by ssh, with the key ``ssh/user``; nothing of the host is touched."""
        keys = self.directory / "ssh"
        if not keys.is_dir():
            keys.mkdir(mode=0o700)
            for key in ("host", "user"):
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / key)]
                subprocess.run(command, check=True)
            (keys / "authorized").write_text((keys / "user.pub").read_text())
            (keys / "config").write_text(_SSHD.format(keys=keys, user=getpass.getuser()))
        machine = self.machines[name]
        machine.own_run("sshd")
        log = open(self.directory / f"{name}-sshd.log", "w")  # noqa: SIM115
        self._logs.append(log)
        command = [shutil.which("sshd", path=_SBIN) or "sshd", "-D", "-e", "-f", str(keys / "config")]
        self._processes.append(machine.start(*command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def listening(self, name: str) -> list[tuple[str, int]]:
        """Addresses and ports on which something listens on a machine."""
        found = subprocess.run(
            self.machines[name].inside("ss", "-Htln"), check=True, capture_output=True, text=True
        )
        places = [line.split()[3].rpartition(":") for line in found.stdout.splitlines()]
        return [(host.strip("[]"), int(port)) for host, _, port in places]

    # -- the cluster

    @property
    def address(self) -> str:
        """Of the scheduler."""
        first = next(iter(self.machines.values()))
        return f"{'tls' if self.encrypted else 'tcp'}://{first.address}:{_PORT}"

    def _tls(self) -> list[str]:
        if not self.encrypted:
            return []
        pki = self.directory / "pki"
        return [
            "--tls-ca-file",
            f"{pki}/ca.pem",
            "--tls-cert",
            f"{pki}/node.pem",
            "--tls-key",
            f"{pki}/node.key",
        ]

    def _start(self, machine: Machine, *command: str) -> subprocess.Popen[str]:
        log = open(self.directory / f"{machine.name}-{len(self._logs)}.log", "w")  # noqa: SIM115
        self._logs.append(log)
        process = machine.start(
            sys.executable,
            "-m",
            *command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            environ=self.environ,
        )
        self._processes.append(process)
        return process

    def start_cluster(self, workers: str | None = None) -> None:
        """A scheduler on the first machine, a worker on each (or on those named)."""
        first = next(iter(self.machines.values()))
        self._start(
            first, "distributed.cli.dask_scheduler", "--host", self.address, "--no-dashboard", *self._tls()
        )
        for name, machine in self.machines.items():
            if workers is None or name in workers.split():
                self.start_worker(machine)

    def start_worker(self, machine: Machine, cpus: int = 2) -> None:
        """A worker, which becomes a node; it offers a resource called after its machine."""
        self._start(
            machine,
            *("distributed.cli.dask_worker", self.address, "--host", machine.address),
            *("--no-nanny", "--no-dashboard", "--nthreads", "1", "--memory-limit", "1GB"),
            *("--resources", f"CPU={cpus} {machine.name}=100", "--name", machine.name, *self._tls()),
        )

    @contextlib.contextmanager
    def driver(self, script: str, timeout_s: float = 250.0) -> Iterator[Driver]:
        """A program on the first machine, connected to the cluster; see :class:`Driver`."""
        first = next(iter(self.machines.values()))
        environ = {"RAYJUP_LAB_ADDRESS": self.address, **self.environ}
        if self.encrypted:
            for option, value in zip(
                ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"), self._tls()[1::2], strict=True
            ):
                environ[f"DASK_DISTRIBUTED__COMM__TLS__{option}"] = value
        path = self.directory / f"driver-{len(self._logs)}.py"
        path.write_text(_PROLOGUE + script)
        log = open(self.directory / f"{path.stem}.log", "w+")  # noqa: SIM115
        self._logs.append(log)
        process = first.start(
            sys.executable,
            str(path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            environ=environ,
        )
        self._processes.append(process)
        driver = Driver(process, log.name, timeout_s)
        try:
            yield driver
        finally:
            driver.end()

    def log(self) -> str:
        """What all processes wrote."""
        return "\n".join(f"--- {p.name}\n{p.read_text()}" for p in sorted(self.directory.glob("*.log")))

    def close(self) -> None:
        """Switch everything off."""
        for machine in [*self.machines.values(), self._switch]:
            machine.switch_off()
        for process in self._processes:
            process.wait(40)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        for log in self._logs:
            log.close()


class Driver:
    """A program that tells the test how far it is: ``say(**facts)`` there, ``hear()`` here, and ``go()``."""

    def __init__(self, process: subprocess.Popen[str], log: str, timeout_s: float) -> None:
        self._process = process
        self._log = log
        self._deadline = time.monotonic() + timeout_s
        self._heard = b""

    def hear(self) -> dict[str, Any]:
        """What it says next; fails when it says nothing any more."""
        assert self._process.stdout is not None
        while b"\n" not in self._heard:
            left = max(0.0, self._deadline - time.monotonic())
            ready = select.select([self._process.stdout], [], [], left)[0]
            part = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not part:
                break
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        assert line, f"the driver said nothing more; it wrote:\n{Path(self._log).read_text()[-3000:]}"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def go(self) -> None:
        """Let it go on, where it waits for that."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait for its end, or make it end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.terminate()  # nsenter hands it on: the program is its child
            self._process.wait(40)


LONG = "RAYJUP_TEST_CLUSTERS"
_SBIN = "/usr/sbin:/sbin:/usr/local/sbin:" + os.environ.get("PATH", "")
_SSHD = """
HostKey {keys}/host
AuthorizedKeysFile {keys}/authorized
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
"""


def why_no_ssh() -> str:
    """Why machines cannot be reached by ssh here; empty where they can."""
    if os.environ.get(LONG) != "1":
        return f"it takes long: 'make clusters' runs it ({LONG}=1)"
    for program in ("sshd", "ssh", "ssh-keygen", "ss"):
        if shutil.which(program, path=_SBIN) is None:
            return f"{program} is not installed (packages openssh-server, openssh-client, iproute2)"
    return why_not()


_PROLOGUE = """
import json, os, sys, time
import numpy as np
import rayjup as ray

def say(**facts):
    print(json.dumps(facts), flush=True)

def wait_for_go():
    sys.stdin.readline()

def nodes(count, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while (alive := sum(n["Alive"] for n in ray.nodes())) != count and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive

def on(name, **more):
    return {"resources": {name: 1}, **more}

ray.init(address=os.environ["RAYJUP_LAB_ADDRESS"], log_to_driver=False)
"""


def _make_certificates(directory: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=directory)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req",
        "-x509",
        *curve,
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
    )
    openssl("req", *curve, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=node")
    openssl(
        *("x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
        *("-days", "2", "-out", "node.pem"),
    )


@contextlib.contextmanager
def lab(
    names: str,
    encrypted: bool = True,
    environ: dict[str, str] | None = None,
    workers: str | None = None,
    cluster: bool = True,
) -> Iterator[Lab]:
    """Machines with a running cluster (or without one); skips the test where that is not possible."""
    import pytest

    if why_not():
        pytest.skip(why_not())
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as directory:
        made = Lab(names, Path(directory), encrypted, environ)
        try:
            if cluster:
                made.start_cluster(workers)
            yield made
        finally:
            made.close()
