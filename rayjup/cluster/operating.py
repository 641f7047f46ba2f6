"""Clusters that a file describes, operated from elsewhere: ``rayjup up``, ``down``, ``exec`` and their kin.

The head runs on the machine that the file names, or, where it names none, on this one; it starts its nodes
itself.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import cluster_file, descriptors, gateway, manager, network
from rayjup.cluster.cluster_file import ClusterFile
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.scaling import monitor
from rayjup.cluster.ssh import Machine, shell_path

_UP_S = 180.0
_HERE = ("localhost", "127.0.0.1", "::1")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Operated:
    """A cluster as its file describes it.

    Parameters
    ----------
    file
        What the file says.
    text
        The file itself, as data.
    """

    file: ClusterFile
    text: dict[str, Any]

    @classmethod
    def read(cls, path: str, name: str | None = None) -> Operated:
        """The cluster of a file; ``name`` goes before the one in it."""
        cluster_file.read(path)  # its errors name the file
        text = cluster_file.load(path)
        return cls.of({**text, **({"cluster_name": name} if name else {})})

    @classmethod
    def of(cls, data: dict[str, Any]) -> Operated:
        """The cluster that data describe, as a file would."""
        return cls(cluster_file.parse(data), data)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.file.name

    @property
    def head_ip(self) -> str:
        """The address of the head's machine."""
        given = self.file.provider.get("head_ip")
        return str(given) if given else "127.0.0.1"

    @property
    def port(self) -> int:
        """Where the head listens."""
        return int(self.file.provider.get("port") or network.DEFAULT_PORT)

    @property
    def _by_gateway(self) -> bool:
        """Whether dask-gateway keeps the cluster, its head included."""
        return bool(self.file.launcher["launcher"] == "gateway")

    @property
    def worker_ips(self) -> list[str]:
        """The addresses of the machines for nodes, as far as the file names them."""
        return [str(ip) for ip in self.file.provider.get("worker_ips") or ()]

    @property
    def machine(self) -> Machine | None:
        """The head's machine; None: this one."""
        ip = self.head_ip
        if ip in _HERE or network.is_own(ip):
            return None
        return self.machine_at(ip)

    def machine_at(self, ip: str) -> Machine:
        """How a machine of the cluster is reached."""
        auth = self.file.auth
        return Machine(
            ip,
            auth.get("ssh_user"),
            int(auth["ssh_port"]) if auth.get("ssh_port") else None,
            auth.get("ssh_private_key"),
            auth.get("ssh_known_hosts"),
            auth.get("ssh_proxy_command"),
        )

    @property
    def python(self) -> str:
        """The Python of the head's machine."""
        return str(
            self.file.provider.get("python") or (sys.executable if self.machine is None else "python3")
        )

    def rayjup(self, *arguments: str) -> str:
        """A command line of the program, for a shell on the head's machine."""
        environment = self.file.provider.get("environment") or {}
        variables = [f"{key}={value}" for key, value in environment.items()]
        prefix = ["env", *variables] if variables and self.machine is not None else []
        return shlex.join([*prefix, *shlex.split(self.python), "-m", "rayjup", *arguments])

    # -- life

    def up(self, tell: Tell) -> str:
        """Start the head, or give a running one its new settings; what ``init`` takes as an address."""
        for remark in self.file.remarks:
            tell(remark)
        if self._by_gateway:
            (workers,) = self.file.scaling.types
            gateway.up(self.name, self.file.provider, workers.min_workers)
            tell(f"The cluster {self.name} runs at the gateway, with {workers.min_workers} workers.")
            return self.name
        if self.runs():
            self._resettle()
            tell(f"The cluster {self.name} runs; it has its new settings.")
        elif self.machine is None:
            self._up_here(tell)
        else:
            self._up_there(self.machine, tell)
        return self.name if self.machine is None else f"{self.head_ip}:{self.port}"

    def runs(self) -> bool:
        """Whether the head answers."""
        if self._by_gateway:
            return gateway.runs(self.name)
        if self.machine is None:
            return descriptors.find(self.name) is not None
        return self.machine.run(self.rayjup("health-check", "--address", self.name)).returncode == 0

    def _setup(self) -> list[str]:
        lists = ("initialization_commands", "setup_commands", "head_setup_commands")
        return [line for name in lists for line in self.file.commands[name]]

    def _port(self) -> dict[str, Any]:
        if self.file.launcher["launcher"] == "local":
            return {}
        ip = None if self.head_ip in _HERE else self.head_ip
        return {"ip": ip, "port": self.port}

    def _up_here(self, tell: Tell) -> None:
        self.start_here(tell, started_by="up", **self._port())
        tell(f"The cluster {self.name} runs on this machine.")

    def start_here(self, tell: Tell, **options: Any) -> Descriptor:
        """Start the head on this machine; ``options`` of ``manager.start`` go before what the file says."""
        for line in self._setup():
            tell(f"$ {line}")
            done = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, check=False)
            if done.returncode:
                raise RaySystemError(f"a command failed here (exit code {done.returncode}): {line}")
        offer: dict[str, Any] = {}
        if self.file.head is not None:
            resources = dict(self.file.head.resources)
            offer = {"num_cpus": resources.pop("CPU", None), "num_gpus": resources.pop("GPU", None)}
            for key in ("memory", "object_store_memory"):
                amount = resources.pop(key, None)
                offer[key] = int(amount) if amount is not None else None
            offer |= {"resources": resources, "labels": dict(self.file.head.labels)}
        started = {"name": self.name, "autoscaling": self.file.scaling, "launcher": self.file.launcher}
        return manager.start(**{**started, **offer, **options})

    def _up_there(self, machine: Machine, tell: Tell) -> None:
        for far, near in self.file.file_mounts.items():
            tell(f"{near} → {machine.target}:{far}")
            self.rsync(near, far, down=False)
        for line in self._setup():
            tell(f"{machine.target}$ {line}")
            machine.must(line, timeout_s=3600.0)
        path = self._put_file(machine)
        start = ["start", "--head", "--name", self.name, "--autoscaling-config", path]
        start += ["--node-ip-address", self.head_ip, "--port", str(self.port), "--no-dashboard"]
        tell(machine.must(self.rayjup(*start), timeout_s=_UP_S).strip())

    def _put_file(self, machine: Machine) -> str:
        """The file, and the key with which the head reaches its nodes, on the head's machine."""
        home = machine.must("echo ~").strip()
        directory = str(self.file.provider.get("directory") or f"{home}/.rayjup").replace("~", home, 1)
        data = json.loads(json.dumps(self.text))
        auth = data.setdefault("auth", {})
        if auth.get("ssh_private_key"):
            key = Path(os.path.expanduser(auth["ssh_private_key"])).read_text(encoding="utf-8")
            machine.put_private(key, f"{directory}/{self.name}.key")
            auth["ssh_private_key"] = f"{directory}/{self.name}.key"
        if auth.get("ssh_known_hosts"):  # of this machine; the head has its own
            auth["ssh_known_hosts"] = f"{directory}/known_hosts"
        machine.put_private(json.dumps(data), f"{directory}/{self.name}.yaml")
        return f"{directory}/{self.name}.yaml"

    def _resettle(self) -> None:
        if self.machine is None:
            monitor.start(descriptors.which(self.name), self.file.scaling, self.file.launcher)
        else:
            path = self._put_file(self.machine)
            self.machine.must(self.rayjup("autoscale", self.name, path))

    def down(self, tell: Tell, *, workers_only: bool = False) -> None:
        """Stop the cluster, or (``workers_only``) give its nodes back."""
        if workers_only:
            raise RaySystemError(
                "nodes alone are given back by max_workers: 0 in the file, and 'rayjup up' once more."
            )
        if self._by_gateway:
            stopped = gateway.down(self.name)
            tell(f"Stopped: {self.name}." if stopped else f"No cluster {self.name} was made at the gateway.")
        elif self.machine is None:
            stopped = manager.stop(self.name)
            tell(f"Stopped: {self.name}." if stopped else f"No cluster {self.name} runs here.")
        else:
            tell(self.machine.must(self.rayjup("stop", self.name)).strip())

    # -- in between

    def run(
        self,
        command: str | None,
        *,
        terminal: bool = False,
        forward: tuple[str, ...] = (),
        capture: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the head's machine, as if typed there; without one, a shell."""
        line: str | list[str]
        if self.machine is None:
            line = ["/bin/sh", *(["-c", command] if command is not None else [])]
        else:
            line = self.machine.command(command, terminal=terminal, forward=forward)
        environ = {**os.environ, "RAY_ADDRESS": self.name} if self.machine is None else None
        return subprocess.run(line, env=environ, capture_output=capture, text=True, check=False)

    def rsync(self, source: str, target: str, *, down: bool) -> None:
        """Copy files to the head's machine, or from there."""
        options = tuple(f"--exclude={each}" for each in self.file.rsync_exclude)
        if self.machine is not None:
            near = os.path.expanduser(target if down else source)
            ends = (source, near) if down else (near, target)
            self.machine.rsync(*ends, down=down, options=options)
            return
        ends = (os.path.expanduser(source), os.path.expanduser(target))
        done = subprocess.run(["rsync", "-a", *options, *ends], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RaySystemError(f"rsync failed (exit code {done.returncode}): {done.stderr.strip()[-1000:]}")

    def submit(self, script: str, arguments: Sequence[str], *, terminal: bool = False) -> int:
        """Copy a program to the head's machine and run it there; its exit code."""
        name = os.path.basename(script)
        environment = self.file.provider.get("environment") or {}
        far = os.path.abspath(script)
        variables = [f"RAY_ADDRESS={self.name}"]
        if self.machine is not None:
            directory = str(environment.get("TMPDIR", "~"))
            far = f"{directory}/{name}"
            self.rsync(script, far, down=False)
            variables += [f"{key}={value}" for key, value in environment.items()]
        place = shell_path(far) if self.machine is not None else shlex.quote(far)
        words = shlex.join(["env", *variables, *shlex.split(self.python), "-m", "rayjup.as_ray"])
        return self.run(f"{words} {place} {shlex.join(arguments)}", terminal=terminal).returncode
