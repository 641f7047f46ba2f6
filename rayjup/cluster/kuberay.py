"""KubeRay's manifests (``RayCluster``, ``RayJob``, ``RayService``), read as cluster files.

Groups of workers become types of nodes, which are pods of the group's template. What a manifest says that
has no meaning here is named, as for cluster files.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("RayCluster", "RayJob", "RayService")
PYTHON = "rayjup.dev/python"
"""Annotation of a manifest: the Python of its images, where that is not ``python``."""
OTHERS = "rayjup.dev/others"
"""Key under which :func:`choose` notes down what else a file holds."""

_GROUP = "ray.io/"
_HEAD = "headgroup"
_ALL_AT_ONCE = 1000.0  # as a multiple of the nodes there are: no limit that anybody meets
_STORE_SHARE = 0.3
_OPERATOR = "KubeRay's operator is not used"
_SPECS = {"RayCluster": None, "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
_CLUSTER_NO_EFFECT = {
    "headServiceAnnotations": "no service is made for the head",
    "managedBy": _OPERATOR,
    "gcsFaultToleranceOptions": "a lost head is replaced by itself, from its own journal",
    "authOptions": "all connections show certificates, and the dashboard wants a token, in any case",
    "upgradeStrategy": "a running cluster takes new settings, and is not replaced",
}
_HEAD_NO_EFFECT = {
    "serviceType": "no service is made for the head",
    "headService": "no service is made for the head",
    "enableIngress": "no ingress is made",
}
_GROUP_NO_EFFECT = {"scaleStrategy": "nodes are chosen by what they do"}
_JOB_NO_EFFECT = {
    "backoffLimit": "a job that fails is not tried again",
    "submitterPodTemplate": "the job is submitted by this program",
    "submitterConfig": "the job is submitted by this program",
    "managedBy": _OPERATOR,
    "deletionStrategy": "use shutdownAfterJobFinishes",
    "schedule": "run 'rayjup up' at the times you want",
    "preRunningDeadlineSeconds": "nodes that do not come are named in 'rayjup status'",
}
_SERVICE_NO_EFFECT = {
    "serviceUnhealthySecondThreshold": "Serve replaces what is unhealthy by itself",
    "deploymentUnhealthySecondThreshold": "Serve replaces what is unhealthy by itself",
    "serveService": "no service is made",
    "upgradeStrategy": "Serve replaces old replicas by new ones, in the running cluster",
    "excludeHeadPodFromServeSvc": "no service is made",
    "rayClusterDeletionDelaySeconds": "the cluster is not replaced",
}
_AUTOSCALER_USED = {"idleTimeoutSeconds", "upscalingMode"}
_PARAMS_USED = {"num-cpus", "num-gpus", "memory", "object-store-memory", "resources", "labels"}
_HEAD_PARAMS_USED = {*_PARAMS_USED, "port", "node-ip-address"}
_TEMPLATE_DROPPED = {
    "command": "the container runs 'rayjup start'; images prepare themselves in their build",
    "args": "the container runs 'rayjup start'",
}


@dataclass(frozen=True)
class Job:
    """What a ``RayJob`` wants to have run, for ``JobSubmissionClient.submit_job``.

    Parameters
    ----------
    submission
        Its arguments.
    cluster
        A running cluster that is to run it; None: the manifest's own.
    ends_cluster, linger_s
        Whether the cluster ends with the job, and how long after it.
    deadline_s
        So long it may run; None: any time.
    """

    submission: Mapping[str, Any] = field(default_factory=dict)
    cluster: str | None = None
    ends_cluster: bool = False
    linger_s: float = 0.0
    deadline_s: float | None = None


def is_manifest(data: Any) -> bool:
    """Whether something is one of KubeRay's manifests, and no cluster file."""
    return isinstance(data, Mapping) and str(data.get("apiVersion", "")).startswith(_GROUP)


def choose(documents: Iterable[Any], where: str) -> Any:
    """The manifest of a file that may hold several; of what else is in it the names are noted down.

    Raises
    ------
    ValueError
        There are several of KubeRay's.
    """
    given = [each for each in documents if each is not None]
    ours = [each for each in given if is_manifest(each)]
    if len(given) <= 1 or not ours:
        return given[0] if given else None
    if len(ours) > 1:
        names = ", ".join(f"{each.get('kind')} {_name(each)}" for each in ours)
        raise ValueError(f"{where} describes several clusters ({names}): write one file for each.")
    others = [f"{each.get('kind')} {_name(each)}" for each in given if each is not ours[0]]
    return {**ours[0], OTHERS: others}


