"""Nodes as pods of Kubernetes, one pod per node, by Kubernetes' own client for Python."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher, State
from rayjup.cluster.launchers.joining import address, join_command, secret, words_of
from rayjup.cluster.scaling.settings import NodeType

_CLUSTER, _NODE = "rayjup.dev/cluster", "rayjup.dev/node"
_MOUNT = "/etc/rayjup"
_VOLUME = "rayjup-credentials"
_SHARED = "shared-memory"
# Answers are taken as they are: the client's models change from version to version.
_PLAIN: dict[str, Any] = {"_request_timeout": 30.0, "_preload_content": False}
_GRACE_S = 20  # a node that is told to end has so long for it
_LINES = 200
_STATES: dict[str, State] = {"Pending": "pending", "Running": "running"}


class KubernetesLauncher(Launcher):
    """Makes pods in one namespace.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in, at an address that pods can reach.
    image
        Container image of the nodes, with rayjup and the Python of the head. A type's ``node_config``
        may name another one.
    namespace
        Of the pods; that of the configuration by default.
    kubeconfig, context
        Configuration file and context of kubectl. Where neither is given, a pod's own service account
        is used first.
    python
        The Python in the image.
    setup
        Shell commands that run in the container before the node is started.
    pod
        More of each pod's manifest (``metadata``, ``spec``), merged into ours; a type's ``node_config``
        is merged into that.

    Notes
    -----
    The cluster's credentials are a Secret of the namespace, mounted read-only and removed with the cluster.
    Memory and object store of a type, as well as its CPUs and GPUs (``nvidia.com/gpu``), are requests and
    limits of the container.
    """

    def __init__(
        self,
        cluster: Descriptor,
        *,
        image: str | None = None,
        namespace: str | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
        python: str = "python",
        setup: Sequence[str] = (),
        pod: Mapping[str, Any] | None = None,
    ) -> None:
        address(cluster)
        self._cluster = cluster
        self._image = image
        self._python = python
        self._setup = list(setup)
        self._pod = copy.deepcopy(dict(pod or {}))
        self._api, self._refused, given = _connect(kubeconfig, context)
        self._namespace = namespace or given
        self._secret = f"rayjup-{cluster.cluster_id}"
        self._put_secret()

    # -- what is asked for

    def manifest(self, kind: NodeType, name: str) -> dict[str, Any]:
        """The pod of a node.

        Raises
        ------
        RaySystemError
            No image is named.
        """
        config = copy.deepcopy(dict(kind.node_config))
        image = config.pop("image", self._image)
        known = {"apiVersion", "kind", "metadata", "spec"}
        if unknown := set(config) - known:
            raise RaySystemError(
                f"node_config of the type {kind.name} may have image, metadata and spec of a pod; "
                f"not {', '.join(sorted(unknown))}."
            )
        command = join_command(self._cluster, kind, name, f"{_MOUNT}/cluster.pem", self._python, block=True)
        container: dict[str, Any] = {
            "name": "node",
            "command": ["/bin/sh", "-c", f"{words_of(self._setup)}exec {command}"],
            "resources": _amounts(kind.resources),
            "volumeMounts": [
                {"name": _VOLUME, "mountPath": _MOUNT, "readOnly": True},
                {"name": _SHARED, "mountPath": "/dev/shm"},
            ],
        }
        if image is not None:
            container["image"] = image
        made: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": _pod_name(f"{self._cluster.cluster_id}-{name}"),
                "labels": {_CLUSTER: self._cluster.cluster_id, _NODE: name},
            },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": _GRACE_S,
                "containers": [container],
                "volumes": [
                    {"name": _VOLUME, "secret": {"secretName": self._secret, "defaultMode": 0o400}},
                    # Containers have 64 MB there by themselves, which is no object store.
                    {"name": _SHARED, "emptyDir": {"medium": "Memory"}},
                ],
            },
        }
        for more in (self._pod, config):
            for theirs in more.get("spec", {}).get("containers", ())[:1]:  # the first one is the node's
                made["spec"]["containers"][0]["name"] = theirs.setdefault("name", "node")
                _without(made["spec"]["containers"][0]["resources"], theirs.get("resources") or {})
            made = _merged(made, more)
        _shared_memory_once(made["spec"])
        if not made["spec"]["containers"][0].get("image"):
            raise RaySystemError(
                f"no image is named for nodes of the type {kind.name}: give the provider an image that has "
                "rayjup."
            )
        return made

    # -- the contract

    def start(self, kind: NodeType, name: str) -> None:
        """Make the pod."""
        body = self.manifest(kind, name)
        if self._put != secret(self._cluster):  # they were exchanged
            self._put_secret()
        try:
            self._api.create_namespaced_pod(self._namespace, body, **_PLAIN)
        except self._refused as error:
            raise RaySystemError(
                f"Kubernetes did not take the pod of the node {name}: {_reason(error)}"
            ) from error

    def stop(self, name: str) -> None:
        """Delete the pod."""
        for pod in self._pods():
            if pod["metadata"]["labels"].get(_NODE) == name:
                self._gone(self._api.delete_namespaced_pod, pod["metadata"]["name"])

    def instances(self) -> dict[str, Instance]:
        """The pods that are not being deleted."""
        found = {}
        for pod in self._pods():
            name = pod["metadata"]["labels"].get(_NODE, "")
            status = pod.get("status", {})
            state = _STATES.get(status.get("phase", "Pending"), "ended")
            why = _why(status)
            if state == "ended":
                why = "\n".join(filter(None, (why, self.log(name).strip()[-500:]))) or "its pod has ended"
            place = pod.get("spec", {}).get("nodeName") or pod["metadata"]["name"]
            found[name] = Instance(name, state, place, why)
        return found

    def log(self, name: str) -> str:
        """The end of what the container has written."""
        for pod in self._pods():
            if pod["metadata"]["labels"].get(_NODE) == name:
                try:
                    answer = self._api.read_namespaced_pod_log(
                        pod["metadata"]["name"],
                        self._namespace,
                        container=pod["spec"]["containers"][0]["name"],
                        tail_lines=_LINES,
                        **_PLAIN,
                    )
                except self._refused:  # its container has not been made yet
                    return ""
                return str(answer.data.decode(errors="replace"))
        return ""

    def close(self) -> None:
        """Delete all pods, and the Secret."""
        super().close()
        self._gone(self._api.delete_namespaced_secret, self._secret)

    # -- the server

    def _pods(self) -> list[dict[str, Any]]:
        try:
            answer = self._api.list_namespaced_pod(
                self._namespace,
                label_selector=f"{_CLUSTER}={self._cluster.cluster_id}",
                **_PLAIN,
            )
        except self._refused as error:
            raise RaySystemError(f"Kubernetes does not list the pods: {_reason(error)}") from error
        pods = json.loads(answer.data)["items"]
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def _put_secret(self) -> None:
        self._put = secret(self._cluster)
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self._secret, "labels": {_CLUSTER: self._cluster.cluster_id}},
            "data": {"cluster.pem": base64.b64encode(self._put.encode()).decode()},
        }
        try:
            self._api.create_namespaced_secret(self._namespace, body, **_PLAIN)
        except self._refused as error:
            if error.status != 409:
                raise RaySystemError(
                    f"Kubernetes did not take the credentials of the cluster: {_reason(error)}"
                ) from error
            self._api.replace_namespaced_secret(  # of the launcher before this one
                self._secret, self._namespace, body, **_PLAIN
            )

    def _gone(self, delete: Any, name: str) -> None:
        try:
            delete(name, self._namespace, **_PLAIN)
        except self._refused as error:
            if error.status != 404:
                raise RaySystemError(f"Kubernetes did not delete {name}: {_reason(error)}") from error


def _connect(kubeconfig: str | None, context: str | None) -> tuple[Any, Any, str]:
    """The API, what it raises, and the namespace of the configuration."""
    try:
        from kubernetes import client, config
        from kubernetes.client.exceptions import ApiException
    except ImportError as error:
        raise ImportError(
            "nodes as pods need Kubernetes' client: pip install 'rayjup[kubernetes]'."
        ) from error
    if kubeconfig is None and context is None:
        try:
            own = client.Configuration()
            config.load_incluster_config(client_configuration=own)
            with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace", encoding="ascii") as file:
                return client.CoreV1Api(client.ApiClient(own)), ApiException, file.read().strip()
        except (config.ConfigException, FileNotFoundError):
            pass  # this is no pod
    try:
        made = config.new_client_from_config(kubeconfig, context)
        contexts, current = config.list_kube_config_contexts(kubeconfig)
    except config.ConfigException as error:
        raise RaySystemError(f"the configuration of kubectl cannot be used: {error}") from error
    chosen = next((each for each in contexts if each["name"] == context), current)
    return client.CoreV1Api(made), ApiException, chosen["context"].get("namespace", "default")


def _amounts(resources: Mapping[str, float]) -> dict[str, Any]:
    found: dict[str, str] = {}
    if resources.get("CPU"):
        found["cpu"] = f"{resources['CPU']:g}"
    if resources.get("memory"):  # what lies in /dev/shm counts as the container's
        found["memory"] = str(int(resources["memory"] + resources.get("object_store_memory", 0)))
    if resources.get("GPU"):
        found["nvidia.com/gpu"] = str(int(-(-resources["GPU"] // 1)))
    return {"requests": dict(found), "limits": dict(found)} if found else {}


def _pod_name(name: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].strip("-")


def _merged(ours: Any, theirs: Any) -> Any:
    """Mappings by key, lists by the names of their items; the rest is theirs."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        both = {key: _merged(ours[key], value) for key, value in theirs.items() if key in ours}
        return {**ours, **theirs, **both}
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return theirs
    if not all(isinstance(item, Mapping) and "name" in item for item in theirs):
        return theirs
    found = {item["name"]: item for item in ours}
    for item in theirs:
        name = item["name"]
        found[name] = _merged(found[name], item) if name in found else item
    return list(found.values())


