"""Ray's cluster files (``cluster.yaml``): read, checked, and mapped to types of nodes and a launcher.

KubeRay's manifests are read as such files (``kuberay``). What a file says that has no meaning here is
named, never passed over in silence.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rayjup.cluster import kuberay
from rayjup.cluster.scaling.settings import NodeType, ScalingSettings, node_types

_LISTS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
)
_USED = {
    "cluster_name",
    "max_workers",
    "upscaling_speed",
    "idle_timeout_minutes",
    "provider",
    "auth",
    "available_node_types",
    "head_node_type",
    "file_mounts",
    "rsync_exclude",
    *_LISTS,
}
_NO_EFFECT = {
    "min_workers": "give min_workers per node type",
    "initial_workers": "give min_workers per node type",
    "autoscaling_mode": "there is one mode",
    "target_utilization_fraction": "nodes are added for what waits, not by utilization",
    "docker": "nodes run without containers",
    "cluster_synced_files": "files are copied when the cluster starts",
    "file_mounts_sync_continuously": "files are copied when the cluster starts",
    "rsync_filter": "use rsync_exclude",
    "head_node": "give node_config in available_node_types",
    "worker_nodes": "give node_config in available_node_types",
    "head_start_ray_commands": "nodes are started by 'rayjup start'",
    "worker_start_ray_commands": "nodes are started by 'rayjup start'",
    "no_restart": "a running cluster is never restarted",
}
KEYS = frozenset({*_USED, *_NO_EFFECT})
"""What a cluster file may hold."""

_ON_PREMISE = ("local", "on-premise", "ssh")
_QUEUES = ("slurm", "pbs", "lsf", "sge", "htcondor")
_CONTAINERS = ("kubernetes", "fargate", "yarn")
_GATEWAY = "gateway"
_CLOUDS = {
    "aws": "rayjup.autoscaler.aws.Ec2NodeProvider",
    "gcp": "rayjup.autoscaler.gcp.GcpNodeProvider",
    "azure": "rayjup.autoscaler.azure.AzureNodeProvider",
}
_HERE = ("fake_multinode", "processes")


@dataclass(frozen=True)
class ClusterFile:
    """What a cluster file says.

    Parameters
    ----------
    name
        Of the cluster.
    provider, auth
        As in the file; ``provider["type"]`` says where nodes are had.
    scaling
        Types of worker nodes and limits.
    head
        The type of the head's node, if the file has one.
    launcher
        For :func:`rayjup.cluster.launchers.make`.
    commands
        The lists of shell commands, by their keys.
    file_mounts
        Path on the machines → path here.
    remarks
        What has no effect, and why; for people.
    """

    name: str
    provider: Mapping[str, Any]
    scaling: ScalingSettings
    launcher: Mapping[str, Any]
    head: NodeType | None = None
    auth: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file_mounts: Mapping[str, str] = field(default_factory=dict)
    rsync_exclude: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def read(path: str) -> ClusterFile:
    """The cluster file, or KubeRay's manifest, at ``path``.

    Raises
    ------
    ValueError
        It is no YAML, lacks something, or says what cannot be.
    FileNotFoundError
        There is none.
    """
    return parse(load(path), path)


def load(path: str) -> Any:
    """What a cluster file holds, as data.

    Raises
    ------
    ValueError, FileNotFoundError
        As :func:`read`.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError("cluster files are YAML: pip install 'rayjup[clusters]'.") from error
    text = Path(os.path.expanduser(path)).read_text(encoding="utf-8")
    try:
        return kuberay.choose(list(yaml.safe_load_all(text)), path)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {error}") from error


