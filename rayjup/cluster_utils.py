"""Clusters of several nodes on one machine, for tests of distributed programs.

As ``ray.cluster_utils``: each node is a process of its own with its own executors and its own part
of shared memory, so that losing a node can be tried out.
"""

from __future__ import annotations

import atexit
import os
import time
from typing import Any, NoReturn

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor, process_start_time
from rayjup.cluster.manager import NodeInfo
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
    """Not available: a rayjup cluster on one machine has no cloud that nodes could come from.

    Making one raises ``RuntimeError``.
    """

    def __init__(
        self,
        head_resources: dict[str, Any],
        worker_node_types: dict[str, Any],
        autoscaler_v2: bool = False,
        **config_kwargs: Any,
    ) -> None:
        self._explain()

    def start(self, _system_config: Any = None, override_env: dict[str, str] | None = None) -> None:
        """Raises RuntimeError."""
        self._explain()

    def shutdown(self) -> None:
        """Raises RuntimeError."""
        self._explain()

    @staticmethod
    def _explain() -> NoReturn:
        raise RuntimeError(
            "AutoscalingCluster imitates Ray's autoscaler, which rayjup does not have: nodes are Dask "
            "workers, and "
            "Dask scales them. Use rayjup.cluster_utils.Cluster and add_node()/remove_node() in tests, "
            "or join a "
            "Dask cluster with cluster.adapt(minimum=…, maximum=…) by init(address='tcp://…')."
        )
