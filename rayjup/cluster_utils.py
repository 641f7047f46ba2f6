"""Clusters of several nodes on one machine, for tests of distributed programs.

As ``ray.cluster_utils``: each node is a process of its own with its own executors and its own part
of shared memory, so that losing a node can be tried out.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor, process_start_time
from rayjup.cluster.manager import NodeInfo
from rayjup.cluster.scaling.settings import ScalingSettings, node_types
from rayjup.core import api
from rayjup.core import session as sessions
from rayjup.core.system_config import settings_of
from rayjup.observe.view import ClusterView

_STORE = 150 * 1024 * 1024
_TAKEN = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "memory", "host")


class ClusterNode:
    """A node of a :class:`Cluster`, as ``add_node`` returns it."""

    def __init__(self, cluster: Descriptor, info: NodeInfo, head: bool) -> None:
        self._cluster = cluster
        self.info = info
        self.head = head
        self._killed = False

    @property
    def node_id(self) -> str:
        """The id that ``nodes()`` shows as ``NodeID``."""
        return self.info.node_id

    unique_id = node_id

    @property
    def node_name(self) -> str:
        """The name that ``nodes()`` shows as ``NodeName``."""
        return self.info.name

    @property
    def node_ip_address(self) -> str:
        """The address of this machine."""
        return "127.0.0.1"

    @property
    def raylet_socket_name(self) -> str:
        """Where the node's agent listens."""
        return self.info.agent_socket

    @property
    def gcs_address(self) -> str:
        """The address of the node's cluster."""
        return self._cluster.address

    address = gcs_address

    def is_head(self) -> bool:
        """Whether this is the node the cluster began with."""
        return self.head

    def any_processes_alive(self) -> bool:
        """Whether the node still runs."""
        return self.info.is_alive() or (self.head and self._cluster.is_alive())

    def remaining_processes_alive(self) -> bool:
        """Whether all of the node runs that was not killed on purpose."""
        return self._killed or self.info.is_alive()

    def kill_raylet(self, check_alive: bool = True) -> None:
        """End the node at once, as a machine that fails would.

        Raises
        ------
        RuntimeError
            It has ended already (only with ``check_alive``).
        """
        self._killed = True
        if not manager.remove_node(self.info, graceful=False) and check_alive:
            raise RuntimeError(f"the node {self.info.name} cannot be killed: it has ended already.")

    def __repr__(self) -> str:
        return f"ClusterNode({self.info.name}, {'head' if self.head else 'worker'}, {self.node_id[:8]})"