def parse(data: Any, where: str = "the cluster configuration") -> ClusterFile:
    """The contents of a cluster file.

    Raises
    ------
    ValueError
        As :func:`read`; the message begins with ``where``.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is no mapping of settings, as a cluster file is.")
    try:
        if kuberay.is_manifest(data):
            translated, remarks = kuberay.translate(data)
            file = _parse(translated)
            return replace(file, remarks=(*remarks, *file.remarks))
        return _parse(data)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _parse(data: Mapping[str, Any]) -> ClusterFile:
    provider = data.get("provider")
    if not isinstance(provider, Mapping) or "type" not in provider:
        raise ValueError("it does not say where nodes are had: add provider: {type: …}.")
    kind = str(provider["type"])
    remarks = _remarks(data, kind)
    head_type = data.get("head_node_type")
    declared = data.get("available_node_types")
    auth = dict(data.get("auth") or {})
    if declared is None:
        if kind == _GATEWAY:
            types = _of_gateway(data)
        elif kind not in _ON_PREMISE:
            raise ValueError(f"a cluster of {kind} needs available_node_types: what its nodes are.")
        else:
            types = _of_machines(provider, data)
        head = None
    else:
        if kind == _GATEWAY:
            raise ValueError(
                "what the nodes of a gateway's cluster are, its options say (provider: {options: …}): leave "
                "available_node_types out, and write min_workers."
            )
        if head_type is not None and head_type not in declared:
            raise ValueError(
                f"head_node_type {head_type!r} is none of available_node_types: {', '.join(declared)}."
            )
        given = {name: _with_most(name, each, data) for name, each in declared.items()}
        types = node_types(given, head_type)
        head = node_types({head_type: given[head_type]})[0] if head_type is not None else None
    most = None if kind == _GATEWAY else data.get("max_workers")
    scaling = ScalingSettings(
        types,
        int(most) if most is not None else sum(each.max_workers for each in types),
        60.0 * float(data.get("idle_timeout_minutes", 5)),
        float(data.get("upscaling_speed", 1.0)),
    )
    commands = {name: _lines(name, data.get(name)) for name in _LISTS}
    launcher, more = _launcher(kind, provider, auth, commands)
    return ClusterFile(
        str(data.get("cluster_name") or "default"),
        dict(provider),
        scaling,
        launcher,
        head,
        auth,
        commands,
        {str(far): str(near) for far, near in (data.get("file_mounts") or {}).items()},
        tuple(data.get("rsync_exclude") or ()),
        (*remarks, *more),
    )


def _remarks(data: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    remarks = []
    for key in data:
        if kind == _GATEWAY and key == "min_workers":
            continue
        if kind == _GATEWAY and key == "max_workers":
            remarks.append("max_workers has no effect: a gateway's cluster has min_workers nodes.")
        if key in _USED:
            continue
        if key in _NO_EFFECT:
            if data[key]:
                remarks.append(f"{key} has no effect: {_NO_EFFECT[key]}.")
            continue
        close = difflib.get_close_matches(str(key), _USED, 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        remarks.append(f"{key} is unknown, and has no effect.{hint}")
    return tuple(remarks)


def _lines(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not all(isinstance(line, str) for line in value):
        raise ValueError(f"{name} must be a list of commands.")
    return tuple(value)


def _with_most(name: str, given: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """A type as the file declares it; without max_workers there may be as many as the cluster may have."""
    if not isinstance(given, Mapping):
        raise ValueError(f"node type {name!r} must be a mapping, with resources and node_config.")
    most = data.get("max_workers", 2)
    return {"max_workers": max(int(most), int(given.get("min_workers", 0))), **given}


def _of_machines(provider: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """Machines say themselves what they have, so all are started that there are to be at least."""
    count = len(provider.get("worker_ips") or ())
    most = min(int(data.get("max_workers", count)), count)
    least = min(int(data.get("min_workers", most)), most)
    return (NodeType("local.cluster.node", {}, least, most),)


def _of_gateway(data: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """Workers say themselves what they have; their number is the gateway's business, when told."""
    count = int(data.get("min_workers", 1))
    return (NodeType("gateway.worker", {}, count, count),)


