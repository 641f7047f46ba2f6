"""Whether the workers of a run fit into the cluster, and what is missing if they don't."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

OVERSUBSCRIBE = "RAYJUP_TRAIN_OVERSUBSCRIBE"


class DoesNotFitError(ValueError):
    """The cluster has less than the least number of workers needs."""


def capacity(nodes: Iterable[Mapping[str, float]], each: Mapping[str, float], most: int) -> int:
    """So many workers (``most`` at the most) fit on nodes with these resources.

    Examples
    --------
    >>> from rayjup.train.controller.fitting import capacity
    >>> capacity([{"CPU": 4.0}, {"CPU": 1.0}], {"CPU": 2.0}, 8)
    2
    """
    needed = {name: amount for name, amount in each.items() if amount > 0}
    if not needed:
        return most
    total = 0
    for node in nodes:
        total += int(min((node.get(name, 0.0) + 1e-9) // amount for name, amount in needed.items()))
        if total >= most:
            return most
    return total


def check(
    nodes: list[Mapping[str, float]], each: Mapping[str, float], least: int, extra: Mapping[str, float]
) -> None:
    """Raise a `DoesNotFitError` that names what is missing, unless ``least`` workers fit on empty nodes."""
    fits = capacity(nodes, each, least)
    if fits >= least:
        return
    wanted = {name: amount * least + extra.get(name, 0.0) for name, amount in each.items()}
    there: dict[str, float] = {}
    for node in nodes:
        for name, amount in node.items():
            there[name] = there.get(name, 0.0) + amount
    missing = [
        f"{name}: {amount:g} needed, {there.get(name, 0.0):g} in the cluster"
        for name, amount in wanted.items()
        if there.get(name, 0.0) < amount
    ]
    why = "; ".join(missing) or f"no node has room for more of {dict(each)} at once"
    raise DoesNotFitError(
        f"{least} workers with {_plain(each)} each don't fit, {fits} do ({why}). Take fewer workers "
        f"or smaller "
        f"resources_per_worker, start a larger cluster, or set {OVERSUBSCRIBE}=1 to let them share "
        f"what is there."
    )


def may_oversubscribe() -> bool:
    """Whether the user allows more workers than CPUs."""
    return os.environ.get(OVERSUBSCRIBE, "").lower() in ("1", "true", "yes")


def squeezed(nodes: list[Mapping[str, float]], each: Mapping[str, float], least: int) -> dict[str, float]:
    """Smaller resources for each worker, with which ``least`` workers fit: CPUs are shared, and nothing else.

    Examples
    --------
    >>> from rayjup.train.controller.fitting import squeezed
    >>> squeezed([{"CPU": 2.0}], {"CPU": 1.0}, 4)
    {'CPU': 0.5}
    """
    cpus = each.get("CPU", 0.0)
    while cpus > 1e-3:
        less: dict[str, float] = {**each, "CPU": cpus}
        if capacity(nodes, less, least) >= least:
            return less
        cpus /= 2
    check(nodes, {**each, "CPU": 0.0}, least, {})  # something else than CPUs is missing
    return {name: amount for name, amount in each.items() if name != "CPU"}


def totals(nodes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    """The resources of nodes that live, from what ``ray.nodes()`` gives."""
    return [node["Resources"] for node in nodes if node.get("Alive", True)]


def _plain(resources: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in resources.items()) + "}"
