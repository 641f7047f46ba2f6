"""Nodes that were added to a cluster from here, noted beside it so that a restarted server knows them."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.manager import NodeInfo
from rayjup_lab.services.clusters.options import NodeOptions

_FOLDER = "added_nodes"


def add(cluster: Descriptor, options: NodeOptions, timeout_s: float) -> dict[str, Any]:
    """Start a node and write it down; its id and name."""
    node = manager.add_node(
        cluster,
        name=options.name,
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        resources=options.resources,
        object_store_memory=options.object_store_memory,
        timeout_s=timeout_s,
    )
    folder = Path(cluster.session_dir, _FOLDER)
    folder.mkdir(mode=0o700, exist_ok=True)
    fd, new = tempfile.mkstemp(dir=folder, prefix=".")
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(node), file)
    os.replace(new, folder / f"{node.node_id}.json")
    return {"node_id": node.node_id, "name": node.name}


def known(cluster: Descriptor) -> list[str]:
    """Ids of the nodes that were added and not taken away."""
    return sorted(path.stem for path in Path(cluster.session_dir, _FOLDER).glob("[!.]*.json"))


def offer(node: dict[str, Any]) -> dict[str, float]:
    """What a node of the same kind has to offer, given a node of a snapshot."""
    return {
        name: amount
        for name, amount in node["resources_total"].items()
        if not name.startswith("node:") and name not in ("memory", "object_store_memory")
    }


def remove(cluster: Descriptor, node_id: str) -> bool:
    """End a node that was added; False when none of that id was."""
    if node_id not in known(cluster):
        return False
    path = Path(cluster.session_dir, _FOLDER, f"{node_id}.json")
    manager.remove_node(NodeInfo(**json.loads(path.read_text(encoding="utf-8"))))
    path.unlink(missing_ok=True)
    return True