def translate(data: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A manifest as the contents of a cluster file, and what of it has no effect.

    ``cluster_name``, ``min_workers`` and ``max_workers`` beside the manifest's own keys go before it.

    Raises
    ------
    ValueError
        It lacks something, or says what cannot be.

    Examples
    --------
    >>> group = {"groupName": "small", "replicas": 2, "rayStartParams": {"num-cpus": "1"}, "template": {}}
    >>> manifest = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "pods"},
    ...             "spec": {"workerGroupSpecs": [group]}}
    >>> file, remarks = translate(manifest)
    >>> small = file["available_node_types"]["small"]
    >>> small["resources"], small["min_workers"], small["max_workers"]
    ({'CPU': 1.0}, 2, 2)
    """
    reader = _Reader()
    spec = reader.cluster_spec(data)
    metadata = data.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    provider: dict[str, Any] = {"type": "kubernetes"}
    for key, value in (("namespace", metadata.get("namespace")), ("python", annotations.get(PYTHON))):
        if value:
            provider[key] = value
    head = reader.head(spec.get("headGroupSpec"), provider)
    scaling = bool(spec.get("enableInTreeAutoscaling"))
    types = dict(reader.group(row, number, scaling) for number, row in enumerate(_groups(spec)))
    options = reader.autoscaler(spec, scaling)
    made: dict[str, Any] = {
        "cluster_name": _name(data),
        "max_workers": sum(each["max_workers"] for each in types.values()),
        "provider": provider,
        "available_node_types": {**head, **types},
        **({"head_node_type": _HEAD} if head else {}),
        **options,
    }
    for key in ("cluster_name", "min_workers", "max_workers"):
        if data.get(key) is not None:
            made[key] = data[key]
    for other in data.get(OTHERS) or ():
        reader.remarks.append(f"{other} is not applied: use kubectl apply for it.")
    return made, tuple(reader.remarks)


def job(data: Mapping[str, Any]) -> Job | None:
    """What a ``RayJob`` has run; None for other manifests, and where somebody else submits.

    Raises
    ------
    ValueError
        A part of it cannot be read, or it has nothing to run.
    """
    if not is_manifest(data) or data.get("kind") != "RayJob":
        return None
    spec = data.get("spec") or {}
    if spec.get("submissionMode") == "InteractiveMode":
        return None
    if not spec.get("entrypoint"):
        raise ValueError("spec.entrypoint is missing: the command line of the job.")
    given = {
        "entrypoint": str(spec["entrypoint"]),
        "submission_id": spec.get("jobId") or None,
        "runtime_env": _yaml("spec.runtimeEnvYAML", spec.get("runtimeEnvYAML")),
        "metadata": {str(k): str(v) for k, v in (spec.get("metadata") or {}).items()} or None,
        "entrypoint_num_cpus": spec.get("entrypointNumCpus") or None,
        "entrypoint_num_gpus": spec.get("entrypointNumGpus") or None,
        "entrypoint_resources": _json("spec.entrypointResources", spec.get("entrypointResources")),
    }
    deadline = spec.get("activeDeadlineSeconds")
    return Job(
        {key: value for key, value in given.items() if value is not None},
        selected(data),
        bool(spec.get("shutdownAfterJobFinishes")),
        float(spec.get("ttlSecondsAfterFinished") or 0.0),
        float(deadline) if deadline is not None else None,
    )


def selected(data: Mapping[str, Any]) -> str | None:
    """The running cluster that a ``RayJob`` names instead of describing one."""
    selector = (data.get("spec") or {}).get("clusterSelector") if data.get("kind") == "RayJob" else None
    if not selector:
        return None
    name = selector.get("ray.io/cluster")
    if name is None:
        raise ValueError(
            "spec.clusterSelector: clusters are found by their names: write ray.io/cluster: NAME."
        )
    return str(name)


def serve_config(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a ``RayService`` serves, as Serve's configuration files say it; None for other manifests.

    Raises
    ------
    ValueError
        It is no YAML, or missing.
    """
    if not is_manifest(data) or data.get("kind") != "RayService":
        return None
    found = _yaml("spec.serveConfigV2", (data.get("spec") or {}).get("serveConfigV2"))
    if not found:
        raise ValueError("spec.serveConfigV2 is missing: the applications to serve.")
    return found


