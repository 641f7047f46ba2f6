"""Which nodes a cluster may have: types, how many of each, and how fast that may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TYPE_LABEL = "ray.io/node-group"
"""The label of a node that names its type."""

_NAMES = {"resources", "labels", "min_workers", "max_workers", "idle_timeout_s", "node_config"}


@dataclass(frozen=True)
class NodeType:
    """Nodes that are alike.

    Parameters
    ----------
    resources
        What one offers.
    min_workers, max_workers
        How many there are at least and at most.
    labels
        For label selectors.
    idle_timeout_s
        So long one may do nothing; None: what the cluster says.
    node_config
        For the launcher: how one is had.
    """

    name: str
    resources: Mapping[str, float]
    min_workers: int = 0
    max_workers: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    idle_timeout_s: float | None = None
    node_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels its nodes will have."""
        return {**self.labels, TYPE_LABEL: self.name}


@dataclass(frozen=True)
class ScalingSettings:
    """What a cluster may grow to.

    Parameters
    ----------
    types
        Of its worker nodes. The head's node is none of them.
    max_workers
        Nodes at most, of all types together.
    idle_timeout_s
        So long a node may do nothing before it is given back.
    upscaling_speed
        How many nodes may be starting at once, as a multiple of those there are; five in any case.
    launch_timeout_s
        So long a node may take to join before it is given up, and another one is tried.
    barred
        Types of which none can be had at the moment.
    """

    types: tuple[NodeType, ...]
    max_workers: int
    idle_timeout_s: float = 60.0
    upscaling_speed: float = 1.0
    launch_timeout_s: float = 600.0
    barred: frozenset[str] = frozenset()

    def type(self, name: str) -> NodeType | None:
        """The type of this name."""
        return next((each for each in self.types if each.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for :meth:`from_dict`."""
        return {
            "types": [
                {
                    **asdict(each),
                    "resources": dict(each.resources),
                    "labels": dict(each.labels),
                    "node_config": dict(each.node_config),
                }
                for each in self.types
            ],
            "max_workers": self.max_workers,
            "idle_timeout_s": self.idle_timeout_s,
            "upscaling_speed": self.upscaling_speed,
            "launch_timeout_s": self.launch_timeout_s,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ScalingSettings:
        """The settings that :meth:`to_dict` gave."""
        types = tuple(NodeType(**each) for each in data["types"])
        return cls(**{**data, "types": types})


def node_types(
    declared: Mapping[str, Mapping[str, Any]], head_type: str | None = None
) -> tuple[NodeType, ...]:
    """Types as Ray's ``available_node_types`` declares them, without that of the head.

    Raises
    ------
    ValueError
        A type has no resources, more nodes at least than at most, or a key that is none.
    """
    types = []
    for name, given in declared.items():
        if name == head_type:
            continue
        where = f"node type {name!r}"
        unknown = sorted(set(given) - _NAMES - {"docker", "worker_setup_commands"})
        if unknown:
            raise ValueError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(sorted(_NAMES))}.")
        resources = given.get("resources")
        if not resources:
            raise ValueError(
                f"{where} does not say what its nodes offer: add resources, such as {{'CPU': 4}}."
            )
        least, most = int(given.get("min_workers", 0)), int(given.get("max_workers", 0))
        if not 0 <= least <= most:
            raise ValueError(f"{where} wants at least {least} and at most {most} nodes: nothing is both.")
        for key, amount in resources.items():
            if not isinstance(amount, (int, float)) or not math.isfinite(amount) or amount < 0:
                raise ValueError(f"{where} offers {amount!r} of {key}: write a number, 0 or more.")
        idle = given.get("idle_timeout_s")
        types.append(
            NodeType(
                name,
                dict(resources),
                least,
                most,
                dict(given.get("labels") or {}),
                float(idle) if idle is not None else None,
                dict(given.get("node_config") or {}),
            )
        )
    return tuple(types)


def alike(
    nodes: tuple[int, int], resources: Mapping[str, float], labels: Mapping[str, str]
) -> ScalingSettings:
    """Settings for a cluster of nodes that are all as the first one.

    Parameters
    ----------
    nodes
        How many at least and at most, the first one included.

    Raises
    ------
    ValueError
        There is no such number of nodes.
    """
    least, most = nodes
    if not 0 <= least <= most or most < 1:
        raise ValueError(
            f"adaptive=({least}, {most}): give the least and the most number of nodes, as (1, 8)."
        )
    kind = NodeType("node", dict(resources), max(0, least - 1), most - 1, dict(labels))
    return ScalingSettings((kind,), most - 1)
