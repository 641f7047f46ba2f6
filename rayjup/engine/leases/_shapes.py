"""What is asked for: the shape of a lease and where it may lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Conditions = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Default:
    """Near the data, then near the client, while those are not busy; else the least utilized node."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The node with the fewest leases."""


@dataclass(frozen=True, slots=True)
class NodeAffinity:
    """This node; with ``soft``, another one if it is gone or can never serve the request."""

    node_id: str
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Labels:
    """Nodes whose labels meet all ``hard`` conditions, preferably the ``soft`` ones too.

    Where no such node has room now, those that meet one of ``fallbacks``, in that order.

    A condition is a pair of key and ``"v"``, ``"!v"``, ``"in(a,b)"``, ``"!in(a,b)"``, ``"*"`` (the
    label exists) or ``"!*"`` (it does not). A missing label meets the conditions with ``!``.
    """

    hard: Conditions = ()
    soft: Conditions = ()
    fallbacks: tuple[Conditions, ...] = ()

    @classmethod
    def of(cls, hard: Mapping[str, str] | None = None, soft: Mapping[str, str] | None = None) -> Labels:
        """The strategy for conditions given as dictionaries."""
        return cls(tuple(sorted((hard or {}).items())), tuple(sorted((soft or {}).items())))


Strategy = Default | Spread | NodeAffinity | Labels


@dataclass(frozen=True, slots=True)
class Shape:
    """Leases of one shape can stand in for each other.

    Parameters
    ----------
    resources
        Pairs of name and amount, sorted by name.
    env
        Key of the runtime environment: part of the shape, of no meaning here.
    kind
        Leases of tasks come back when idle; those of actors end with the actor.
    group, bundle
        Draw from a bundle of a placement group; bundle -1 is any of them.
    """

    resources: tuple[tuple[str, float], ...]
    strategy: Strategy = Default()
    env: str = ""
    kind: Literal["task", "actor"] = "task"
    group: bytes | None = None
    bundle: int = -1

    @classmethod
    def of(
        cls,
        resources: Mapping[str, float],
        strategy: Strategy | None = None,
        *,
        env: str = "",
        kind: Literal["task", "actor"] = "task",
        group: bytes | None = None,
        bundle: int = -1,
    ) -> Shape:
        """The shape for a dictionary of resources; amounts of 0 are left out."""
        pairs = tuple(sorted((name, float(amount)) for name, amount in resources.items() if amount))
        return cls(pairs, strategy or Default(), env, kind, group, bundle)


def matches(labels: Mapping[str, str], conditions: Conditions) -> bool:
    """Whether the labels of a node meet all conditions."""
    return all(_meets(labels.get(key), condition) for key, condition in conditions)


def _meets(value: str | None, condition: str) -> bool:
    if condition.startswith("!"):
        return not _meets(value, condition[1:])
    if condition == "*":
        return value is not None
    if condition.startswith("in(") and condition.endswith(")"):
        return value in [choice.strip() for choice in condition[3:-1].split(",")]
    return value == condition
