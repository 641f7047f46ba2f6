"""``rayjup job …``, ``dashboard`` and ``get-auth-token``."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from rayjup.cli.clusters import JsonObject
from rayjup.cli.output import echo_record, echo_rows, format_option
from rayjup.cluster import dashboards, descriptors
from rayjup.job_submission import JobStatus, JobSubmissionClient


def _client_options(function: Any) -> Any:
    for option in (
        click.option("--verify", default="true", help="Check certificates: true, false, or a file."),
        click.option("--headers", type=JsonObject(), default=None, help="Sent with each request, as JSON."),
        click.option(
            "--address", default=None, help="Name of the cluster, or http://host:port of its dashboard."
        ),
    ):
        function = option(function)
    return function


def _client(address: str | None, headers: dict[str, Any] | None, verify: str, create: bool = False) -> Any:
    trusted: str | bool = {"true": True, "false": False}.get(verify.lower(), verify)
    try:
        return JobSubmissionClient(address, create, headers=headers, verify=trusted)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


@click.group("job")
def job() -> None:
    """Submit programs to a cluster and look after them."""


@job.command("submit", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_client_options
@click.option("--submission-id", "--job-id", default=None, help="Made up by default.")
@click.option(
    "--runtime-env", type=click.Path(exists=True, path_type=Path), default=None, help="A YAML file."
)
@click.option("--runtime-env-json", type=JsonObject(), default=None, help="The runtime environment as JSON.")
@click.option("--working-dir", default=None, help="Directory (uploaded) or URI in which the program runs.")
@click.option("--metadata-json", type=JsonObject(), default=None, help="Noted down with the job.")
@click.option("--entrypoint-num-cpus", type=float, default=None, help="CPUs for the program itself.")
@click.option("--entrypoint-num-gpus", type=float, default=None, help="GPUs for the program itself.")
@click.option("--entrypoint-memory", type=int, default=None, help="Bytes for the program itself.")
@click.option("--entrypoint-resources", type=JsonObject(), default=None, help="Custom resources, as JSON.")
@click.option("--entrypoint-label-selector", type=JsonObject(), default=None, help="Labels of its node.")
@click.option("--no-wait", is_flag=True, help="Don't print the log and wait for the end.")
@click.argument("entrypoint", nargs=-1, required=True, type=click.UNPROCESSED)
def submit(
    address: str | None,
    headers: dict[str, Any] | None,
    verify: str,
    runtime_env: Path | None,
    runtime_env_json: dict[str, Any] | None,
    working_dir: str | None,
    metadata_json: dict[str, str] | None,
    no_wait: bool,
    entrypoint: tuple[str, ...],
    **given: Any,
) -> None:
    """Run ENTRYPOINT, a command line, on the cluster: rayjup job submit -- python train.py --lr 0.1."""
    if runtime_env is not None and runtime_env_json is not None:
        raise click.UsageError("give --runtime-env or --runtime-env-json, not both.")
    environment = dict(runtime_env_json or {})
    if runtime_env is not None:
        import yaml  # comes with Dask

        environment = yaml.safe_load(runtime_env.read_text(encoding="utf-8")) or {}
    if working_dir is not None:
        environment["working_dir"] = working_dir
    client = _client(address, headers, verify)
    command = entrypoint[0] if len(entrypoint) == 1 else shlex.join(entrypoint)
    submission_id = client.submit_job(
        entrypoint=command, runtime_env=environment or None, metadata=metadata_json, **given
    )
    click.echo(f"Submitted the job {submission_id} to {client.address}.", err=True)
    if no_wait:
        click.echo(submission_id)
        return
    _follow(client, submission_id)
    _end_as(client, submission_id)


@job.command("status")
@click.argument("job_id")
@_client_options
def status(job_id: str, address: str | None, headers: dict[str, Any] | None, verify: str) -> None:
    """Show what a job is at."""
    info = _ask(lambda: _client(address, headers, verify).get_job_info(job_id))
    click.echo(f"{job_id}: {info.status}" + (f"\n{info.message}" if info.message else ""))


@job.command("logs")
@click.argument("job_id")
@click.option("--follow", "-f", is_flag=True, help="Until the job has ended.")
@_client_options
def logs(job_id: str, follow: bool, address: str | None, headers: dict[str, Any] | None, verify: str) -> None:
    """Print what a job has printed."""
    client = _client(address, headers, verify)
    if follow:
        _ask(lambda: client.get_job_info(job_id))
        _follow(client, job_id)
    else:
        click.echo(_ask(lambda: client.get_job_logs(job_id)), nl=False)


@job.command("stop")
@click.argument("job_id")
@click.option("--no-wait", is_flag=True, help="Don't wait until it has ended.")
@_client_options
def stop(
    job_id: str, no_wait: bool, address: str | None, headers: dict[str, Any] | None, verify: str
) -> None:
    """Have a job end."""
    client = _client(address, headers, verify)
    if not _ask(lambda: client.stop_job(job_id)):
        click.echo(f"{job_id} was not running.")
        return
    if not no_wait:
        _follow(client, job_id, quiet=True)
    click.echo(f"{job_id}: {client.get_job_status(job_id)}")


@job.command("delete")
@click.argument("job_id")
@_client_options
def delete(job_id: str, address: str | None, headers: dict[str, Any] | None, verify: str) -> None:
    """Forget a job that has ended, and its log."""
    _ask(lambda: _client(address, headers, verify).delete_job(job_id))
    click.echo(f"{job_id} is deleted.")


@job.command("list")
@format_option
@_client_options
def list_(form: str, address: str | None, headers: dict[str, Any] | None, verify: str) -> None:
    """List the jobs of a cluster, also drivers that connected themselves."""
    jobs = _client(address, headers, verify).list_jobs()
    if form in ("json", "yaml"):
        echo_record([row.dict() for row in jobs], form)
        return
    names = ("submission_id", "job_id", "type", "status", "entrypoint", "message")
    rows = [{name: row.dict()[name] for name in names} for row in jobs]
    echo_rows(rows, "table", title="Jobs")


@click.command("dashboard")
@click.option("--address", default=None, help="Name, id or address of the cluster.")
@click.option("--port", type=int, default=None, help="By default 8265, or the next that is free.")
@click.option("--show-token", is_flag=True, help="Print the token, too.")
def dashboard(address: str | None, port: int | None, show_token: bool) -> None:
    """Start the REST server of a cluster, or say where it listens."""
    server = dashboards.start(descriptors.which(address), port)
    click.echo(json.dumps({"url": server.url, "token": server.token}) if show_token else server.url)


@click.command("get-auth-token")
@click.option("--address", default=None, help="Name, id or address of the cluster.")
def get_auth_token(address: str | None) -> None:
    """Print the token that the REST server of a cluster wants to see."""
    click.echo(dashboards.find(address).token)


def _ask(question: Any) -> Any:
    try:
        return question()
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def _follow(client: Any, job_id: str, quiet: bool = False) -> None:
    async def print_all() -> None:
        async for piece in client.tail_job_logs(job_id):
            if not quiet:
                click.echo(piece, nl=False)

    asyncio.run(print_all())


def _end_as(client: Any, job_id: str) -> None:
    """Say how the job has ended; its failure is this command's."""
    info = client.get_job_info(job_id)
    click.echo(f"The job {job_id} has ended: {info.status}.", err=True)
    if info.status is not JobStatus.SUCCEEDED:
        if info.message:
            click.echo(info.message, err=True)
        sys.exit(1)
