"""The metrics of a whole cluster in one text: those of programs, and what the cluster itself counts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from rayjup.observe.view import ClusterView, current
from rayjup.util.metrics_text import Family, Tags, render
from rayjup.util.state._source import Source

_TIMEOUT_S = 10.0
_VERSION = "2.60.0"
_NODE_VALUES = (
    ("ray_node_cpu_utilization", "cpu_percent", "Percentage of the node's CPUs that is in use"),
    ("ray_node_mem_used", "mem_used", "Bytes of memory in use on the node"),
    ("ray_node_mem_total", "mem_total", "Bytes of memory that the node has"),
    ("ray_object_store_used_memory", "store_used", "Bytes that objects take in the node's shared memory"),
    ("ray_object_store_num_local_objects", "store_objects", "Objects in the node's shared memory"),
    (
        "rayjup_object_store_spilled_bytes",
        "store_spilled",
        "Bytes of objects that lie on the node's disk",
    ),
    ("rayjup_object_store_spilled_objects", "store_spilled_objects", "Objects that lie on the node's disk"),
)
_GPU_VALUES = (
    ("ray_node_gpus_utilization", "utilization", 1, "Percentage of the time in which the GPU computed"),
    ("ray_node_gram_used", "mem_used", 2**20, "MiB of the GPU's memory in use"),
)


def metrics_text(view: ClusterView | None = None) -> str:
    """All metrics of a cluster in the format that Prometheus reads.

    No port is opened for it: the text comes over the cluster's own private sockets, and who wants to
    have it scraped serves it where only the right people come.

    Parameters
    ----------
    view
        The cluster; None for the one this process is connected to.

    Raises
    ------
    ConnectionError
        The cluster is gone, or this process is not connected to one.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.observe import metrics_text
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> "ray_cluster_active_nodes" in metrics_text()
    True
    """
    view = view or current()
    if view is None:
        raise ConnectionError(
            "this process is not connected to a cluster: call rayjup.init() first, or give a ClusterView."
        )
    snapshot = view.snapshot()
    source = Source(view.request)
    jobs = source.rows("jobs", _TIMEOUT_S)
    nodes = source.rows("nodes", _TIMEOUT_S)
    gathered = source.gather("metrics", {}, _TIMEOUT_S)
    session = os.path.basename(snapshot.get("session_dir") or "")
    common = {"SessionName": session, "Version": _VERSION}
    families = [*_of_cluster(snapshot, nodes, jobs, common), *_of_nodes(snapshot, nodes, common)]
    return render([*families, *_of_programs(gathered.reports, common)])


def _of_cluster(
    snapshot: dict[str, Any], nodes: list[dict[str, Any]], jobs: list[dict[str, Any]], common: dict[str, str]
) -> Iterable[Family]:
    tasks = Family("ray_tasks", "gauge", "Tasks by name and state")
    states = (("pending", "PENDING_NODE_ASSIGNMENT"), ("running", "RUNNING"))
    for row in snapshot["tasks"]:
        for key, state in (*states, ("finished", "FINISHED"), ("failed", "FAILED")):
            tasks.add(row[key], Name=row["name"], State=state, **common)
    yield tasks
    actors = Family("ray_actors", "gauge", "Actors by class and state")
    counts: dict[tuple[str, str], int] = {}
    for row in snapshot["actors"]:
        group = (row["class_name"], row["state"])
        counts[group] = counts.get(group, 0) + 1
    for (name, state), count in sorted(counts.items()):
        actors.add(count, Name=name, State=state, **common)
    yield actors
    resources = Family("ray_resources", "gauge", "Resources of the cluster by state")
    for name, total in sorted(snapshot["resources_total"].items()):
        free = snapshot["resources_available"].get(name, 0.0)
        resources.add(total - free, Name=name, State="USED", **common)
        resources.add(free, Name=name, State="AVAILABLE", **common)
    yield resources
    alive = sum(node["state"] == "ALIVE" for node in nodes)
    for name, value, text in (
        ("ray_cluster_active_nodes", alive, "Nodes that are up"),
        ("ray_cluster_failed_nodes", len(nodes) - alive, "Nodes that have left"),
        ("ray_running_jobs", sum(not job["end"] for job in jobs), "Drivers that are connected"),
    ):
        family = Family(name, "gauge", text)
        family.add(value, **common)
        yield family
    finished = Family("ray_finished_jobs_total", "counter", "Drivers that have left")
    finished.add(sum(bool(job["end"]) for job in jobs), **common)
    yield finished


def _of_nodes(
    snapshot: dict[str, Any], nodes: list[dict[str, Any]], common: dict[str, str]
) -> Iterable[Family]:
    addresses = {row["node_id"]: row["node_ip"] for row in nodes}
    labels = {
        node["node_id"]: {
            "NodeAddress": addresses.get(node["node_id"], ""),
            "NodeId": node["node_id"],
            "NodeName": node["name"],
            **common,
        }
        for node in snapshot["nodes"]
    }
    measured = [node for node in snapshot["nodes"] if node["mem_total"]]  # a new node is not yet
    for name, key, text in _NODE_VALUES:
        family = Family(name, "gauge", text)
        for node in measured:
            family.add(node[key], **labels[node["node_id"]])
        yield family
    cpus = Family("ray_node_cpu_count", "gauge", "CPUs that the node offers")
    free = Family("ray_object_store_available_memory", "gauge", "Bytes free in the node's shared memory")
    workers = Family("ray_node_workers", "gauge", "Executor processes of the node")
    for node in snapshot["nodes"]:
        own = labels[node["node_id"]]
        cpus.add(node["resources_total"].get("CPU", 0.0), **own)
        if node in measured:
            free.add(max(0, node["store_capacity"] - node["store_used"]), **own)
            workers.add(node["executors"], **own)
    yield from (cpus, free, workers)
    for name, key, unit, text in _GPU_VALUES:
        family = Family(name, "gauge", text)
        for node in snapshot["nodes"]:
            for gpu in node["gpus"]:
                if gpu[key] is None:
                    continue  # of a GPU that is divided, how busy it is is not known
                own = {"GpuIndex": str(gpu["index"]), "GpuDeviceName": gpu["name"], **labels[node["node_id"]]}
                family.add(gpu[key] / unit, **own)
        yield family


def _of_programs(reports: list[dict[str, Any]], common: dict[str, str]) -> Iterable[Family]:
    """Counters, gauges and histograms that programs made, of every process by itself."""
    families: dict[tuple[str, str], Family] = {}
    for report in reports:
        labels: Tags = (
            ("Component", "core_worker"),
            ("JobId", report["job_id"]),
            ("NodeAddress", report["ip"]),
            ("NodeId", report["node_id"]),
            ("WorkerId", report["worker_id"]),
            *common.items(),
        )
        for name, series in sorted((report["report"] or {}).items()):
            kind = series["kind"]
            full = f"ray_{name}_total" if kind == "counter" and not name.endswith("_total") else f"ray_{name}"
            family = families.setdefault((full, kind), Family(full, kind, series["description"]))
            family.add_series(series, labels)
    return [families[key] for key in sorted(families)]