def _of_cloud(
    kind: str,
    provider: Mapping[str, Any],
    options: dict[str, Any],
    auth: Mapping[str, Any],
    setup: list[str],
) -> dict[str, Any]:
    """Machines are made nodes by ssh, as Ray does it, or (``join: startup_script``) by themselves."""
    given = {**provider, "module": _CLOUDS[kind]}
    for key in ("ssh_user", "ssh_public_key"):  # Azure wants to know
        if auth.get(key) is not None:
            given[key] = _public_key(str(auth[key])) if key == "ssh_public_key" else auth[key]
    how = options.get("join", "ssh")
    if how == "startup_script":
        names = ("python", "directory", "environment", "at_end")
        found = {name: options[name] for name in names if name in options}
        return {"launcher": "cloud", "provider": given, "setup": setup, **found}
    if how != "ssh":
        raise ValueError(f"provider: join {how!r}: machines join by ssh, or by their startup_script.")
    internal = bool(provider.get("use_internal_ips", False))
    by_ssh = _by_ssh(options, auth, setup)
    return {"launcher": "external", "provider": given, "ssh": by_ssh, "use_internal_ips": internal}


def _public_key(text: str) -> str:
    """A key, or what the file with it says."""
    path = Path(os.path.expanduser(text))
    return path.read_text(encoding="ascii").strip() if path.is_file() else text


def _by_ssh(options: dict[str, Any], auth: Mapping[str, Any], setup: list[str]) -> dict[str, Any]:
    """Options of the launcher for ssh; what is used of ``options`` is taken out of them."""
    found: dict[str, Any] = {"setup": setup}
    for name in ("python", "directory", "environment"):
        if name in options:
            found[name] = options.pop(name)
    for ours, theirs in _AUTH.items():
        if auth.get(theirs) is not None:
            found[ours] = auth[theirs]
    return found


_AUTH = {
    "user": "ssh_user",
    "key": "ssh_private_key",
    "port": "ssh_port",
    "known_hosts": "ssh_known_hosts",
    "proxy_command": "ssh_proxy_command",
}


def _launcher(
    kind: str, provider: Mapping[str, Any], auth: Mapping[str, Any], commands: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    remarks: list[str] = []
    setup = [
        *commands["initialization_commands"],
        *commands["setup_commands"],
        *commands["worker_setup_commands"],
    ]
    options = {key: value for key, value in provider.items() if key not in ("type", "port")}
    if kind in _ON_PREMISE:
        if "coordinator_address" in provider:
            raise ValueError("provider: there is no coordinator: list the machines in worker_ips.")
        hosts = options.pop("worker_ips", None)
        options.pop("head_ip", None)
        found = {"launcher": "ssh", **_by_ssh(options, auth, setup), **({"hosts": hosts} if hosts else {})}
        remarks += [f"provider: {key} is unknown, and has no effect." for key in options]
        return found, tuple(remarks)
    if kind == "external":
        internal = bool(provider.get("use_internal_ips", True))
        by_ssh = _by_ssh(options, auth, setup)
        given = {"provider": dict(provider), "ssh": by_ssh, "use_internal_ips": internal}
        return {"launcher": "external", **given}, ()
    if kind in _QUEUES:
        return {"launcher": kind, "prologue": setup, **options}, ()
    if kind in _CONTAINERS:
        options.pop("head_ip", None)  # where the head listens
        return {"launcher": kind, "setup": setup, **options}, ()
    if kind == _GATEWAY:
        unknown = sorted(set(options) - {"address", "proxy_address", "options"})
        remarks += [f"provider: {key} is unknown, and has no effect." for key in unknown]
        if setup:
            remarks.append("setup commands have no effect: a gateway's machines are prepared by who runs it.")
        return {"launcher": _GATEWAY}, tuple(remarks)
    if kind in _HERE:
        store = options.pop("object_store_memory", None)
        remarks += [f"provider: {key} has no effect for processes of this machine." for key in options]
        more = {"object_store_memory": store} if store is not None else {}
        return {"launcher": "local", **more}, tuple(remarks)
    if kind in _CLOUDS:
        if provider.get("cache_stopped_nodes"):
            remarks.append("provider: cache_stopped_nodes has no effect: machines are terminated.")
        return _of_cloud(kind, provider, options, auth, setup), tuple(remarks)
    known = ", ".join(sorted({"external", *_ON_PREMISE, *_QUEUES, *_CONTAINERS, *_HERE, *_CLOUDS, _GATEWAY}))
    raise ValueError(f"provider type {kind!r} is not supported; supported are {known}.")
