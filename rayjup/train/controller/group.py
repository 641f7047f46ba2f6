"""The workers of a run: one actor per rank, in a placement group."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import rayjup
from rayjup.exceptions import RayActorError, RayError
from rayjup.runs import session
from rayjup.train.controller import fitting
from rayjup.train.worker.actor import RayTrainWorker
from rayjup.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from rayjup.util.scheduling_strategies import PlacementGroupSchedulingStrategy

log = logging.getLogger("rayjup.train")
_CONCURRENCY = 8  # polls, releases and questions while one of them waits
_PATIENCE_S = 10.0
_STOP_S = 5.0


@dataclass(frozen=True)
class GroupSpec:
    """What every group of a run is made of."""

    resources: Mapping[str, float]
    strategy: str = "PACK"
    labels: Any = None
    runtime_env: Any = None
    trainer_resources: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Worker:
    """One worker, as who leads it sees it."""

    actor: Any
    info: dict[str, Any]
    world_rank: int = 0
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0

    @property
    def where(self) -> str:
        """Node and process, for messages."""
        return f"{self.info['hostname']} ({self.info['node_ip']}, pid {self.info['pid']})"


class WorkerGroup:
    """Workers by rank. Made by `start_group`."""

    def __init__(self, workers: list[Worker], group: PlacementGroup | None) -> None:
        self.workers = workers
        self._placement = group

    def __len__(self) -> int:
        return len(self.workers)

    @property
    def num_workers(self) -> int:
        """Number of workers."""
        return len(self.workers)

    def execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function on all workers; what they return, by rank."""
        return rayjup.get(self.execute_async(function, *args, **kwargs))

    def execute_async(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Call a function on all workers; refs, by rank."""
        return [worker.actor.execute.remote(function, *args, **kwargs) for worker in self.workers]

    def execute_single(self, rank: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function on one worker."""
        return rayjup.get(self.execute_single_async(rank, function, *args, **kwargs))

    def execute_single_async(self, rank: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function on one worker; a ref."""
        return self.workers[rank].actor.execute.remote(function, *args, **kwargs)

    def stop(self, clean: bool) -> None:
        """End all workers; the placement group goes with them."""
        if not clean:
            self._ask_to_stop()
        for worker in self.workers:
            rayjup.kill(worker.actor)
        if self._placement is not None:
            remove_placement_group(self._placement)
            self._placement = None
        _await_ends([worker.actor for worker in self.workers])

    def _ask_to_stop(self) -> None:
        """A moment for functions that are at a report, so that what they clean up is cleaned up."""
        refs = [worker.actor.stop.remote(0.5) for worker in self.workers]
        rayjup.wait(refs, num_returns=len(refs), timeout=2.0)


def _await_ends(actors: list[Any]) -> None:
    """Wait until the processes have ended: their ports, files and memory are needed by who comes next."""
    refs = [actor.info.remote() for actor in actors]
    deadline = time.monotonic() + _STOP_S
    for ref in refs:
        try:
            rayjup.get(ref, timeout=max(0.0, deadline - time.monotonic()))
        except RayError:  # it has ended, or takes long to end
            continue


def start_group(spec: GroupSpec, least: int, most: int, say: Callable[[str], None]) -> WorkerGroup:
    """Bring up as many workers as fit, within the bounds; wait for room where others have it.

    Raises
    ------
    DoesNotFitError
        The cluster is too small.
    """
    inside = _bundles_of_trial(least)
    if inside is not None:
        group, indices, own = inside[0], inside[1][:most], False
        resources = dict(spec.resources)
    else:
        resources, size = _size(spec, least, most)
        group = placement_group(
            [dict(resources) or {"CPU": 0.001} for _ in range(size)],
            strategy=spec.strategy,
            bundle_label_selector=_labels(spec.labels, size),
        )
        indices, own = list(range(size)), True
    try:
        if own:
            _await_room(group, resources, len(indices), say)
        return _start_workers(spec, resources, group, indices, own)
    except BaseException:
        if own:
            remove_placement_group(group)
        raise


def _size(spec: GroupSpec, least: int, most: int) -> tuple[dict[str, float], int]:
    nodes = fitting.totals(rayjup.nodes())
    resources = dict(spec.resources)
    try:
        fitting.check(nodes, resources, least, spec.trainer_resources)
    except fitting.DoesNotFitError:
        if not fitting.may_oversubscribe():
            raise
        resources = fitting.squeezed(nodes, resources, least)
        log.warning(
            "%d workers share the CPUs of a cluster that has too few: each has %g instead of %g",
            least,
            resources.get("CPU", 0.0),
            spec.resources.get("CPU", 0.0),
        )
    if least == most:
        return resources, most
    free = fitting.capacity(free_resources(), resources, most)
    return resources, max(least, free)


def free_resources() -> list[Mapping[str, float]]:
    """What is free now, as one node where the cluster doesn't tell them apart."""
    return [rayjup.available_resources()]


def _labels(labels: Any, size: int) -> list[dict[str, str]] | None:
    if labels is None:
        return None
    return [dict(labels)] * size if isinstance(labels, Mapping) else [dict(one) for one in labels]


def _bundles_of_trial(least: int) -> tuple[PlacementGroup, list[int]] | None:
    """The bundles that a Tune trial has reserved for its workers, if this is one."""
    group = get_current_placement_group()
    if group is None:
        return None
    bundles = placement_group_table(group).get("bundles") or {}
    trial = session.current()
    reserved = trial.trial_resources if trial is not None else None
    # The first bundle is the trial's own, unless that needs nothing.
    own = 0 if getattr(reserved, "head_bundle_is_empty", False) else 1
    if len(bundles) - own < least:
        return None
    return group, list(range(own, len(bundles)))


def _await_room(
    group: PlacementGroup, resources: Mapping[str, float], size: int, say: Callable[[str], None]
) -> None:
    asked = time.monotonic()
    if group.wait(_PATIENCE_S):
        return
    while True:
        waited = time.monotonic() - asked
        say(
            f"waiting for room for {size} workers with {dict(resources)} each for {waited:.0f} s; "
            f"free in the cluster: {rayjup.available_resources()}"
        )
        if group.wait(30):
            return


def _start_workers(
    spec: GroupSpec, resources: Mapping[str, float], group: PlacementGroup, indices: list[int], own: bool
) -> WorkerGroup:
    rest = {k: v for k, v in resources.items() if k not in ("CPU", "GPU", "memory")}
    options: dict[str, Any] = {
        "num_cpus": resources.get("CPU", 0.0),
        "num_gpus": resources.get("GPU", 0.0),
        "max_concurrency": _CONCURRENCY,
        "max_restarts": 0,
    }
    if rest:
        options["resources"] = rest
    if resources.get("memory"):
        options["memory"] = resources["memory"]
    if spec.runtime_env is not None:
        options["runtime_env"] = spec.runtime_env
    remote = rayjup.remote(RayTrainWorker)
    actors = [
        remote.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, index), **options).remote()
        for index in indices
    ]
    try:
        infos = rayjup.get([actor.info.remote() for actor in actors])
    except BaseException:
        for actor in actors:
            rayjup.kill(actor)
        raise
    workers = [Worker(actor, info) for actor, info in zip(actors, infos, strict=True)]
    return WorkerGroup(ranked(workers), group if own else None)


def ranked(workers: list[Worker]) -> list[Worker]:
    """Give ranks: workers of a node get neighbouring ones, in the order of their GPUs."""
    order: dict[str, int] = {}
    for worker in workers:
        order.setdefault(worker.info["node_id"], len(order))

    def first_gpu(worker: Worker) -> int:
        ids = [int(i) for i in worker.info["accelerators"].get("GPU", ()) if str(i).isdigit()]
        return min(ids, default=0)

    placed = sorted(workers, key=lambda worker: (order[worker.info["node_id"]], first_gpu(worker)))
    by_node: dict[str, list[Worker]] = {}
    for rank, worker in enumerate(placed):
        mates = by_node.setdefault(worker.info["node_id"], [])
        worker.world_rank = rank
        worker.local_rank = len(mates)
        worker.node_rank = order[worker.info["node_id"]]
        mates.append(worker)
    for mates in by_node.values():
        for worker in mates:
            worker.local_world_size = len(mates)
    return placed


def died(error: BaseException) -> bool:
    """Whether a call failed because the worker's process has ended."""
    return isinstance(error, RayActorError)
