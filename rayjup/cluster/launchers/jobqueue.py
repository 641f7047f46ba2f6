"""Nodes as jobs of a batch system: what all of them have in common.

Scripts and commands are dask-jobqueue's.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import credentials
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher, State
from rayjup.cluster.launchers.joining import address, join_command, secret
from rayjup.cluster.scaling.settings import NodeType

_GIB = 1 << 30
_COMMAND_S = 60.0


class JobQueueLauncher(Launcher):
    """One job per node, which ends with it.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in.
    python
        The Python of the machines where jobs run; as here by default.
    directory
        Where credentials and logs go: private, and on a file system that those machines share.
    memory
        Bytes of a job whose node type does not say; where None, 2 GiB per CPU.
    prologue
        Lines of shell that run in the job before the node is started.
    options
        More options of dask-jobqueue for this system, such as ``queue``, ``account``, ``walltime``,
        ``job_extra_directives``. Those of a type's ``node_config`` come before them.
    """

    system: ClassVar[str]
    """As dask-jobqueue calls it, such as ``slurm``."""
    job_class: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        cluster: Descriptor,
        *,
        python: str | None = None,
        directory: str = "~/.rayjup",
        memory: int | None = None,
        prologue: Sequence[str] = (),
        **options: Any,
    ) -> None:
        address(cluster)
        self._cluster = cluster
        self._python = python or sys.executable
        self._directory = os.path.expanduser(directory)
        self._memory = memory
        self._prologue = list(prologue)
        self._options = {**self.defaults, **options}
        self._class = self._load()
        self._jobs: dict[str, str] = {}  # name of a node → number of its job
        self._asked: set[str] = set()
        self._unwanted: set[str] = set()
        self._lock = threading.Lock()
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        self._credentials = f"{self._directory}/{cluster.cluster_id}.pem"
        credentials.write(self._credentials, secret(cluster))
        self._jobs.update(self._found())

    def _load(self) -> Any:
        try:
            module = importlib.import_module("dask_jobqueue")
        except ImportError as error:
            raise ImportError(
                f"nodes as jobs of {self.system} need dask-jobqueue: pip install 'rayjup[hpc]'."
            ) from error
        return getattr(importlib.import_module(f"{module.__name__}.{self.system}"), self.job_class)

    def job(self, kind: NodeType, name: str) -> Any:
        """The job of a node, as dask-jobqueue's object; not submitted."""
        cpus = float(kind.resources.get("CPU", 1.0))
        memory = int(kind.resources.get("memory", 0)) or self._memory or int(max(1.0, cpus) * 2 * _GIB)
        options = {**self._options, **kind.node_config}
        made = self._class(
            scheduler=address(self._cluster),
            name=name,
            cores=max(1, round(cpus)),
            memory=str(memory),
            processes=1,
            job_name=self._job_name(name),
            log_directory=f"{self._directory}/logs",
            python=self._python,
            job_script_prologue=self._prologue,
            **options,
        )
        # What dask-jobqueue would start is a Dask worker; ours is one, too, and more.
        command = join_command(
            self._cluster, kind, name, credentials=self._credentials, python=self._python, block=True
        )
        made._command_template = self.in_job(command)
        return made

    def in_job(self, command: str) -> str:
        """The command as a part of this system's script."""
        return f"exec {command}"

    def _job_name(self, name: str) -> str:
        return f"rayjup-{self._cluster.cluster_id}-{name}"

    def start(self, kind: NodeType, name: str) -> None:
        """Submit the job."""
        with self._lock:
            self._asked.add(name)
        try:
            credentials.write(self._credentials, secret(self._cluster))  # they may have been exchanged
            made = self.job(kind, name)
            asyncio.run(made.start())
        except (OSError, RuntimeError, ValueError) as error:
            raise RaySystemError(f"{self.system} did not take the job of the node {name}: {error}") from error
        finally:
            with self._lock:
                self._asked.discard(name)
        with self._lock:
            self._jobs[name] = str(made.job_id)
            unwanted = name in self._unwanted
        if unwanted:
            self.stop(name)

    def stop(self, name: str) -> None:
        """Cancel the job, whether it runs or waits."""
        with self._lock:
            if name in self._asked:
                self._unwanted.add(name)
                return
            self._unwanted.discard(name)
            number = self._jobs.pop(name, None)
        if number is not None:
            self.cancel(number)

    def cancel(self, number: str) -> None:
        """End a job; one that has ended is none any more."""
        command = [*self._class.cancel_command.split(), number]
        subprocess.run(command, capture_output=True, timeout=_COMMAND_S, check=False)

    def instances(self) -> dict[str, Instance]:
        """What the batch system says of the jobs."""
        with self._lock:
            jobs, asked = dict(self._jobs), set(self._asked)
        found = {name: Instance(name, "pending") for name in asked}
        rows = self.queue()
        for name, number in jobs.items():
            if rows is None:
                found[name] = Instance(name, "pending", f"job {number}")
                continue
            state, why = rows.get(number, ("ended", "its job has ended"))
            if state == "ended":
                why = self.log(name).strip()[-500:] or why
            found[name] = Instance(name, state, f"job {number}", why)
        return found

    def queue(self) -> dict[str, tuple[State, str]] | None:
        """State and reason of each job in the queue, by number; None where it cannot be asked."""
        return None

    def _found(self) -> dict[str, str]:
        """Jobs of the launcher before this one: name of the node → number."""
        return {}

    def log(self, name: str) -> str:
        """The end of what the job has written."""
        with self._lock:
            number = self._jobs.get(name)
        logs = Path(self._directory, "logs")
        pattern = re.compile(rf"(^|[^0-9]){re.escape(number or '-')}([^0-9]|$)")
        files = [path for path in logs.glob("*") if number and pattern.search(path.name)]
        return "\n".join(path.read_text(errors="replace") for path in sorted(files))[-20_000:]

    def close(self) -> None:
        """Cancel all jobs, and remove the credentials."""
        super().close()
        Path(self._credentials).unlink(missing_ok=True)


def ask(*command: str) -> str | None:
    """What a command of a batch system says; None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