class Cluster:
    """A cluster on this machine to which nodes are added one by one.

    Parameters
    ----------
    initialize_head
        Start the first node now.
    connect
        Call ``init`` with the new cluster's address (needs ``initialize_head``).
    head_node_args
        What :meth:`add_node` takes, for the first node.
    shutdown_at_exit
        End the cluster with this process, even if that is killed; otherwise it stays until
        :meth:`shutdown`.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.cluster_utils import Cluster
    >>> cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    >>> node = cluster.add_node(num_cpus=2)
    >>> context = ray.init(address=cluster.address)
    >>> ray.cluster_resources()["CPU"]
    3.0
    >>> cluster.remove_node(node)
    >>> ray.shutdown()
    >>> cluster.shutdown()
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        self.head_node: ClusterNode | None = None
        self.worker_nodes: set[ClusterNode] = set()
        self.connected = False
        self._order: list[ClusterNode] = []
        self._descriptor: Descriptor | None = None
        self._shutdown_at_exit = shutdown_at_exit
        if connect and not initialize_head:
            raise RuntimeError(
                "Cannot connect to uninitialized cluster: pass initialize_head=True as well, or call "
                "add_node() and then connect()."
            )
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """What ``init(address=…)`` takes; None while there is no node."""
        return self._descriptor.address if self._descriptor is not None else None

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Connect this process to the cluster."""
        if self.address is None:
            raise RuntimeError("Cannot connect to uninitialized cluster: call add_node() first.")
        if self.connected:
            raise RuntimeError("this process is connected to the cluster already.")
        api.init(address=self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Start a node; the first one is the head's.

        Parameters
        ----------
        wait
            Taken for compatibility: the node is always part of the cluster when this returns.
        node_args
            ``num_cpus`` (1), ``num_gpus`` (0), ``resources``, ``labels``, ``object_store_memory``
            (150 MiB), ``memory``, ``node_name``; ``host`` (not in Ray) declares the node to be on a host of
            its own, if the other nodes do so, too: objects and calls then go there by TCP. Ports,
            passwords and system settings of Ray's own processes are taken and have no effect.
        """
        taken: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": _STORE}
        taken |= {name: node_args[name] for name in _TAKEN if node_args.get(name) is not None}
        taken["settings"] = settings_of(node_args)
        name = node_args.get("node_name")
        if self._descriptor is None:
            owner = os.getpid() if self._shutdown_at_exit else None
            self._descriptor = manager.start(node_name=name, owner_pid=owner, **taken)
            node = ClusterNode(self._descriptor, _first_node(self._descriptor), True)
            self.head_node = node
            if self._shutdown_at_exit:
                atexit.register(self.shutdown)
        else:
            node = ClusterNode(
                self._descriptor, manager.add_node(self._descriptor, name=name, **taken), False
            )
            self.worker_nodes.add(node)
        self._order.append(node)
        return node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """End a node, gracefully or as if its machine had failed. The head's node ends the cluster.

        Raises
        ------
        ValueError
            This process is connected through the node, or the node is not (any more) one of this
            cluster.
        """
        if node not in self._order:
            raise ValueError(f"{node!r} is not a node of this cluster, or was removed before.")
        session = sessions.current()
        if session is not None and session.runtime.node_id == node.node_id and not session.runtime.closed:
            api.shutdown()
            self.connected = False
            raise ValueError(
                "Removing a node that is connected to this Ray client is not allowed because it will break "
                "the "
                "driver; it is disconnected now. Call rayjup.shutdown() before you remove the head's node."
            )
        self._order.remove(node)
        if node is self.head_node:
            self._end(allow_graceful)
            return
        self.worker_nodes.discard(node)
        if manager.remove_node(node.info, graceful=allow_graceful):
            self._wait_gone(node, 10.0)

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Wait until as many nodes are alive as were added and not removed.

        Raises
        ------
        TimeoutError
            They were not within ``timeout`` seconds, for instance because one has died.
        """
        deadline = time.monotonic() + timeout
        while True:
            alive = self._alive()
            if len(alive) == len(self._order):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"Timed out while waiting for nodes to join: {len(alive)} are alive, {len(self._order)} "
                    "were "
                    f"added and not removed ({timeout} s)."
                )
            time.sleep(0.02)

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes that were added and not removed, the head's first."""
        return list(self._order)

    def remaining_processes_alive(self) -> bool:
        """Whether all nodes run that were neither removed nor killed on purpose."""
        return all(node.remaining_processes_alive() for node in self._order)

    def shutdown(self) -> None:
        """End all nodes; does nothing the second time."""
        atexit.unregister(self.shutdown)
        self._order.clear()
        self._end(True)

    def _end(self, graceful: bool) -> None:
        descriptor, self._descriptor = self._descriptor, None
        node, self.head_node = self.head_node, None
        workers, self.worker_nodes = self.worker_nodes, set()
        if descriptor is None or node is None:
            return
        if not graceful:
            node.kill_raylet(check_alive=False)
        manager.stop(descriptor)
        descriptor.remove()  # of a head that did not end by itself
        self._order.clear()
        self.connected = False
        _poll(lambda: not any(n.info.is_alive() for n in [node, *workers]), 10.0)

    def _alive(self) -> list[str]:
        if self._descriptor is None:
            return []
        view = ClusterView(self._descriptor)
        try:
            return [row["NodeID"] for row in view.request("nodes") if row["Alive"]]
        finally:
            view.close()

    def _wait_gone(self, node: ClusterNode, timeout: float) -> None:
        if not _poll(lambda: node.node_id not in self._alive(), timeout):
            raise RaySystemError(
                f"the head still lists {node!r}, whose process has ended; the cluster's log says why."
            )


