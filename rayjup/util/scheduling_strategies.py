"""Where tasks and actors are to run (mirrors ``ray.util.scheduling_strategies``).

The objects are given as the option ``scheduling_strategy``.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.util.placement_group import PlacementGroup

_NODE_ID_DIGITS = 56


class PlacementGroupSchedulingStrategy:
    """Run in a bundle of a placement group.

    Parameters
    ----------
    placement_group
        The group.
    placement_group_bundle_index
        Which of its bundles; -1 is any.
    placement_group_capture_child_tasks
        Whether tasks and actors started from there run in the group as well.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __repr__(self) -> str:
        return (
            f"PlacementGroupSchedulingStrategy({self.placement_group!r}, "
            f"placement_group_bundle_index={self.placement_group_bundle_index})"
        )


class NodeAffinitySchedulingStrategy:
    """Run on one node.

    Parameters
    ----------
    node_id
        Id of the node, hexadecimal, as in :func:`rayjup.nodes`.
    soft
        Whether another node will do when that one is gone or can't run it.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        if not isinstance(node_id, str):
            node_id = node_id.hex()
        if len(node_id) != _NODE_ID_DIGITS or not set(node_id) <= set(string.hexdigits):
            raise ValueError(
                f"Invalid node_id {node_id!r}. Node ID must be a valid hex string of {_NODE_ID_DIGITS} "
                "digits; ray.nodes() lists the nodes with their ids."
            )
        if _spill_on_unavailable and not soft:
            raise ValueError(
                "_spill_on_unavailable cannot be set when soft is False: "
                "a hard affinity never leaves its node."
            )
        if _fail_on_unavailable and soft:
            raise ValueError(
                "_fail_on_unavailable cannot be set when soft is True: "
                "a soft affinity falls back to other nodes."
            )
        self.node_id = node_id
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy({self.node_id!r}, soft={self.soft})"


class _Operator:
    """A condition on the value of one label."""

    values: tuple[str, ...] = ()

    def matches(self, value: str | None) -> bool:
        """Whether a node whose label has this value (None: has no such label) meets the condition."""
        raise TypeError(f"{type(self).__name__} is no condition: use In, NotIn, Exists or DoesNotExist")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and getattr(other, "values", None) == self.values

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


def _checked(values: tuple[Any, ...], operator: str) -> tuple[str, ...]:
    if not values:
        raise ValueError(
            f"The variadic parameter of the {operator} operator must be a non-empty tuple: "
            f'e.g. {operator}("value1", "value2").'
        )
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"Type of value in position {position} for the {operator} operator must be str "
                f'(e.g. {operator}("value1", "value2")) but got {value!r} of type {type(value)}.'
            )
    return values


class In(_Operator):
    """The label is there and has one of the values."""

    def __init__(self, *values: str) -> None:
        self.values = _checked(values, "In")

    def matches(self, value: str | None) -> bool:
        """Whether ``value`` is one of those."""
        return value in self.values


class NotIn(_Operator):
    """The label has none of the values, or is not there."""

    def __init__(self, *values: str) -> None:
        self.values = _checked(values, "NotIn")

    def matches(self, value: str | None) -> bool:
        """Whether ``value`` is none of those."""
        return value not in self.values


class Exists(_Operator):
    """The label is there."""

    def matches(self, value: str | None) -> bool:
        """Whether there is a value."""
        return value is not None


class DoesNotExist(_Operator):
    """The label is not there."""

    def matches(self, value: str | None) -> bool:
        """Whether there is no value."""
        return value is None


LabelOperator = In | NotIn | Exists | DoesNotExist
LabelMatchExpressionsT = dict[str, LabelOperator]


class NodeLabelSchedulingStrategy:
    """Run on a node whose labels meet conditions.

    Parameters
    ----------
    hard
        Conditions by label that a node must meet.
    soft
        Conditions by label that are preferred among the nodes that meet ``hard``.

    Examples
    --------
    >>> from rayjup.util.scheduling_strategies import In, NodeLabelSchedulingStrategy
    >>> NodeLabelSchedulingStrategy({"region": In("eu", "us")}).matches({"region": "eu"})
    True
    """

    def __init__(self, hard: LabelMatchExpressionsT, *, soft: LabelMatchExpressionsT | None = None) -> None:
        if not hard and not soft:
            raise ValueError(
                "The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty."
            )
        self.hard = _conditions(hard, "hard")
        self.soft = _conditions(soft, "soft")

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether a node with these labels meets all hard conditions."""
        return all(operator.matches(labels.get(key)) for key, operator in self.hard.items())

    def prefers(self, labels: dict[str, str]) -> bool:
        """Whether a node with these labels meets all soft conditions."""
        return all(operator.matches(labels.get(key)) for key, operator in self.soft.items())

    def __repr__(self) -> str:
        return f"NodeLabelSchedulingStrategy(hard={self.hard}, soft={self.soft})"


def _conditions(given: Any, parameter: str) -> LabelMatchExpressionsT:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(
            f'The {parameter} parameter must be a map (e.g. {{"key1": In("value1")}}) '
            f"but got type {type(given)}."
        )
    for key, operator in given.items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {parameter} parameter must be of type str "
                f'(e.g. {{"key1": In("value1")}}) '
                f"but got {key!r} of type {type(key)}."
            )
        if not isinstance(operator, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"The map value for key {key} of the {parameter} parameter must be one of the `In`, `NotIn`, "
                f'`Exists` or `DoesNotExist` operator (e.g. {{"key1": In("value1")}}) '
                f"but got {operator!r} of type {type(operator)}."
            )
    return dict(given)


SchedulingStrategyT = (
    None
    | str
    | PlacementGroupSchedulingStrategy
    | NodeAffinitySchedulingStrategy
    | NodeLabelSchedulingStrategy
)
