"""Where am I? ``get_runtime_context()`` of drivers, tasks and actors."""

from __future__ import annotations

import json
import os
from typing import Any

from rayjup.base.ids import ActorID, JobID, NodeID, TaskID, WorkerID
from rayjup.base.runtime_env import RuntimeEnv
from rayjup.core import environments
from rayjup.core import session as sessions
from rayjup.core.actor import ActorHandle
from rayjup.engine.executor import executor as executing


class RuntimeContext:
    """What the calling code may know of the place where it runs. Ids are hexadecimal strings."""

    def __init__(self, session: sessions.Session) -> None:
        self._session = session
        self._runtime = session.runtime

    def get_job_id(self) -> str:
        """Id of the job (8 characters)."""
        return self._runtime.job_id.hex()

    @property
    def job_id(self) -> JobID:
        """The job's id as an object."""
        return JobID(self._runtime.job_id)

    def get_node_id(self) -> str:
        """Id of the node (56 characters)."""
        return self._runtime.node_id

    @property
    def node_id(self) -> NodeID:
        """The node's id as an object."""
        return NodeID(bytes.fromhex(self._runtime.node_id))

    def get_worker_id(self) -> str:
        """Id of this process (56 characters)."""
        return self._runtime.worker_id.hex()

    @property
    def worker_id(self) -> WorkerID:
        """This process's id as an object."""
        return WorkerID(self._runtime.worker_id)

    def get_task_id(self) -> str | None:
        """Id of the running task, None in the driver."""
        running = _running()
        return running.task_id.hex() if running is not None else None

    @property
    def task_id(self) -> TaskID | None:
        """The running task's id as an object."""
        running = _running()
        return TaskID(running.task_id) if running is not None else None

    def get_task_name(self) -> str | None:
        """Name of the running task, None in the driver."""
        running = _running()
        if running is None:
            return None
        name: str = (running.options or {}).get("name") or running.name
        return name

    def get_task_function_name(self) -> str | None:
        """Name of the function that the running task runs, None in the driver."""
        running = _running()
        return running.name if running is not None else None

    def get_actor_id(self) -> str | None:
        """Id of the actor whose method runs, None elsewhere."""
        executor = executing.executor
        return executor.actor_id.hex() if executor is not None and executor.actor_id else None

    @property
    def actor_id(self) -> ActorID | None:
        """The actor's id as an object."""
        executor = executing.executor
        return ActorID(executor.actor_id) if executor is not None and executor.actor_id else None

    def get_actor_name(self) -> str | None:
        """Name of the actor ("" if it has none), None elsewhere."""
        executor = executing.executor
        if executor is None or executor.actor_spec is None:
            return None
        return executor.actor_spec.get("name") or ""

    @property
    def namespace(self) -> str:
        """The namespace for named actors."""
        return self._session.namespace

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor whose method runs has been restarted."""
        actor_id = self.get_actor_id()
        if actor_id is None:
            raise RuntimeError("was_current_actor_reconstructed is for code that runs in an actor.")
        info = self._runtime.link.request("actor_info", bytes.fromhex(actor_id))
        return bool(info["num_restarts"])

    @property
    def current_actor(self) -> Any:
        """A handle to the actor whose method runs."""
        executor = executing.executor
        if executor is None or executor.actor_spec is None:
            raise RuntimeError("current_actor is for code that runs in an actor.")
        return ActorHandle(executor.actor_id, executor.actor_spec["meta"], None)

    def is_canceled(self) -> bool:
        """Whether the running task was cancelled: long methods of actors ask, to end early.

        Raises
        ------
        RuntimeError
            In a driver, and in asyncio actors (their coroutines get ``asyncio.CancelledError``).

        Examples
        --------
        >>> import rayjup as ray
        >>> @ray.remote
        ... def is_running():
        ...     return not ray.get_runtime_context().is_canceled()
        >>> ray.get(is_running.remote())
        True
        """
        executor = executing.executor
        if executor is None:
            raise RuntimeError("is_canceled() is for code that runs in a task or an actor, not for a driver.")
        if executor.asynchronous:
            raise RuntimeError(
                "is_canceled() is not for asyncio actors: a cancelled coroutine gets asyncio.CancelledError "
                "where it awaits."
            )
        return executor.is_cancelled()

    def get_assigned_resources(self) -> dict[str, float]:
        """What the running task or actor holds."""
        executor = executing.executor
        if executor is None:
            raise RuntimeError("get_assigned_resources() is for code that runs in a task or an actor.")
        resources: dict[str, float] = executor.lease.get("resources", {})
        return resources

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Accelerators assigned to the running task or actor, by resource name."""
        executor = executing.executor
        gpus = executor.lease.get("gpus", ()) if executor is not None else ()
        return {"GPU": [str(index) for index, _ in gpus]}

    def get_placement_group_id(self) -> str | None:
        """Id of the placement group in which the task or actor runs, None outside of one."""
        group = self._runtime.group
        return group[0].hex() if group is not None else None

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what is submitted here runs in the same placement group."""
        group = self._runtime.group
        return group is not None and group[1]

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node."""
        labels: dict[str, str] = self._runtime.link.request("node_info")["labels"]
        return labels

    @property
    def runtime_env(self) -> RuntimeEnv:
        """The runtime environment of this process, with what it has from its parents."""
        return RuntimeEnv(_validate=False, **environments.of(self._session).own)

    def get_runtime_env_string(self) -> str:
        """:attr:`runtime_env` as JSON."""
        return json.dumps(self.runtime_env, sort_keys=True)

    @property
    def gcs_address(self) -> str:
        """The address of the cluster's head."""
        cluster = self._session.cluster
        return cluster.address if cluster is not None else ""

    def get_session_name(self) -> str:
        """Name of the cluster's session directory."""
        return os.path.basename(self._runtime.session_dir)

    def get_temp_dir(self) -> str:
        """The cluster's session directory."""
        return self._runtime.session_dir

    def get(self) -> dict[str, Any]:
        """The ids at once."""
        context = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        if self.task_id is not None:
            context["task_id"] = self.task_id
        if self.actor_id is not None:
            context["actor_id"] = self.actor_id
        return context


def _running() -> Any:
    executor = executing.executor
    return executor.context() if executor is not None else None


def get_runtime_context() -> RuntimeContext:
    """The context of the calling driver, task or actor.

    Examples
    --------
    >>> import rayjup as ray
    >>> len(ray.get_runtime_context().get_node_id())
    56
    """
    return RuntimeContext(sessions.require())


def get_gpu_ids() -> list[int]:
    """Indices of the GPUs assigned to the running task or actor ([] in a driver)."""
    executor = executing.executor
    return [index for index, _ in executor.lease.get("gpus", ())] if executor is not None else []
