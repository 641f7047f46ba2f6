"""Nodes as jobs of HTCondor."""

from __future__ import annotations

from rayjup.cluster.launchers.jobqueue import JobQueueLauncher
from rayjup.cluster.launchers.joining import words_of


class HtcondorLauncher(JobQueueLauncher):
    """As :class:`JobQueueLauncher`; options as of dask-jobqueue's ``HTCondorCluster``."""

    system = "htcondor"
    job_class = "HTCondorJob"
    defaults = {"disk": "1 GB"}

    def in_job(self, command: str) -> str:
        """One line, which a shell runs: its file is no script."""
        return f"{words_of(self._prologue)}exec {command}"
