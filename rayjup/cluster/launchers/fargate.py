"""Nodes as tasks of Amazon ECS on Fargate: containers, without machines that one would have to look after."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher, State
from rayjup.cluster.launchers.joining import address, join_command, secret, words_of
from rayjup.cluster.scaling.settings import NodeType

_MIB = 1 << 20
_NODE, _CLUSTER = "rayjup-node", "rayjup-cluster"
_VARIABLE = "RAYJUP_CREDENTIALS_TEXT"
_FILE = "/tmp/rayjup-credentials.pem"
_SIZES = {256: (512, 2048), 512: (1024, 4096), 1024: (2048, 8192), 2048: (4096, 16384), 4096: (8192, 30720)}
_SIZES |= {8192: (16384, 61440), 16384: (32768, 122880)}
"""CPU units that Fargate has → least and most MiB of memory."""
_STEPS = {8192: 4096, 16384: 8192}
_STATES: dict[str, State] = {
    "PROVISIONING": "pending",
    "PENDING": "pending",
    "ACTIVATING": "pending",
    "RUNNING": "running",
}
_LINES = 200


class FargateLauncher(Launcher):
    """Runs one task per node.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in, at an address that tasks can reach.
    image
        Container image of the nodes, with rayjup and the Python of the head. A type's ``node_config`` may
        name another one.
    subnets, security_groups
        Networks of the tasks.
    execution_role
        ARN of the role by which ECS pulls the image and reads the secret
        (``secretsmanager:GetSecretValue``); ``task_role`` is that of the nodes themselves.
    ecs_cluster
        Of ECS; ``default`` where not given.
    region, profile, endpoint_url
        As of boto3.
    assign_public_ip
        Whether tasks get public addresses.
    log_group
        Of CloudWatch, where tasks write to; None: they write nowhere.
    python
        The Python in the image.
    setup
        Shell commands that run in the container before the node is started.

    Notes
    -----
    The cluster's credentials are a secret of the Secrets Manager, which ECS hands to the tasks and which is
    removed with the cluster. A task has the CPUs and the memory of its node's type, rounded up to what
    Fargate has. Fargate gives containers no shared memory to speak of (64 MB) and no GPUs.
    """

    def __init__(
        self,
        cluster: Descriptor,
        *,
        subnets: Sequence[str],
        image: str | None = None,
        security_groups: Sequence[str] = (),
        execution_role: str | None = None,
        task_role: str | None = None,
        ecs_cluster: str = "default",
        region: str | None = None,
        profile: str | None = None,
        endpoint_url: str | None = None,
        assign_public_ip: bool = False,
        log_group: str | None = None,
        python: str = "python",
        setup: Sequence[str] = (),
    ) -> None:
        address(cluster)
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError as error:
            raise ImportError("tasks of Fargate need boto3: pip install 'rayjup[aws]'.") from error
        self._cluster = cluster
        self._image, self._python, self._setup = image, python, list(setup)
        self._network = {
            "subnets": list(subnets),
            "securityGroups": list(security_groups),
            "assignPublicIp": "ENABLED" if assign_public_ip else "DISABLED",
        }
        self._roles = {"executionRoleArn": execution_role, "taskRoleArn": task_role}
        self._ecs_cluster, self._log_group = ecs_cluster, log_group
        self._refused: Any = (ClientError, BotoCoreError)
        session = boto3.Session(profile_name=profile, region_name=region)
        self._region = session.region_name
        self._ecs = session.client("ecs", endpoint_url=endpoint_url)
        self._secrets = session.client("secretsmanager", endpoint_url=endpoint_url)
        self._logs = session.client("logs", endpoint_url=endpoint_url) if log_group else None
        self._tasks: dict[str, str] = {}  # name of a node → its task
        self._families: set[str] = set()
        self._lock = threading.Lock()
        try:
            self._secret = self._put_secret()
            self._tasks.update(self._found())
        except self._refused as error:
            raise RaySystemError(f"Amazon refuses: {error}") from error

    def _put_secret(self) -> str:
        name = f"rayjup/{self._cluster.cluster_id}"
        text = self._put = secret(self._cluster)
        try:
            return str(self._secrets.create_secret(Name=name, SecretString=text)["ARN"])
        except self._secrets.exceptions.ResourceExistsException:  # of the launcher before this one
            return str(self._secrets.put_secret_value(SecretId=name, SecretString=text)["ARN"])

    def _found(self) -> dict[str, str]:
        """The tasks of the launcher before this one."""
        pages = self._ecs.get_paginator("list_tasks").paginate(
            cluster=self._ecs_cluster, startedBy=self._cluster.cluster_id
        )
        tasks = [task for page in pages for task in page["taskArns"]]
        found = {}
        for task in self._described(tasks):
            tags = {tag["key"]: tag["value"] for tag in task.get("tags", ())}
            if _NODE in tags:
                found[tags[_NODE]] = str(task["taskArn"])
        return found

    def definition(self, kind: NodeType) -> dict[str, Any]:
        """What ECS is told of the nodes of a type.

        Raises
        ------
        RaySystemError
            No image is named, or Fargate has nothing as large.
        """
        image = kind.node_config.get("image", self._image)
        if not image:
            raise RaySystemError(
                f"no image is named for nodes of the type {kind.name}: give the provider an image that has "
                "rayjup."
            )
        if kind.resources.get("GPU"):
            raise RaySystemError(f"nodes of the type {kind.name} want GPUs, and Fargate has none.")
        cpu, memory = size(kind)
        container: dict[str, Any] = {
            "name": "node",
            "image": image,
            "essential": True,
            "memory": memory,
            "secrets": [{"name": _VARIABLE, "valueFrom": self._secret}],
            "stopTimeout": 30,
        }
        if self._log_group:
            container["logConfiguration"] = {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": self._log_group,
                    "awslogs-region": self._region,
                    "awslogs-stream-prefix": "rayjup",
                },
            }
        return {
            "family": f"rayjup-{self._cluster.cluster_id}-{kind.name}",
            "requiresCompatibilities": ["FARGATE"],
            "networkMode": "awsvpc",
            "cpu": str(cpu),
            "memory": str(memory),
            "containerDefinitions": [container],
            **{key: value for key, value in self._roles.items() if value},
        }

    def command(self, kind: NodeType, name: str) -> list[str]:
        """What the container of a node runs."""
        joins = join_command(self._cluster, kind, name, _FILE, self._python, block=True)
        keep = f'umask 077 && printf "%s\\n" "${_VARIABLE}" > {_FILE} && unset {_VARIABLE} && '
        return ["/bin/sh", "-c", f"{keep}{words_of(self._setup)}exec {joins}"]

    def start(self, kind: NodeType, name: str) -> None:
        """Run the task."""
        wanted = self.definition(kind)
        try:
            if self._put != secret(self._cluster):  # they were exchanged
                self._put_secret()
            with self._lock:
                if wanted["family"] not in self._families:
                    self._ecs.register_task_definition(**wanted)
                    self._families.add(wanted["family"])
            answer = self._ecs.run_task(
                cluster=self._ecs_cluster,
                launchType="FARGATE",
                taskDefinition=wanted["family"],
                startedBy=self._cluster.cluster_id,
                count=1,
                networkConfiguration={"awsvpcConfiguration": self._network},
                overrides={"containerOverrides": [{"name": "node", "command": self.command(kind, name)}]},
                tags=[
                    {"key": _NODE, "value": name},
                    {"key": _CLUSTER, "value": self._cluster.cluster_id},
                ],
            )
        except self._refused as error:
            raise RaySystemError(f"ECS did not take the task of the node {name}: {error}") from error
        if not answer["tasks"]:
            why = "; ".join(each.get("reason", "") for each in answer["failures"])
            raise RaySystemError(f"ECS did not take the task of the node {name}: {why}")
        with self._lock:
            self._tasks[name] = str(answer["tasks"][0]["taskArn"])

    def stop(self, name: str) -> None:
        """Stop the task."""
        with self._lock:
            task = self._tasks.get(name)
        if task is None:
            return
        try:
            self._ecs.stop_task(cluster=self._ecs_cluster, task=task, reason="given back")
        except self._refused as error:
            raise RaySystemError(f"ECS did not stop the task of the node {name}: {error}") from error
        with self._lock:
            self._tasks.pop(name, None)

    def instances(self) -> dict[str, Instance]:
        """What ECS says of the tasks."""
        with self._lock:
            tasks = dict(self._tasks)
        try:
            rows = {str(row["taskArn"]): row for row in self._described(list(tasks.values()))}
        except self._refused as error:
            raise RaySystemError(f"ECS does not describe the tasks: {error}") from error
        found = {}
        for name, task in tasks.items():
            row = rows.get(task, {"lastStatus": "STOPPED"})
            state = _STATES.get(row["lastStatus"], "ended")
            why = str(row.get("stoppedReason") or "its task has ended") if state == "ended" else ""
            found[name] = Instance(name, state, task.rpartition("/")[2], why)
        return found

    def _described(self, tasks: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for first in range(0, len(tasks), 100):  # more at once is refused
            some = tasks[first : first + 100]
            answer = self._ecs.describe_tasks(cluster=self._ecs_cluster, tasks=some, include=["TAGS"])
            rows += answer["tasks"]
        return rows

    def log(self, name: str) -> str:
        """The end of what the task has written to its log group."""
        with self._lock:
            task = self._tasks.get(name)
        if task is None or self._logs is None:
            return ""
        stream = f"rayjup/node/{task.rpartition('/')[2]}"
        try:
            answer = self._logs.get_log_events(
                logGroupName=self._log_group, logStreamName=stream, limit=_LINES, startFromHead=False
            )
        except self._refused:  # it has written nothing yet
            return ""
        return "\n".join(str(event["message"]) for event in answer["events"])

    def close(self) -> None:
        """Stop all tasks; remove what ECS was told of them, and the secret."""
        super().close()
        try:
            pages = self._ecs.get_paginator("list_task_definitions").paginate()
            prefix = f"/rayjup-{self._cluster.cluster_id}-"
            for page in pages:
                for each in page["taskDefinitionArns"]:
                    if prefix in each:
                        self._ecs.deregister_task_definition(taskDefinition=each)
            self._secrets.delete_secret(SecretId=self._secret, ForceDeleteWithoutRecovery=True)
        except self._refused as error:
            raise RaySystemError(f"Amazon did not remove what belongs to the cluster: {error}") from error


def size(kind: NodeType) -> tuple[int, int]:
    """CPU units and MiB of the smallest task that has what a node offers.

    Raises
    ------
    RaySystemError
        Fargate has none as large.

    Examples
    --------
    >>> size(NodeType("a", {"CPU": 3, "memory": 2**30})), size(NodeType("b", {"CPU": 0.5, "memory": 2**33}))
    ((4096, 8192), (1024, 8192))
    """
    resources: Mapping[str, float] = kind.resources
    units = 1024 * resources.get("CPU", 1.0)
    wanted = -(-(resources.get("memory", 0) + resources.get("object_store_memory", 0)) // _MIB)
    for cpu, (least, most) in _SIZES.items():
        if cpu >= units and most >= wanted:
            step = _STEPS.get(cpu, 1024)
            above = max(0, int(wanted) - least)
            memory = least + -(-above // step) * step
            if cpu == 256 and memory > 1024:
                memory = 2048
            return cpu, memory
    raise RaySystemError(
        f"nodes of the type {kind.name} ({json.dumps(dict(resources))}) are larger than all Fargate has: "
        "16 CPUs and 120 GiB."
    )
