"""Nodes as jobs of SGE."""

from __future__ import annotations

from rayjup.cluster.launchers.jobqueue import JobQueueLauncher


class SgeLauncher(JobQueueLauncher):
    """As :class:`JobQueueLauncher`; options as of dask-jobqueue's ``SGECluster``."""

    system = "sge"
    job_class = "SGEJob"
