"""``rayjup memory``, ``timeline``, ``stack`` and ``kill-actor``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import click

from rayjup.cli.output import address_option, echo_rows
from rayjup.cluster import descriptors
from rayjup.observe import ClusterView
from rayjup.observe.timeline import events_at
from rayjup.util import state

_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_SORTS = {"PID": "pid", "OBJECT_SIZE": "object_size", "REFERENCE_TYPE": "reference_type"}


@click.command("memory")
@address_option
@click.option("--group-by", type=click.Choice(["NODE_ADDRESS", "STACK_TRACE"]), default="NODE_ADDRESS")
@click.option("--sort-by", type=click.Choice(list(_SORTS)), default="OBJECT_SIZE", show_default=True)
@click.option("--units", type=click.Choice(list(_UNITS)), default="B", show_default=True)
@click.option("--stats-only", is_flag=True, help="Only the totals.")
@click.option("--num-entries", "-n", type=int, default=None, help="At most so many rows of a group.")
def memory(
    address: str | None, group_by: str, sort_by: str, units: str, stats_only: bool, num_entries: int | None
) -> None:
    """Show which objects there are, who keeps them, and how full the stores are."""
    rows = state.list_objects(address=address, limit=10_000, detail=True, raise_on_missing_output=False)
    groups: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        groups[(row.ip if group_by == "NODE_ADDRESS" else row.call_site) or "unknown"].append(row)
    for name, some in sorted(groups.items()):
        some.sort(key=lambda row: getattr(row, _SORTS[sort_by]) or 0, reverse=sort_by == "OBJECT_SIZE")
        total = sum(max(row.object_size or 0, 0) for row in some)
        if not stats_only:
            shown = [
                {
                    "object_id": row.object_id,
                    f"size_{units}": round((row.object_size or 0) / _UNITS[units], 3),
                    "type": row.reference_type,
                    "pid": row.pid,
                    "status": row.task_status,
                    "call_site": row.call_site,
                }
                for row in some[:num_entries]
            ]
            echo_rows(shown, "table", title=f"Objects of {name}")
        click.echo(f"{name}: {len(some)} references, {total / _UNITS[units]:g} {units}")
    view = ClusterView(descriptors.which(address))
    try:
        nodes = view.snapshot()["nodes"]
    finally:
        view.close()
    for node in nodes:
        click.echo(
            f"node {node['name']}: {(node['store_used'] or 0) / _UNITS[units]:g} of "
            f"{(node['store_capacity'] or 0) / _UNITS[units]:g} {units} of its store used by "
            f"{node['store_objects'] or 0} objects, "
            f"{(node['store_spilled'] or 0) / _UNITS[units]:g} {units} on disk"
        )


@click.command("timeline")
@address_option
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), default=None, help="The file."
)
def timeline(address: str | None, output: Path | None) -> None:
    """Write what ran when as a trace for chrome://tracing or ui.perfetto.dev."""
    cluster = descriptors.which(address)
    events = events_at(cluster.cluster_id)
    path = output or Path(f"rayjup-timeline-{cluster.name}.json")
    path.write_text(json.dumps(events), encoding="utf-8")
    click.echo(f"Wrote {len(events)} events to {path}: open it in ui.perfetto.dev or chrome://tracing.")


@click.command("stack")
@address_option
@click.option("--native", is_flag=True, help="With frames of C code.")
def stack(address: str | None, native: bool) -> None:
    """Show where each process of the cluster on this machine is just now (uses py-spy)."""
    spy = shutil.which("py-spy") or _beside_python("py-spy")
    if spy is None:
        raise click.ClickException("stacks are read by py-spy, which is missing: pip install py-spy")
    cluster = descriptors.which(address)
    workers = state.list_workers(address=cluster.cluster_id, filters=[("is_alive", "=", True)], detail=True)
    processes = [("head", cluster.head()[0]), ("node", int(cluster.extra.get("node_pid", 0)))]
    processes += [(str(worker.worker_type).lower(), worker.pid) for worker in workers]
    for pid, kind in {pid: kind for kind, pid in processes if pid}.items():
        if not os.path.exists(f"/proc/{pid}"):
            continue  # of another machine
        click.echo(f"==== {kind}, process {pid} ====")
        done = subprocess.run(
            [spy, "dump", "--pid", str(pid), *(["--native"] if native else [])],
            capture_output=True,
            text=True,
        )
        click.echo(done.stdout if done.returncode == 0 else f"py-spy: {done.stderr.strip()}")


@click.command("kill-actor")
@address_option
@click.option("--name", required=True, help="The actor's name.")
@click.option("--namespace", default=None, help="Its namespace; found out where the name is unique.")
@click.option("--no-restart/--restart", default=True, show_default=True, help="Whether it stays dead.")
def kill_actor(address: str | None, name: str, namespace: str | None, no_restart: bool) -> None:
    """End a named actor."""
    import rayjup

    cluster = descriptors.which(address)
    filters: list[Any] = [("name", "=", name), ("state", "!=", "DEAD")]
    rows = state.list_actors(address=cluster.cluster_id, filters=filters, detail=True)
    spaces = sorted({str(row.ray_namespace) for row in rows})
    if not spaces:
        raise click.ClickException(f"there is no actor named {name!r} in the cluster {cluster.name}.")
    if namespace is None and len(spaces) > 1:
        raise click.ClickException(
            f"several actors are named {name!r}: say --namespace, of {', '.join(spaces)}."
        )
    rayjup.init(cluster.cluster_id, namespace=namespace or spaces[0], log_to_driver=False)
    try:
        rayjup.kill(rayjup.get_actor(name), no_restart=no_restart)
    finally:
        rayjup.shutdown()
    click.echo(f"Ended the actor {name}.")


def _beside_python(program: str) -> str | None:
    path = Path(sys.executable).with_name(program)
    return str(path) if path.is_file() else None
