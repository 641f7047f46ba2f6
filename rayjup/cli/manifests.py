"""What ``rayjup up`` does for KubeRay's manifests beside starting their clusters: jobs and services."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from rayjup.cluster import kuberay
from rayjup.cluster.operating import Operated
from rayjup.job_submission import JobStatus, JobSubmissionClient

_LOOK_S = 0.2


def up(made: Operated) -> int:
    """Start the cluster of a manifest, and what it wants to have run there; the exit code.

    Raises
    ------
    ConnectionError
        It names a running cluster, and there is none of that name.
    """
    job = kuberay.job(made.text)
    config = kuberay.serve_config(made.text)
    if kuberay.selected(made.text) is None:
        made.up(click.echo)
    if config is not None:
        return serve(made, config)
    return run(made, job) if job is not None else 0


def serve(made: Operated, config: dict[str, Any]) -> int:
    """Deploy what a ``RayService`` serves."""
    import yaml

    from rayjup.serve.scripts import main

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "serve.yaml")
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return main(["--address", made.name, "deploy", str(file)])


def run(made: Operated, job: kuberay.Job) -> int:
    """Submit the job of a ``RayJob``; where its cluster ends with it, or it has a deadline, wait for it."""
    client = JobSubmissionClient(job.cluster or made.name)
    number = client.submit_job(**job.submission)
    click.echo(f"Submitted the job {number}.")
    if not job.ends_cluster and job.deadline_s is None:
        click.echo(f"  its output:  rayjup job logs --address {job.cluster or made.name} {number}")
        return 0
    try:
        asyncio.run(_follow(client, number, job.deadline_s))
    except asyncio.TimeoutError:
        click.echo(f"The job {number} has reached its deadline of {job.deadline_s:g} s.", err=True)
        client.stop_job(number)
    status = _ended(client, number)
    click.echo(f"The job {number} has ended: {status}.", err=True)
    if job.ends_cluster and job.cluster is None:
        time.sleep(job.linger_s)
        made.down(click.echo)
    return 0 if status is JobStatus.SUCCEEDED else 1


async def _follow(client: JobSubmissionClient, number: str, deadline_s: float | None) -> None:
    async def print_all() -> None:
        async for piece in client.tail_job_logs(number):
            click.echo(piece, nl=False)

    await asyncio.wait_for(print_all(), deadline_s)


def _ended(client: JobSubmissionClient, number: str) -> JobStatus:
    """Its last status; one that was told to end has so long for it as it takes."""
    while not (status := client.get_job_status(number)).is_terminal():
        time.sleep(_LOOK_S)
    return status
