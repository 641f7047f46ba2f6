"""Replacing the head of a running cluster, as after an upgrade of rayjup."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.observer import Observer

_ALL_S = 60.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Renewed:
    """A head that was replaced.

    Attributes
    ----------
    version
        The rayjup that it runs.
    nodes
        How many nodes have come to it.
    """

    version: str
    nodes: int


def restart_head(cluster: Descriptor) -> Renewed:
    """Replace the head by one of what is installed now, and wait until the nodes have come to it.

    Nodes, executors and drivers stay what they are, so they go on with the version they were started with.

    Raises
    ------
    RaySystemError
        What is installed speaks another protocol, or does not start; the cluster goes on as before. Or the
        cluster was not started by rayjup on this machine.
    """
    if cluster.started_by in ("node", "dask"):
        where = "on another machine" if cluster.started_by == "node" else "with Dask's own commands"
        raise RaySystemError(f"the head of {cluster.name} was started {where}: restart it there.")
    observer = Observer(cluster, _ALL_S)
    deadline = time.monotonic() + _ALL_S
    try:
        observer.request("head_renew")
        while (state := observer.request("head_renewal"))["state"] in ("looking", "ending"):
            _wait(cluster, deadline)
        if state["state"] == "failed":
            raise RaySystemError(f"the head of {cluster.name} was not replaced: {state['why']}")
        while True:
            needs: dict[str, Any] = observer.request("scaling_state")
            if not needs["recovering"]:
                return Renewed(state["version"], len(needs["nodes"]))
            _wait(cluster, deadline)
    finally:
        observer.close()


def _wait(cluster: Descriptor, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise RaySystemError(
            f"the head of {cluster.name} was not replaced within {_ALL_S:g} s; its cluster.log says how far "
            "it is."
        )
    time.sleep(_POLL_S)