def _without(ours: dict[str, Any], theirs: Mapping[str, Any]) -> None:
    """Take out what they say themselves: a request of ours above a limit of theirs would be refused."""
    said = {key for part in theirs.values() if isinstance(part, Mapping) for key in part}
    if any(key.endswith("gpu") for key in said):
        said.add("nvidia.com/gpu")
    for part in ours.values():
        for key in said & set(part):
            del part[key]


def _shared_memory_once(spec: dict[str, Any]) -> None:
    """Leave ``/dev/shm`` to a volume of theirs, if they mount one there."""
    mounts = spec["containers"][0]["volumeMounts"]
    if sum(mount.get("mountPath") == "/dev/shm" for mount in mounts) > 1:
        spec["containers"][0]["volumeMounts"] = [each for each in mounts if each["name"] != _SHARED]
        spec["volumes"] = [each for each in spec["volumes"] if each["name"] != _SHARED]


def _why(status: Mapping[str, Any]) -> str:
    for container in status.get("containerStatuses") or ():
        for state in ("waiting", "terminated"):
            about = container.get("state", {}).get(state) or {}
            if about.get("reason") not in (None, "ContainerCreating", "Completed"):
                return f"{about['reason']}: {about.get('message') or about.get('exitCode', '')}".rstrip(": ")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "")
    return str(status.get("message") or "")


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error)