def _poll(condition: Any, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _first_node(descriptor: Descriptor) -> NodeInfo:
    view = ClusterView(descriptor)
    try:
        (row,) = view.request("nodes")
    finally:
        view.close()
    pid = int(descriptor.extra["node_pid"])
    return NodeInfo(row["NodeID"], row["NodeName"], pid, process_start_time(pid), descriptor.agent_socket, "")


class AutoscalingCluster:
    """A cluster on this machine that grows and shrinks with what is asked of it, for tests.

    Its nodes are processes that offer what their type says, whether the machine has it or not.

    Parameters
    ----------
    head_resources
        What the head's node offers, such as ``{"CPU": 0}``.
    worker_node_types
        As in Ray's cluster files: by name, ``resources``, ``min_workers``, ``max_workers``, ``labels``.
    autoscaler_v2
        Taken for compatibility: there is one autoscaler.
    config_kwargs
        ``idle_timeout_minutes`` (5), ``upscaling_speed`` (1), ``max_workers``.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.cluster_utils import AutoscalingCluster
    >>> big = {"resources": {"CPU": 2, "big": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1}
    >>> cluster = AutoscalingCluster(head_resources={"CPU": 0}, worker_node_types={"big": big})
    >>> cluster.start()
    >>> context = ray.init("auto")
    >>> @ray.remote(resources={"big": 1})
    ... def where():
    ...     return ray.get_runtime_context().get_node_labels()["ray.io/node-group"]
    >>> ray.get(where.remote())
    'big'
    >>> ray.shutdown()
    >>> cluster.shutdown()
    """

    def __init__(
        self,
        head_resources: dict[str, Any],
        worker_node_types: dict[str, Any],
        autoscaler_v2: bool = False,
        **config_kwargs: Any,
    ) -> None:
        unknown = sorted(set(config_kwargs) - _SCALING)
        if unknown:
            raise TypeError(f"AutoscalingCluster takes {', '.join(sorted(_SCALING))}, not {unknown[0]!r}.")
        self._head = dict(head_resources)
        types = node_types(worker_node_types)
        most = sum(kind.max_workers for kind in types)
        self._settings = ScalingSettings(
            types,
            int(config_kwargs.get("max_workers", most)),
            60.0 * float(config_kwargs.get("idle_timeout_minutes", 5)),
            float(config_kwargs.get("upscaling_speed", 1.0)),
        )
        self._descriptor: Descriptor | None = None

    @property
    def address(self) -> str | None:
        """What ``init(address=…)`` takes; None while it is not started. Not in Ray."""
        return self._descriptor.address if self._descriptor is not None else None

    def start(self, _system_config: Any = None, override_env: dict[str, str] | None = None) -> None:
        """Start the head and the nodes there are at least; drivers may connect when this returns.

        Parameters
        ----------
        _system_config
            Settings, as of ``init``.
        override_env
            Environment variables of the cluster's processes.
        """
        if self._descriptor is not None:
            raise RuntimeError("this AutoscalingCluster runs already: call shutdown() before start().")
        head = dict(self._head)
        with _environment(override_env or {}):
            self._descriptor = manager.start(
                num_cpus=head.pop("CPU", 0),
                num_gpus=head.pop("GPU", 0),
                memory=head.pop("memory", None),
                object_store_memory=head.pop("object_store_memory", _STORE),
                resources=head,
                settings=settings_of({"_system_config": _system_config}),
                owner_pid=os.getpid(),
                autoscaling=self._settings,
                launcher={"launcher": "local", "object_store_memory": _STORE},
            )
        atexit.register(self.shutdown)

    def shutdown(self) -> None:
        """End all nodes; does nothing the second time."""
        atexit.unregister(self.shutdown)
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            manager.stop(descriptor)
            descriptor.remove()  # of a head that did not end by itself


_SCALING = {"idle_timeout_minutes", "upscaling_speed", "max_workers"}


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
