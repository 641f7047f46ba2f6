"""``rayjup logs``: files of a cluster, and what its actors, tasks, workers and jobs print."""

from __future__ import annotations

from typing import Any

import click

from rayjup.cli.output import address_option
from rayjup.util import state

_where = (
    click.option("--node-id", default=None, help="Only of this node."),
    click.option("--node-ip", default=None, help="Only of the node with this address."),
)
_how = (
    click.option("--follow", "-f", is_flag=True, help="Go on printing what is added."),
    click.option("--tail", type=int, default=1000, show_default=True, help="The last lines; -1: all."),
    click.option("--timeout", type=click.IntRange(1), default=30, show_default=True, help="Seconds to wait."),
)
_error = click.option("--err", is_flag=True, help="Standard error instead of standard output.")


def _with(*options: Any) -> Any:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class _Group(click.Group):
    """``rayjup logs NAME`` means ``rayjup logs cluster NAME``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["cluster", *args]
        return super().resolve_command(ctx, args)


@click.group("logs", cls=_Group, invoke_without_command=True)
@click.pass_context
def logs(ctx: click.Context) -> None:
    """Print the log of an actor, a task, a worker or a job, or a file by its name."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(cluster)


@logs.command("cluster")
@click.argument("glob_filter", default="*")
@_with(*_where, *_how, address_option)
def cluster(
    glob_filter: str = "*",
    node_id: str | None = None,
    node_ip: str | None = None,
    follow: bool = False,
    tail: int = 1000,
    timeout: int = 30,
    address: str | None = None,
) -> None:
    """Print the file GLOB_FILTER names, or a list where several fit."""
    found = state.list_logs(
        address=address, node_id=node_id, node_ip=node_ip, glob_filter=glob_filter, timeout=timeout
    )
    names = [name for some in found.values() for name in some]
    if len(names) == 1:
        _print(
            filename=names[0],
            node_id=node_id,
            node_ip=node_ip,
            follow=follow,
            tail=tail,
            timeout=timeout,
            address=address,
        )
        return
    if not names:
        raise click.ClickException(f"no log file fits {glob_filter!r}; 'rayjup logs' lists all.")
    for kind, some in found.items():
        if some:
            click.echo(f"{kind}:")
            for name in some:
                click.echo(f"  {name}")


@logs.command("actor")
@click.option("--id", "actor_id", default=None, help="The actor's id.")
@click.option("--pid", default=None, help="Of the actor's process.")
@_with(*_where, *_how, _error, address_option)
def actor(actor_id: str | None, pid: str | None, err: bool, **options: Any) -> None:
    """Print what an actor has printed."""
    if actor_id is None and pid is None:
        raise click.UsageError("say which actor: --id or --pid.")
    _print(actor_id=actor_id, pid=pid and int(pid), suffix="err" if err else "out", **options)


@logs.command("worker")
@click.option("--pid", required=True, help="Of the process.")
@_with(*_where, *_how, _error, address_option)
def worker(pid: str, err: bool, **options: Any) -> None:
    """Print what a process has printed."""
    _print(pid=int(pid), suffix="err" if err else "out", **options)


@logs.command("task")
@click.option("--id", "task_id", required=True, help="The task's id.")
@click.option("--attempt-number", type=int, default=0, show_default=True)
@_with(*_how, _error, address_option)
def task(task_id: str, attempt_number: int, err: bool, **options: Any) -> None:
    """Print what a task has printed."""
    _print(task_id=task_id, attempt_number=attempt_number, suffix="err" if err else "out", **options)


@logs.command("job")
@click.option("--id", "submission_id", required=True, help="The job's submission id.")
@_with(*_how, address_option)
def job(submission_id: str, **options: Any) -> None:
    """Print what a submitted job's program has printed."""
    _print(submission_id=submission_id, **options)


def _print(**options: Any) -> None:
    tail = options.pop("tail")
    if options.get("actor_id") is not None:  # which says where it is
        options["node_id"] = options["node_ip"] = None
    elif options.get("pid") is not None or options.get("filename") is not None:
        options["node_id"] = options["node_id"] or (None if options["node_ip"] else _node_of(**options))
    for text in state.get_log(tail=-1 if tail < 0 else tail, **options):
        click.echo(text, nl=False)


def _node_of(address: str | None, pid: int | None = None, **other: Any) -> str:
    """The node on which a process runs; the head's for a file."""
    if pid is not None:
        for worker in state.list_workers(address=address, filters=[("pid", "=", pid)], detail=True):
            return str(worker.node_id)
        raise click.ClickException(f"there is no process {pid} in the cluster; see 'rayjup list workers'.")
    nodes = state.list_nodes(address=address, filters=[("state", "=", "ALIVE")])
    return str(next((node for node in nodes if node.is_head_node), nodes[0]).node_id)
