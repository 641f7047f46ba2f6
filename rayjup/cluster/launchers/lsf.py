"""Nodes as jobs of LSF."""

from __future__ import annotations

from rayjup.cluster.launchers.jobqueue import JobQueueLauncher


class LsfLauncher(JobQueueLauncher):
    """As :class:`JobQueueLauncher`; options as of dask-jobqueue's ``LSFCluster``."""

    system = "lsf"
    job_class = "LSFJob"
