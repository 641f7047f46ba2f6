"""``rayjup start``, ``stop``, ``status``, ``clusters`` and ``health-check``."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from rayjup.cli.output import address_option, echo_record, format_option, table
from rayjup.cluster import cluster_file, dashboards, descriptors, manager, network
from rayjup.observe import ClusterView


class JsonObject(click.ParamType):
    """A JSON object as an option's value."""

    name = "JSON"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except json.JSONDecodeError as error:
            self.fail(f"{value!r} is not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{value!r} is not a JSON object, as '{{\"name\": 1}}' is", param, ctx)
        return found


@click.command("start")
@click.option("--head", is_flag=True, help="Start a cluster: a head and one node.")
@click.option(
    "--address",
    default=None,
    help="Add a node on this machine to a cluster: its name or id, or HOST:PORT of another machine.",
)
@click.option(
    "--port", type=int, default=None, help="Let other machines in, on this port (--head); with TLS."
)
@click.option(
    "--node-ip-address", default=None, help="Of this machine, as other machines of the cluster see it."
)
@click.option("--credentials", default=None, help="The file that lets machines in; made where it is missing.")
@click.option("--autoscaling-config", default=None, help="A cluster file: which nodes to start when needed.")
@click.option("--name", default=None, help="Name of the cluster (--head) or of the node.")
@click.option("--num-cpus", type=float, default=None, help="CPUs the node offers; found out by default.")
@click.option("--num-gpus", type=float, default=None, help="GPUs the node offers; found out by default.")
@click.option("--memory", type=int, default=None, help="Bytes for tasks and actors that ask for memory.")
@click.option("--object-store-memory", type=int, default=None, help="Bytes of the object store.")
@click.option("--resources", type=JsonObject(), default=None, help="Custom resources: '{\"license\": 2}'.")
@click.option("--labels", default=None, help='Labels of the node: "region=eu,disk=ssd", or a JSON object.')
@click.option("--system-config", type=JsonObject(), default=None, help="Settings of the cluster, as JSON.")
@click.option("--object-spilling-directory", default=None, help="Where objects go that memory cannot hold.")
@click.option(
    "--idle-stop", type=click.FloatRange(0), default=None, help="Seconds without a driver to its end."
)
@click.option(
    "--include-dashboard/--no-dashboard", default=True, show_default=True, help="Start the REST server."
)
@click.option("--dashboard-host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--dashboard-port", type=int, default=None, help="By default 8265, or the next that is free.")
@click.option("--block", is_flag=True, help="Stay until it ends; an interrupt stops it.")
def start(
    head: bool,
    address: str | None,
    port: int | None,
    node_ip_address: str | None,
    credentials: str | None,
    autoscaling_config: str | None,
    name: str | None,
    num_cpus: float | None,
    num_gpus: float | None,
    memory: int | None,
    object_store_memory: int | None,
    resources: dict[str, Any] | None,
    labels: str | None,
    system_config: dict[str, Any] | None,
    object_spilling_directory: str | None,
    idle_stop: float | None,
    include_dashboard: bool,
    dashboard_host: str,
    dashboard_port: int | None,
    block: bool,
) -> None:
    """Start a cluster on this machine, or one more node of a cluster."""
    if block:  # what is started is ended by a signal from the very beginning
        signal.signal(signal.SIGTERM, _interrupt)
    if head == (address is not None):
        raise click.UsageError(
            "say either --head, for a new cluster, or --address, for a node of a running one."
        )
    settings = dict(system_config or {})
    if object_spilling_directory is not None:
        settings["object_spilling_directory"] = object_spilling_directory
    offer: dict[str, Any] = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": resources,
        "labels": parse_labels(labels),
        "object_store_memory": object_store_memory,
        "memory": memory,
        "settings": settings or None,
    }
    if address is not None:
        for option, given in (("--port", port), ("--autoscaling-config", autoscaling_config)):
            if given is not None:
                raise click.UsageError(f"{option} is for --head: a node has none of its own.")
        node = _add_node(address, name, node_ip_address, credentials, offer)
        text = f"Node {node.name} ({node.node_id[:12]}) has joined; it ends with its cluster."
        if block:
            _wait_while(node.is_alive, lambda: manager.remove_node(node), text)
        else:
            click.echo(text)
        return
    if autoscaling_config is not None:
        wanted = cluster_file.read(autoscaling_config)
        offer |= {"autoscaling": wanted.scaling, "launcher": wanted.launcher}
        if wanted.launcher["launcher"] != "local" and port is None:
            port = network.DEFAULT_PORT
    elif credentials is not None and port is None and node_ip_address is None:
        raise click.UsageError("--credentials are for clusters of several machines: add --port.")
    offer |= {"ip": node_ip_address, "port": port, "credentials_file": credentials}
    cluster = manager.start(name, started_by="cli", linger_s=idle_stop, **offer)
    try:
        server = dashboards.start(cluster, dashboard_port, dashboard_host) if include_dashboard else None
        text = _started(cluster, server)
        if block:
            _wait_while(cluster.is_alive, lambda: manager.stop(cluster), text)
    except BaseException:  # an interrupt, too: what was started only in part is not left
        manager.stop(cluster)
        raise
    if not block:
        click.echo(text)


