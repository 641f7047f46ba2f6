"""Nodes as further processes of this machine."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher
from rayjup.cluster.manager import NodeInfo
from rayjup.cluster.scaling.settings import NodeType

_TAIL = 20_000


class LocalLauncher(Launcher):
    """Starts nodes beside the head.

    Parameters
    ----------
    cluster
        A running local cluster.
    object_store_memory
        Bytes of a node's object store where its type does not say; None: a part of the machine's memory.
    apart
        Each node is a host of its own, by declaration: objects and calls go there by TCP.
    """

    def __init__(
        self, cluster: Descriptor, *, object_store_memory: int | None = None, apart: bool = False
    ) -> None:
        self._cluster = cluster
        self._store = object_store_memory
        self._apart = apart
        self._nodes: dict[str, NodeInfo | None] = {}  # None: being started
        self._unwanted: set[str] = set()
        self._lock = threading.Lock()
        self._state = Path(cluster.session_dir, "launcher-local.json")
        if self._state.exists():  # of the launcher before this one
            known = json.loads(self._state.read_text(encoding="utf-8"))
            self._nodes.update((name, NodeInfo(**about)) for name, about in known.items())

    def start(self, kind: NodeType, name: str) -> None:
        """Start the node's process, and wait until it has joined."""
        with self._lock:
            self._nodes[name] = None
        try:
            node = manager.add_node(self._cluster, name=name, **self._offer(kind, name))
        except BaseException:
            with self._lock:
                self._nodes.pop(name, None)
            raise
        with self._lock:
            self._nodes[name] = node
            unwanted = name in self._unwanted
            self._write()
        if unwanted:
            self.stop(name)

    def _offer(self, kind: NodeType, name: str) -> dict[str, Any]:
        resources = dict(kind.resources)
        memory, store = resources.pop("memory", None), resources.pop("object_store_memory", self._store)
        return {
            "num_cpus": float(resources.pop("CPU", 0.0)),
            "num_gpus": float(resources.pop("GPU", 0.0)),
            "memory": int(memory) if memory is not None else None,
            "object_store_memory": int(store) if store is not None else None,
            "resources": resources,
            "labels": kind.all_labels,
            "host": name if self._apart else None,
        }

    def stop(self, name: str) -> None:
        """End the node's process, if it has not ended yet."""
        with self._lock:
            if name not in self._nodes:
                return
            node = self._nodes[name]
            if node is None:
                self._unwanted.add(name)
                return
            del self._nodes[name]
            self._unwanted.discard(name)
            self._write()
        manager.remove_node(node)

    def _write(self) -> None:
        if self._state.parent.is_dir():  # else the cluster has ended
            known = {name: asdict(node) for name, node in self._nodes.items() if node is not None}
            self._state.write_text(json.dumps(known), encoding="utf-8")

    def instances(self) -> dict[str, Instance]:
        """The nodes of this launcher."""
        with self._lock:
            nodes = dict(self._nodes)
        found = {}
        for name, node in nodes.items():
            if node is None:
                found[name] = Instance(name, "pending")
            elif node.is_alive():
                found[name] = Instance(name, "running", f"process {node.pid}")
            else:
                found[name] = Instance(name, "ended", f"process {node.pid}", "its process has ended")
        return found

    def log(self, name: str) -> str:
        """The end of the newest log of a node."""
        logs = sorted(Path(self._cluster.session_dir, "logs").glob("node-*.log"))
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in logs]
        return "\n".join(texts)[-_TAIL:]
