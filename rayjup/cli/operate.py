"""Commands for clusters that a file describes: ``rayjup up``, ``down``, ``exec`` and their kin."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import click

from rayjup.cluster import cluster_file, descriptors, kuberay
from rayjup.cluster.operating import Operated
from rayjup.cluster.scaling import monitor as scaling

_file = click.argument("file", type=click.Path(exists=True, dir_okay=False))
_name = click.option("--cluster-name", "-n", default=None, help="Instead of the name in the file.")


@click.command("up")
@_file
@_name
@click.option("--min-workers", type=int, default=None, help="Of each type of node, at least.")
@click.option("--max-workers", type=int, default=None, help="Nodes at most.")
@click.option("--yes", "-y", is_flag=True, help="Taken for compatibility: nothing is asked.")
@click.option(
    "--no-restart", is_flag=True, help="Taken for compatibility: a running head is never restarted."
)
def up(
    file: str,
    cluster_name: str | None,
    min_workers: int | None,
    max_workers: int | None,
    yes: bool,
    no_restart: bool,
) -> None:
    """Start the cluster that FILE describes, or give it new settings.

    FILE is a cluster file as Ray's, or a manifest of KubeRay's: the job of a RayJob is submitted, the
    applications of a RayService are deployed.
    """
    made = Operated.read(file, cluster_name)
    changes = {"min_workers": min_workers, "max_workers": max_workers}
    data = {**made.text, **{key: value for key, value in changes.items() if value is not None}}
    made = Operated.of(data)
    if kuberay.is_manifest(data):
        from rayjup.cli import manifests  # jobs and Serve are not needed otherwise

        code = manifests.up(made)
        if code or not made.runs():
            sys.exit(code)
        address = made.name
    else:
        address = made.up(click.echo)
    click.echo(
        f"\n  from Python:  import rayjup; rayjup.init({address!r})\n  to stop it:   rayjup down {file}"
    )


@click.command("down")
@_file
@_name
@click.option("--workers-only", is_flag=True, help="Give the nodes back, but keep the head.")
@click.option("--yes", "-y", is_flag=True, help="Taken for compatibility: nothing is asked.")
def down(file: str, cluster_name: str | None, workers_only: bool, yes: bool) -> None:
    """Stop the cluster that FILE describes, with all its nodes."""
    Operated.read(file, cluster_name).down(click.echo, workers_only=workers_only)


@click.command("attach")
@_file
@_name
@click.option("--start", is_flag=True, help="Start the cluster first, where it does not run.")
@click.option("--port-forward", "-p", type=int, multiple=True, help="Ports of the head to have here, too.")
def attach(file: str, cluster_name: str | None, start: bool, port_forward: tuple[int, ...]) -> None:
    """Open a shell on the head's machine."""
    made = _made(file, cluster_name, start)
    sys.exit(made.run(None, terminal=True, forward=_forwards(port_forward)).returncode)


@click.command("exec")
@_file
@click.argument("command")
@_name
@click.option("--start", is_flag=True, help="Start the cluster first, where it does not run.")
@click.option("--stop", is_flag=True, help="Stop the cluster afterwards.")
@click.option("--port-forward", "-p", type=int, multiple=True, help="Ports of the head to have here, too.")
def execute(
    file: str, command: str, cluster_name: str | None, start: bool, stop: bool, port_forward: tuple[int, ...]
) -> None:
    """Run a shell COMMAND on the head's machine."""
    made = _made(file, cluster_name, start)
    done = made.run(command, terminal=sys.stdin.isatty(), forward=_forwards(port_forward))
    if stop:
        made.down(click.echo)
    sys.exit(done.returncode)


@click.command("submit", context_settings={"ignore_unknown_options": True})
@_file
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("script_args", nargs=-1, type=click.UNPROCESSED)
@_name
@click.option("--start", is_flag=True, help="Start the cluster first, where it does not run.")
@click.option("--stop", is_flag=True, help="Stop the cluster afterwards.")
@click.option("--args", default="", help="Arguments of the script, in one word.")
def submit(
    file: str,
    script: str,
    script_args: tuple[str, ...],
    cluster_name: str | None,
    start: bool,
    stop: bool,
    args: str,
) -> None:
    """Copy the Python program SCRIPT to the head's machine and run it there."""
    made = _made(file, cluster_name, start)
    code = made.submit(script, [*script_args, *shlex.split(args)], terminal=sys.stdin.isatty())
    if stop:
        made.down(click.echo)
    sys.exit(code)


@click.command("rsync-up")
@_file
@click.argument("source")
@click.argument("target")
@_name
def rsync_up(file: str, source: str, target: str, cluster_name: str | None) -> None:
    """Copy SOURCE here to TARGET on the head's machine."""
    Operated.read(file, cluster_name).rsync(source, target, down=False)


@click.command("rsync-down")
@_file
@click.argument("source")
@click.argument("target")
@_name
def rsync_down(file: str, source: str, target: str, cluster_name: str | None) -> None:
    """Copy SOURCE on the head's machine to TARGET here."""
    Operated.read(file, cluster_name).rsync(source, target, down=True)


@click.command("get-head-ip")
@_file
@_name
def get_head_ip(file: str, cluster_name: str | None) -> None:
    """Print the address of the head's machine."""
    click.echo(Operated.read(file, cluster_name).head_ip)


@click.command("get-worker-ips")
@_file
@_name
def get_worker_ips(file: str, cluster_name: str | None) -> None:
    """Print the addresses of the machines for nodes."""
    for ip in Operated.read(file, cluster_name).worker_ips:
        click.echo(ip)


@click.command("monitor")
@click.argument("cluster")
@click.option("--lines", type=int, default=100, show_default=True, help="So many of the newest lines.")
@click.option("--follow/--no-follow", "-f", default=False, help="Go on until an interrupt.")
def monitor(cluster: str, lines: int, follow: bool) -> None:
    """Show what the autoscaler of CLUSTER (a name, an id or a cluster file) has done."""
    if Path(cluster).is_file():
        made = Operated.read(cluster)
        if made.machine is not None:
            more = ["--follow"] if follow else []
            command = made.rayjup("monitor", made.name, "--lines", str(lines), *more)
            sys.exit(made.run(command, terminal=follow).returncode)
        cluster = made.name
    found = descriptors.which(cluster)
    log = Path(found.session_dir, "logs", "monitor.log")
    if not log.exists():
        raise click.ClickException(f"the cluster {found.name} keeps the nodes it has: it has no autoscaler.")
    with log.open(encoding="utf-8", errors="replace") as text:
        click.echo("".join(text.readlines()[-lines:]), nl=False)
        while follow and found.is_alive():
            part = text.read()
            click.echo(part, nl=False)
            if not part:
                time.sleep(0.2)


@click.command("autoscale")
@click.argument("cluster")
@_file
def autoscale(cluster: str, file: str) -> None:
    """Have a running CLUSTER of this machine grow and shrink as FILE says."""
    wanted = cluster_file.read(file)
    scaling.start(descriptors.which(cluster), wanted.scaling, wanted.launcher)


def _made(file: str, name: str | None, start: bool) -> Operated:
    made = Operated.read(file, name)
    if start and not made.runs():
        made.up(click.echo)
    return made


def _forwards(ports: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{port}:localhost:{port}" for port in ports)
