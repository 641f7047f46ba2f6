"""Placement groups: resources that are reserved all at once (mirrors ``ray.util.placement_group``).

A group is a list of bundles, each a dictionary of resources that lie on one node. Tasks and actors
run in it by way of :class:`rayjup.util.scheduling_strategies.PlacementGroupSchedulingStrategy`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rayjup.base import checks
from rayjup.base.ids import JobID, PlacementGroupID
from rayjup.core import api, placement
from rayjup.core.runtime_context import get_runtime_context

if TYPE_CHECKING:
    from rayjup import ObjectRef

VALID_PLACEMENT_GROUP_STRATEGIES = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"}
_NODE_LABEL = "ray.io/node-id"
_EXAMPLE = 'For example: `[{"CPU": 1.0}, {"GPU": 1.0}]`.'


class PlacementGroup:
    """A handle to a placement group; may be passed to tasks and actors.

    Made by :func:`placement_group`.
    """

    def __init__(self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle to no group."""
        return PlacementGroup(PlacementGroupID.nil())

    @property
    def is_empty(self) -> bool:
        """Whether this is the handle to no group."""
        return self.id.is_nil()

    def ready(self) -> ObjectRef:
        """A ref that resolves to this handle once all bundles are reserved.

        When the group is removed before, ``get`` raises TaskPlacementGroupRemoved.

        Examples
        --------
        >>> import rayjup as ray
        >>> group = ray.util.placement_group([{"CPU": 1}])
        >>> ray.get(group.ready()) == group
        True
        >>> ray.util.remove_placement_group(group)
        """
        if self.is_empty:
            return api.put(self)
        return placement.ready(self.id.binary(), self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until all bundles are reserved: False when they are not after so many seconds.

        Raises
        ------
        ValueError
            The group was removed.
        """
        return placement.wait(self.id.binary(), timeout_seconds)

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle holds."""
        if not self.bundle_cache:
            self.bundle_cache = [] if self.is_empty else placement.bundles(self.id.binary())
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles there are."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Reserve several bundles of resources, all or none; returns at once.

    Parameters
    ----------
    bundles
        What each bundle holds, such as ``{"CPU": 2, "GPU": 1}``; a bundle lies on one node.
    strategy
        ``"PACK"`` (default): on as few nodes as possible. ``"SPREAD"``: on as many as possible.
        ``"STRICT_PACK"``: on one node, or not at all. ``"STRICT_SPREAD"``: each on a node of its
        own, or not at all.
    name
        For :func:`get_placement_group`, in the namespace of this program.
    lifetime
        None: the group ends with the job (or the detached actor) that made it. ``"detached"``: it
        ends when it is removed.
    bundle_label_selector
        For each bundle the conditions on the labels of its node, as in the option ``label_selector``.
    topology_strategy
        ``{"ray.io/node-id": strategy}`` says the same as ``strategy``.

    Returns
    -------
    PlacementGroup

    Raises
    ------
    ValueError
        Wrong bundles, strategies or lifetimes.
    RaySystemError
        The name is taken.

    Examples
    --------
    >>> import rayjup as ray
    >>> group = ray.util.placement_group([{"CPU": 1}], strategy="PACK")
    >>> group.wait(10)
    True
    >>> ray.util.remove_placement_group(group)
    """
    node_strategy = _node_strategy(strategy, topology_strategy)
    _check_bundles(bundles)
    labels = _check_labels(bundles, bundle_label_selector)
    if lifetime not in (None, "detached"):
        raise ValueError(
            f"Placement group `lifetime` argument must be either `None` or 'detached'. Got {lifetime}."
        )
    if _soft_target_node_id and node_strategy != "STRICT_PACK":
        raise ValueError(
            f"_soft_target_node_id currently only works with STRICT_PACK but got {node_strategy}"
        )
    exact = [{key: float(amount) for key, amount in bundle.items()} for bundle in bundles]
    job_id = JobID.from_hex(get_runtime_context().get_job_id())
    group_id = PlacementGroupID.of(job_id)
    placement.create(
        group_id.binary(),
        [{key: amount for key, amount in bundle.items() if amount} for bundle in exact],
        node_strategy,
        name=name or "",
        detached=lifetime == "detached",
        labels=labels,
        preferred_node=_soft_target_node_id,
    )
    return PlacementGroup(group_id, exact)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give the group's resources back. Actors and tasks in it end; what waits for it fails.

    Returns at once; removing a group twice does nothing.
    """
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(
            f"remove_placement_group() takes a PlacementGroup, not {type(placement_group).__name__}: "
            "get_placement_group(name) gives one."
        )
    placement.remove(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The placement group of this name, in the namespace of this program.

    Raises
    ------
    ValueError
        There is none.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    row = placement.named(placement_group_name)
    return PlacementGroup(
        PlacementGroupID(bytes.fromhex(row["placement_group_id"])), list(row["bundles"].values())
    )


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """What the cluster knows of one group, or (None) of each by its hexadecimal id.

    ``"state"`` is PENDING, CREATED, RESCHEDULING (a node with bundles of it is gone) or REMOVED.
    """
    return placement.table(placement_group.id.binary() if placement_group is not None else None)


def get_current_placement_group() -> PlacementGroup | None:
    """The placement group in which the calling task or actor runs; None outside of groups.

    Examples
    --------
    >>> import rayjup as ray
    >>> ray.util.get_current_placement_group() is None
    True
    """
    group_id = get_runtime_context().get_placement_group_id()
    return PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))) if group_id is not None else None


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Raise ValueError unless the group has a bundle of this index (-1: any)."""
    if placement_group.is_empty:
        if bundle_index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
    elif not -1 <= bundle_index < placement_group.bundle_count:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. Valid placement group indexes: "
            f"0-{placement_group.bundle_count - 1}, or -1 for any."
        )


def _node_strategy(strategy: str | None, topology: dict[str, str] | None) -> str:
    if topology is not None:
        if strategy is not None:
            raise ValueError(
                "`strategy` and `topology_strategy` cannot both be specified. "
                f"Pass node-level packing via `topology_strategy['{_NODE_LABEL}']`."
            )
        if not isinstance(topology, dict) or not topology:
            raise ValueError(f"`topology_strategy` must be a non-empty dictionary, got {topology!r}.")
        others = sorted(set(topology) - {_NODE_LABEL})
        if others:
            raise ValueError(
                f"`topology_strategy` names the labels {', '.join(others)}: rayjup knows no topology above "
                f"nodes. Use {{{_NODE_LABEL!r}: strategy}}, or bundle_label_selector to choose nodes."
            )
        strategy = topology[_NODE_LABEL]
    strategy = "PACK" if strategy is None else strategy
    if strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}. "
            f"Supported strategies are: {', '.join(sorted(VALID_PLACEMENT_GROUP_STRATEGIES))}."
        )
    return strategy


def _check_bundles(bundles: Any) -> None:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError(
            f"Bundles must be a non-empty list of resource dictionaries. {_EXAMPLE} Got empty list instead."
        )
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
            isinstance(name, str) and isinstance(amount, (int, float)) for name, amount in bundle.items()
        ):
            raise ValueError(
                f"Bundles must be a non-empty list of resource dictionaries. {_EXAMPLE} Got {bundle!r}."
            )
        if not any(bundle.values()):
            raise ValueError(
                f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundles: {bundles}"
            )
        for name, amount in bundle.items():
            checks.quantity(f"bundles[{name!r}]", amount)


def _check_labels(
    bundles: list[dict[str, float]], selectors: list[dict[str, str]] | None
) -> list[dict[str, str]]:
    if selectors is None:
        return []
    if not isinstance(selectors, list) or len(selectors) != len(bundles):
        raise ValueError(
            f"Invalid bundle label selector {selectors}. It must be a list with one label selector "
            f"(which may be empty) for each of the {len(bundles)} bundles."
        )
    for selector in selectors:
        try:
            checks.label_selector("bundle_label_selector", selector)
        except TypeError as error:
            raise ValueError(str(error)) from error
    return selectors if any(selectors) else []


class _Module(ModuleType):
    """This module and its function share the name ``rayjup.util.placement_group``.

    Python puts the module there when it is first imported, so the module can be called as well.
    """

    __call__ = staticmethod(placement_group)


sys.modules[__name__].__class__ = _Module
