"""Nodes as jobs of PBS."""

from __future__ import annotations

from rayjup.cluster.launchers.jobqueue import JobQueueLauncher


class PbsLauncher(JobQueueLauncher):
    """As :class:`JobQueueLauncher`; options as of dask-jobqueue's ``PBSCluster``."""

    system = "pbs"
    job_class = "PBSJob"