def _add_node(
    address: str, name: str | None, ip: str | None, credentials: str | None, offer: dict[str, Any]
) -> manager.NodeInfo:
    try:
        here = descriptors.which(address)
    except ConnectionError:
        if ":" not in address:
            raise
    else:
        if here.started_by != "node":
            return manager.add_node(here, name=name, **offer)
        credentials = credentials or here.credentials  # the cluster has a node on this machine already
        address = here.network or address
    return manager.join(address, credentials_file=credentials, ip=ip, name=name, **offer)


def _started(cluster: descriptors.Descriptor, server: dashboards.Server | None) -> str:
    where = f" Its REST server: {server.url}" if server is not None else ""
    if cluster.network is not None:
        where += (
            f"\n\nTo add another machine, copy {cluster.credentials} to it (whoever has this file can run\n"
            "programs in the cluster), and there:\n"
            f"  rayjup start --address {cluster.network} --credentials FILE"
        )
    return (
        f"Cluster {cluster.name} runs ({cluster.cluster_id}).{where}\n\n"
        f"  from Python:    import rayjup; rayjup.init({cluster.name!r})\n"
        f"  in a notebook:  %ray_init --address {cluster.name}\n"
        f"  a Ray program:  RAY_ADDRESS={cluster.name} python -m rayjup.as_ray program.py\n"
        f"  to look at it:  rayjup status --address {cluster.name}\n"
        f"  to stop it:     rayjup stop {cluster.name}"
    )


@click.command("stop")
@click.argument("names", nargs=-1)
@click.option("--force", "-f", is_flag=True, help="Kill at once.")
@click.option(
    "--grace-period", type=click.FloatRange(0), default=16, show_default=True, help="Seconds until then."
)
def stop(names: tuple[str, ...], force: bool, grace_period: float) -> None:
    """Stop the clusters with these NAMES (or ids); without one, all of this user."""
    targets = [descriptors.which(name) for name in names] if names else descriptors.list_clusters()
    stopped = [each.name for each in targets if manager.stop(each, 0.0 if force else grace_period)]
    click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "No cluster of this user runs.")


@click.command("clusters")
@format_option
def clusters(form: str) -> None:
    """List the running clusters of this user, wherever they were started."""
    rows = [
        {
            "name": each.name,
            "id": each.cluster_id,
            "started": datetime.fromtimestamp(each.created).strftime("%Y-%m-%d %H:%M:%S"),
            "by": each.started_by,
            "address": each.address,
        }
        for each in descriptors.list_clusters()
    ]
    if form in ("json", "yaml"):
        echo_record(rows, form)
    else:
        click.echo(table(rows) if rows else "No cluster of this user runs; 'rayjup start --head' starts one.")


