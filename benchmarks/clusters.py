"""Operating a cluster: jobs that are submitted and listed, nodes that are asked for.

Runs on Ray (``python benchmarks/clusters.py --json ray.json``) and on rayjup (with
``python -m rayjup.as_ray``); ``report.py --title Clusters`` puts the two side by side.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import ray
from ray.cluster_utils import AutoscalingCluster
from ray.job_submission import JobStatus, JobSubmissionClient

JOBS = 1000
REPEATS = 5
TAG = "said at "
FIRST_LINE = f"import time; print('{TAG}', time.time(), flush=True)"
CONNECTED = f"import ray, time; ray.init(); print('{TAG}', time.time(), flush=True)"
NODE = {"resources": {"CPU": 1, "late": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1}


def program(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def ended(client: JobSubmissionClient, job: str) -> None:
    while not client.get_job_status(job).is_terminal():
        time.sleep(0.02)
    assert client.get_job_status(job) == JobStatus.SUCCEEDED, client.get_job_logs(job)


def said(client: JobSubmissionClient, job: str) -> float:
    """When the program says that it has said its line."""
    lines = client.get_job_logs(job).splitlines()
    return float(next(line for line in lines if line.startswith(TAG))[len(TAG) :])


def until_said(client: JobSubmissionClient, code: str) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        took = []
        for _ in range(REPEATS):
            start = time.time()
            job = client.submit_job(entrypoint=program(code))
            ended(client, job)
            took.append(said(client, job) - start)
        return took

    return sample


def until_read(client: JobSubmissionClient) -> Callable[[harness.Line], list[float]]:
    async def first(job: str) -> None:
        async for piece in client.tail_job_logs(job):
            if TAG in piece:
                return

    def sample(line: harness.Line) -> list[float]:
        took = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            job = client.submit_job(entrypoint=program(FIRST_LINE))
            asyncio.run(first(job))
            took.append(time.perf_counter() - start)
            ended(client, job)
        return took

    return sample


def until_seen(client: JobSubmissionClient) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        took = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            ended(client, client.submit_job(entrypoint="true"))
            took.append(time.perf_counter() - start)
        return took

    return sample


def by_command(client: JobSubmissionClient) -> Callable[[harness.Line], list[float]]:
    """``ray job submit`` as somebody types it, from its start to its end."""
    own = ["-m", "rayjup"]
    if ray.__name__ == "ray":
        script = Path(sys.executable).with_name("ray")
        if not script.exists():
            raise harness.Unavailable("the program ray is not beside this Python")
        own = [str(script)]
    options = ["job", "submit", "--address", client._address if own[0] != "-m" else client.address]
    command = [sys.executable, *own, *options, "--", *shlex.split(program(FIRST_LINE))]

    def sample(line: harness.Line) -> list[float]:
        took = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took.append(time.perf_counter() - start)
        return took

    return sample


def queue(client: JobSubmissionClient, count: int) -> Callable[[harness.Line], list[float]]:
    """Jobs whose programs want more than there is."""

    def sample(line: harness.Line) -> list[float]:
        start = time.perf_counter()
        for _ in range(count):
            client.submit_job(entrypoint="true", entrypoint_num_cpus=1000)
        return [time.perf_counter() - start]

    return sample


def listed(client: JobSubmissionClient, count: int) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        took = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            jobs = client.list_jobs()
            took.append((time.perf_counter() - start) * 1e3)
            waiting = sum(job.status == JobStatus.PENDING for job in jobs)
            assert waiting >= count, f"only {waiting} of {count} jobs are listed as waiting"
        return took

    return sample


def one_status(client: JobSubmissionClient) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        job = next(job.submission_id for job in client.list_jobs() if job.status == JobStatus.PENDING)
        took = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            client.get_job_status(job)
            took.append((time.perf_counter() - start) * 1e3)
        return took

    return sample


def until_asked_for(line: harness.Line) -> list[float]:
    """From a task that fits nowhere until the autoscaler has decided to start a node for it."""
    if ray.__name__ == "ray":
        raise harness.Unavailable("Ray writes its decisions into a log")
    from rayjup.observe import current

    took = []
    for _ in range(3):
        with growing():
            view = current()
            assert view is not None
            start = time.perf_counter()
            ref = late.remote()
            while not any(row["starting"] or row["up"] for row in scaling(view)["types"]):
                time.sleep(0.005)
            took.append(time.perf_counter() - start)
            ray.get(ref)
            view.close()
    return took


def scaling(view: Any) -> dict[str, Any]:
    return view.snapshot().get("scaling") or {"types": []}


def until_run(line: harness.Line) -> list[float]:
    took = []
    for _ in range(3):
        with growing():
            start = time.perf_counter()
            ray.get(late.remote())
            took.append(time.perf_counter() - start)
    return took


@ray.remote(resources={"late": 1})
def late() -> None:
    """Runs on a node that has to be started first."""


class growing:
    """A connection to a cluster that starts its only node with resources when it is needed."""

    def __enter__(self) -> None:
        try:
            self.cluster = AutoscalingCluster(head_resources={"CPU": 0}, worker_node_types={"late": NODE})
        except FileNotFoundError as error:
            raise harness.Unavailable(
                f"{Path(error.filename).name} is missing in what is installed"
            ) from error
        self.cluster.start()
        ray.init("auto")
        time.sleep(1.0)  # it has looked at the cluster, and found nothing to do

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
        self.cluster.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    harness.add_arguments(parser)
    parser.add_argument("--jobs", type=int, default=JOBS, metavar="N", help="jobs in the queue")
    arguments = parser.parse_args()
    record = harness.recorder(arguments)
    print(f"{ray.__name__} {ray.__version__}, {multiprocessing.cpu_count()} cores", flush=True)
    os.environ.pop("RAY_ADDRESS", None)
    context = ray.init(num_cpus=2, include_dashboard=True)
    client = JobSubmissionClient(f"http://{context.dashboard_url}")
    try:
        ended(client, client.submit_job(entrypoint="true"))
        bare = "python's start alone"
        record.times(f"bare: {bare}", "s", lambda line: [python_start() for _ in range(REPEATS)])
        record.times("job: submit until its program says its first line", "s", until_said(client, FIRST_LINE))
        record.times("job: submit until tail_job_logs gives that line", "s", until_read(client))
        record.times("job: submit until its program is connected", "s", until_said(client, CONNECTED))
        record.times("job: submit until it is seen to have succeeded", "s", until_seen(client))
        record.times("job: the whole command 'job submit'", "s", by_command(client))
        jobs = f"{harness.number(arguments.jobs)} jobs that wait"
        record.times(f"{jobs}: submitted", "s", queue(client, arguments.jobs))
        record.times(f"{jobs}: all listed", "ms", listed(client, arguments.jobs))
        record.times(f"{jobs}: the status of one", "ms", one_status(client))
    finally:
        ray.shutdown()
    record.times("a task that needs a new node: until one is asked for", "s", until_asked_for)
    record.times("a task that needs a new node: until it has run there", "s", until_run)
    return harness.finish(record, arguments, ray.__name__, ray.__version__)


def python_start() -> float:
    start = time.time()
    done = subprocess.run([sys.executable, "-c", FIRST_LINE], check=True, capture_output=True, text=True)
    return float(done.stdout[len(TAG) :]) - start


if __name__ == "__main__":
    sys.exit(main())