def quantity(value: Any) -> float:
    """An amount as Kubernetes writes it.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> quantity("500m"), quantity("4Gi"), quantity(2), quantity("1e3"), quantity("3M")
    (0.5, 4294967296.0, 2.0, 1000.0, 3000000.0)
    """
    text = str(value).strip()
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            text, times = text.removesuffix(suffix), factor
            break
    else:
        times = 1.0
    try:
        found = float(text) * times
    except ValueError:
        raise ValueError(f"{value!r} is no amount: write a number, or one such as 500m or 4Gi.") from None
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"{value!r} is no amount: write 0 or more.")
    return found


_SUFFIXES = {
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: 1000.0**power for power, letter in enumerate("kMGTPE", 1)},
    **{"m": 1e-3, "u": 1e-6, "n": 1e-9},
}


class _Reader:
    """Reads one manifest, and remembers what of it has no effect."""

    def __init__(self) -> None:
        self.remarks: list[str] = []

    def named(
        self, where: str, given: Any, used: Iterable[str], no_effect: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """A mapping whose keys are known, or remarked on."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise ValueError(f"{where} must be a mapping, not {type(given).__name__}.")
        used, no_effect = set(used), no_effect or {}
        for key, value in given.items():
            if key in used:
                continue
            if key in no_effect:
                if value not in (None, False, {}, [], ""):
                    self.remarks.append(f"{where}.{key} has no effect: {no_effect[key]}.")
                continue
            close = difflib.get_close_matches(str(key), used, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            self.remarks.append(f"{where}.{key} is unknown, and has no effect.{hint}")
        return dict(given)

    def cluster_spec(self, data: Mapping[str, Any]) -> dict[str, Any]:
        kind = str(data.get("kind"))
        if kind not in _SPECS:
            raise ValueError(f"kind {kind!r} describes no cluster: read are {', '.join(KINDS)}.")
        metadata = data.get("metadata") or {}
        if not metadata.get("name"):
            raise ValueError("metadata.name is missing: the name of the cluster.")
        spec, within = data.get("spec"), _SPECS[kind]
        where = "spec"
        if kind == "RayJob":
            used = {
                *("entrypoint", "jobId", "runtimeEnvYAML", "metadata", "entrypointNumCpus", "suspend"),
                *("entrypointNumGpus", "entrypointResources", "submissionMode", "clusterSelector"),
                *("shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds"),
            }
            spec = self.named(where, spec, {*used, within or ""}, _JOB_NO_EFFECT)
        elif kind == "RayService":
            used = {"serveConfigV2", "suspend", within or ""}
            spec = self.named(where, spec, used, _SERVICE_NO_EFFECT)
        if within is not None:
            self._running(spec)
            spec, where = (spec or {}).get(within), f"spec.{within}"
            if spec is None and selected(data) is not None:
                return {"workerGroupSpecs": []}
        if not spec:
            raise ValueError(f"{where} is missing: what the cluster consists of.")
        used = {
            *("headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling"),
            *("autoscalerOptions", "suspend"),
        }
        found = self.named(where, spec, used, _CLUSTER_NO_EFFECT)
        self._running(found)
        return found

    def _running(self, spec: Any) -> None:
        if spec and spec.get("suspend"):
            raise ValueError("spec.suspend is true: such a cluster is not to run. Set it to false.")

    def head(self, spec: Any, provider: dict[str, Any]) -> dict[str, Any]:
        """The type of the head's node, if the manifest says what it offers."""
        used = {"rayStartParams", "template", "resources", "labels"}
        given = self.named("headGroupSpec", spec, used, _HEAD_NO_EFFECT)
        params = self.params("headGroupSpec", given, _HEAD_PARAMS_USED)
        if "port" in params:
            provider["port"] = int(params["port"])
        if "node-ip-address" in params:
            provider["head_ip"] = params["node-ip-address"]
        container = _container(given.get("template"))
        if container:
            self.remarks.append(
                "headGroupSpec.template has no effect beside its CPUs and GPUs: the head runs where "
                "'rayjup up' does, which pods have to reach."
            )
        # The limits of the template's memory do not hold where the head runs.
        resources = _resources("headGroupSpec", container, given, params, memory=False)
        if not resources:
            return {}
        return {_HEAD: {"resources": resources, "labels": _labels(given, params), "max_workers": 0}}

    def group(self, spec: Any, number: int, scaling: bool) -> tuple[str, dict[str, Any]]:
        """A type of nodes: its name, and what a cluster file says of it."""
        where = f"workerGroupSpecs[{number}]"
        used = {
            *("groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"),
            *("numOfHosts", "resources", "labels", "suspend", "idleTimeoutSeconds"),
        }
        given = self.named(where, spec, used, _GROUP_NO_EFFECT)
        name = str(given.get("groupName") or "")
        if not name:
            raise ValueError(f"{where}.groupName is missing.")
        where = f"{where} ({name})"
        params = self.params(where, given, _PARAMS_USED)
        template = copy.deepcopy(dict(given.get("template") or {}))
        resources = _resources(where, _container(template), given, params, memory=True)
        if not resources:
            raise ValueError(
                f"{where} does not say what its nodes offer: give its container resources, or rayStartParams "
                "such as num-cpus."
            )
        least, most = self._counts(where, given, scaling)
        found: dict[str, Any] = {
            "resources": resources,
            "labels": _labels(given, params),
            "min_workers": least,
            "max_workers": most,
            "node_config": self._pod(where, template),
        }
        if given.get("idleTimeoutSeconds") is not None:
            found["idle_timeout_s"] = float(given["idleTimeoutSeconds"])
        return name, found

    def _counts(self, where: str, given: Mapping[str, Any], scaling: bool) -> tuple[int, int]:
        replicas = given.get("replicas")
        hosts = int(given.get("numOfHosts") or 1)
        if hosts != 1:
            self.remarks.append(f"{where}.numOfHosts: the pods of a replica come and go one by one.")
        if given.get("suspend"):
            return 0, 0
        if not scaling:
            count = int(replicas if replicas is not None else given.get("minReplicas") or 0)
            return count * hosts, count * hosts
        least = int(given.get("minReplicas") or 0)
        most = given.get("maxReplicas")
        return least * hosts, (int(most) if most is not None else (1 << 31) - 1) * hosts

    def params(self, where: str, given: Mapping[str, Any], used: Iterable[str]) -> dict[str, str]:
        """``rayStartParams``; those of ports and processes that do not exist here are remarked on."""
        found = given.get("rayStartParams") or {}
        if not isinstance(found, Mapping):
            raise ValueError(f"{where}.rayStartParams must be a mapping.")
        unused = sorted(set(found) - set(used) - {"block"})
        if unused:
            self.remarks.append(f"{where}.rayStartParams: {', '.join(unused)} has no effect.")
        return {str(key): str(value) for key, value in found.items()}

    def _pod(self, where: str, template: dict[str, Any]) -> dict[str, Any]:
        """The template as parts of a node's pod."""
        self.named(f"{where}.template", template, {"metadata", "spec"})
        metadata = template.get("metadata") or {}
        metadata = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
        spec = dict(template.get("spec") or {})
        if spec.pop("restartPolicy", "Never") != "Never":
            self.remarks.append(f"{where}: restartPolicy has no effect: a pod that ends is replaced.")
        containers = [dict(each) for each in spec.get("containers") or ()]
        for key, why in _TEMPLATE_DROPPED.items():
            if containers and containers[0].pop(key, None):
                self.remarks.append(f"{where}: {key} of its first container has no effect: {why}.")
        if containers and "ray stop" in json.dumps(containers[0].get("lifecycle", {}).get("preStop", {})):
            containers[0]["lifecycle"] = {  # nodes end by themselves
                key: value for key, value in containers[0]["lifecycle"].items() if key != "preStop"
            }
        if containers:
            spec["containers"] = containers
        return {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}

    def autoscaler(self, spec: Mapping[str, Any], scaling: bool) -> dict[str, Any]:
        """How fast the cluster grows and shrinks."""
        options = spec.get("autoscalerOptions") or {}
        unused = sorted(set(options) - _AUTOSCALER_USED - {"version"})
        if unused:
            self.remarks.append(
                f"autoscalerOptions: {', '.join(unused)} has no effect: the autoscaler is a process beside "
                "the head."
            )
        mode = options.get("upscalingMode", "Default")
        if mode not in ("Default", "Aggressive", "Conservative"):
            raise ValueError(
                f"autoscalerOptions.upscalingMode {mode!r} is none of Default, Aggressive and Conservative."
            )
        return {
            "upscaling_speed": 1.0 if mode == "Conservative" else _ALL_AT_ONCE,
            "idle_timeout_minutes": float(options.get("idleTimeoutSeconds", 60)) / 60 if scaling else 5.0,
        }


def _name(data: Mapping[str, Any]) -> str:
    return str((data.get("metadata") or {}).get("name") or "")


def _groups(spec: Mapping[str, Any]) -> list[Any]:
    found = spec.get("workerGroupSpecs") or []
    if not isinstance(found, list):
        raise ValueError("workerGroupSpecs must be a list.")
    names = [str(each.get("groupName")) for each in found if isinstance(each, Mapping)]
    if len(set(names)) < len(names):
        raise ValueError(f"two of workerGroupSpecs have one name: {', '.join(sorted(names))}.")
    return found


def _container(template: Any) -> dict[str, Any]:
    containers = ((template or {}).get("spec") or {}).get("containers") or [{}]
    return dict(containers[0])


def _resources(
    where: str,
    container: Mapping[str, Any],
    group: Mapping[str, Any],
    params: Mapping[str, str],
    *,
    memory: bool,
) -> dict[str, float]:
    """What a node of a group offers: its container's limits, then the group's resources, then parameters."""
    amounts = container.get("resources") or {}
    limits = {**(amounts.get("requests") or {}), **(amounts.get("limits") or {})}
    found: dict[str, float] = {}
    try:
        for key, amount in limits.items():
            if key == "cpu":
                found["CPU"] = float(math.ceil(quantity(amount)))
            elif key == "memory" and memory:
                found["memory"] = float(int(quantity(amount)))
            elif key.endswith("gpu"):
                found["GPU"] = found.get("GPU", 0.0) + quantity(amount)
            elif key == "google.com/tpu":
                found["TPU"] = quantity(amount)
        for key, amount in (group.get("resources") or {}).items():
            found[str(key)] = quantity(amount)
        found |= _json("resources", params.get("resources")) or {}
        for param, key in _AMOUNTS.items():
            if param in params:
                found[key] = quantity(params[param])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if "memory" in found and "memory" not in params:  # /dev/shm counts as the container's memory
        store = float(int(found.get("object_store_memory", _STORE_SHARE * found["memory"])))
        found["object_store_memory"] = store
        found["memory"] = max(0.0, found["memory"] - store)
    return found


_AMOUNTS = {
    "num-cpus": "CPU",
    "num-gpus": "GPU",
    "memory": "memory",
    "object-store-memory": "object_store_memory",
}


def _labels(group: Mapping[str, Any], params: Mapping[str, str]) -> dict[str, str]:
    pairs = [pair.split("=", 1) for pair in params.get("labels", "").strip("'\"").split(",") if "=" in pair]
    own = {str(key): str(value) for key, value in (group.get("labels") or {}).items()}
    return {**{key.strip(): value.strip() for key, value in pairs}, **own}


def _yaml(where: str, text: Any) -> dict[str, Any] | None:
    if not text:
        return None
    import yaml

    try:
        found = yaml.safe_load(str(text))
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is no YAML: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"{where} is no mapping of settings.")
    return dict(found)


def _json(where: str, text: Any) -> dict[str, Any] | None:
    """JSON as manifests have it: as a word of a shell, with quotation marks around it, or plain."""
    if not text:
        return None
    found: Any = str(text)
    for read in (json.loads, json.loads, lambda word: json.loads("".join(shlex.split(word)))):
        try:
            found = read(found)
        except ValueError:
            continue
        if isinstance(found, Mapping):
            return dict(found)
        if not isinstance(found, str):
            break
    raise ValueError(f"{where}: {text!r} is no JSON object.")