@click.command("status")
@address_option
@format_option
def status(address: str | None, form: str) -> None:
    """Show nodes, what is used of their resources, and what is waited for."""
    view = ClusterView(descriptors.which(address))
    try:
        snapshot = view.snapshot()
    finally:
        view.close()
    if form in ("json", "yaml"):
        echo_record(snapshot, form)
    else:
        click.echo(status_text(snapshot))


@click.command("health-check")
@address_option
def health_check(address: str | None) -> None:
    """Exit with 0 when the cluster answers, with 1 when not."""
    view = ClusterView(descriptors.which(address), timeout_s=5.0)
    try:
        view.snapshot()
    finally:
        view.close()


def parse_labels(text: str | None) -> dict[str, str] | None:
    """Labels from ``a=b,c=d`` or from a JSON object.

    Examples
    --------
    >>> parse_labels("region=eu, disk=ssd"), parse_labels('{"region": "eu"}')
    ({'region': 'eu', 'disk': 'ssd'}, {'region': 'eu'})
    """
    if not text:
        return None
    if text.lstrip().startswith("{"):
        found = json.loads(text)
        return {str(key): str(value) for key, value in found.items()}
    labels = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{part!r} is no label: write key=value", param_hint="--labels")
        labels[key.strip()] = value.strip()
    return labels


def status_text(snapshot: Mapping[str, Any]) -> str:
    """A snapshot of a cluster as ``rayjup status`` prints it."""
    lines = [f"======== Cluster {snapshot['name']}: {datetime.now():%Y-%m-%d %H:%M:%S} ========", "Nodes"]
    for node in snapshot["nodes"]:
        role = ", head" if node["is_head"] else ""
        other = node.get("rayjup", "") not in ("", snapshot.get("rayjup"))
        skew = f"; runs rayjup {node['rayjup']}, the head {snapshot['rayjup']}" if other else ""
        lines.append(
            f"  {node['name']} ({node['node_id'][:12]}, {node['host']}{role}): "
            f"{node['executors']} processes{skew}"
        )
    lines += ["", "Resources in use"]
    total, free = snapshot["resources_total"], dict(snapshot["resources_available"])
    if "object_store_memory" in total:  # nobody leases it: what is used is measured
        stored = sum(node["store_used"] or 0 for node in snapshot["nodes"])
        free["object_store_memory"] = total["object_store_memory"] - stored
    for name in sorted(total):
        if name.startswith("node:"):
            continue
        used = total[name] - free.get(name, 0.0)
        lines.append(f"  {_amount(name, used)} of {_amount(name, total[name])} {name}")
    lines += ["", "Waiting for resources"]
    demand = snapshot.get("demand") or []
    lines += [f"  {_demand(row)}" for row in demand] or ["  nothing"]
    scaling = snapshot.get("scaling")
    if scaling:
        lines += ["", f"Autoscaling (at most {scaling['max_workers']} worker nodes)"]
        for row in scaling["types"]:
            lines.append(
                f"  {row['type']}: {row['up']} up ({row['idle']} idle), {row['starting']} starting, "
                f"of {row['min_workers']} to {row['max_workers']}"
            )
        lines += [f"  {line}" for line in scaling["lines"]]
    return "\n".join(lines)


def _demand(row: Mapping[str, Any]) -> str:
    wanted = ", ".join(f"{_amount(name, value)} {name}" for name, value in row["resources"].items())
    reason = f" ({row['infeasible']})" if row.get("infeasible") else ""
    return f"{row['count']} × {wanted or 'nothing but a process'}{reason}"


def _amount(name: str, value: float) -> str:
    return _bytes(value) if name in ("memory", "object_store_memory") else f"{value:g}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def _interrupt(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: what it has started is not cut short
    raise KeyboardInterrupt


def _wait_while(running: Any, end: Any, text: str) -> None:
    """Say so, and stay until it has ended; an interrupt or a termination ends it."""
    try:
        click.echo(text)
        while running():
            time.sleep(0.5)
    except KeyboardInterrupt:
        end()
        return
    click.echo("It has ended.", err=True)
    sys.exit(1)
