"""The contract of all launchers."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from rayjup.cluster.scaling.settings import NodeType

logger = logging.getLogger(__name__)

_AT_ONCE = 8
State = Literal["pending", "running", "ended"]


@dataclass(frozen=True)
class Instance:
    """What a back-end says of a node that was asked for.

    Parameters
    ----------
    name
        Of the node.
    state
        ``pending``: not there yet. ``running``: its program was started (it may not have joined yet).
    place
        Where it runs, or what the back-end calls it: a host, the number of a job.
    why
        Why it has ended or does not start, as far as that is known.
    """

    name: str
    state: State
    place: str = ""
    why: str = ""


class Launcher(ABC):
    """Asks a back-end for nodes and gives them back.

    Methods may take long and are called from several threads at once.
    """

    @abstractmethod
    def start(self, kind: NodeType, name: str) -> None:
        """Ask for a node, which will join the cluster under this name. Returns before it has joined.

        Raises
        ------
        RaySystemError
            It cannot be had, and why.
        """

    @abstractmethod
    def stop(self, name: str) -> None:
        """Give a node back, whether it runs or is still waited for; nothing happens where there is none."""

    @abstractmethod
    def instances(self) -> dict[str, Instance]:
        """The nodes that were asked for and not given back, by name; ended ones for a while."""

    @abstractmethod
    def log(self, name: str) -> str:
        """The end of what a node (or what was to start it) has written; "" where nothing is known."""

    def close(self) -> None:
        """The cluster has ended: give everything back, also where some of it does not answer."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            ends = {name: pool.submit(self.stop, name) for name in self.instances()}
        for name, end in ends.items():
            error = end.exception()
            if error is not None:
                logger.error("the node %s could not be given back: %s", name, error)
