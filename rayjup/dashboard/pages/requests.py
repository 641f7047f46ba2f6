"""What pages can ask of the cluster: the end of a run, a job, an application."""

from __future__ import annotations

import asyncio
from typing import Any

from rayjup.jobs.manager import JobManager
from rayjup.observe import ClusterView

STOPS: dict[str, dict[str, Any]] = {
    "tune": {"stop": "*"},
    "train": {"action": "stop"},
    "rllib": {"do": "stop"},
}
"""How a whole run of each kind is asked to end."""


class Requests:
    """Requests to a cluster, made by somebody who looks at a page.

    Parameters
    ----------
    view
        The cluster.
    jobs
        Its jobs.
    """

    def __init__(self, view: ClusterView, jobs: JobManager) -> None:
        self._view = view
        self.jobs = jobs

    async def stop_run(self, kind: str, run_id: str, trial: str | None = None) -> None:
        """Ask a run, or one trial of an experiment, to end."""
        request = {"stop": trial} if trial is not None else STOPS[kind]
        await asyncio.to_thread(self._view.ask_run, kind, run_id, request)

    async def delete_application(self, name: str) -> None:
        """Take an application down."""
        from rayjup import serve

        await asyncio.to_thread(serve.delete, name)
