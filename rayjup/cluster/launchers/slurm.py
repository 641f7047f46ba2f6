"""Nodes as jobs of Slurm."""

from __future__ import annotations

import getpass

from rayjup.cluster.launchers.base import State
from rayjup.cluster.launchers.jobqueue import JobQueueLauncher, ask

_STATES: dict[str, State] = {
    "PENDING": "pending",
    "CONFIGURING": "pending",
    "RUNNING": "running",
    "COMPLETING": "running",
    "SUSPENDED": "running",
}


class SlurmLauncher(JobQueueLauncher):
    """As :class:`JobQueueLauncher`; options as of dask-jobqueue's ``SLURMCluster``."""

    system = "slurm"
    job_class = "SLURMJob"

    def queue(self) -> dict[str, tuple[State, str]] | None:
        """What ``squeue`` says."""
        text = ask("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i|%T|%r")
        if text is None:
            return None
        found: dict[str, tuple[State, str]] = {}
        for line in text.splitlines():
            number, state, why = line.strip().split("|", 2)
            found[number] = (_STATES.get(state, "ended"), "" if why == "None" else f"Slurm says {why}")
        return found

    def _found(self) -> dict[str, str]:
        text = ask("squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i|%j") or ""
        prefix = self._job_name("")
        rows = [line.strip().split("|", 1) for line in text.splitlines()]
        return {name.removeprefix(prefix): number for number, name in rows if name.startswith(prefix)}

    def cancel(self, number: str) -> None:
        """Let the node end by itself first: Slurm does not tell the script of a job by default."""
        ask("scancel", "--batch", "--signal=TERM", number)
        super().cancel(number)
