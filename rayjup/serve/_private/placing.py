"""Where replicas run: their actors, placement groups, and the actors that a deployment's replicas share."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.serve import context as contexts
from rayjup.serve._private.common import NAMESPACE, DeploymentID, ReplicaID
from rayjup.serve._private.packing import loads
from rayjup.util.placement_group import placement_group, remove_placement_group
from rayjup.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

if TYPE_CHECKING:
    from rayjup.serve._private.records import Deployment

_PASSED_ON = (
    "num_cpus",
    "num_gpus",
    "memory",
    "resources",
    "runtime_env",
    "accelerator_type",
    "label_selector",
)
_NODES_S = 0.5
_MANY = 1_000_000  # calls at once: what limits them is the replica's own account


def resources_of(config: dict[str, Any]) -> dict[str, float]:
    """What one replica asks of the cluster."""
    options = config.get("ray_actor_options") or {}
    wanted = {"CPU": float(options.get("num_cpus", 1) or 0), "GPU": float(options.get("num_gpus", 0) or 0)}
    wanted.update({k: float(v) for k, v in (options.get("resources") or {}).items()})
    for bundle in config.get("placement_group_bundles") or ():
        for name, amount in bundle.items():
            wanted[name] = max(wanted.get(name, 0.0), float(amount))
    return {name: amount for name, amount in wanted.items() if amount}


def what_is_missing(id: DeploymentID, wanted: dict[str, float]) -> str:
    """What the cluster has too little of for one more replica, for users; empty where it has enough."""
    free = rayjup.available_resources()
    short = [name for name, amount in wanted.items() if free.get(name, 0.0) < amount]
    if not short:
        return ""
    total = rayjup.cluster_resources()
    needs = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    lacks = ", ".join(f"{name}: {free.get(name, 0.0):g} of {total.get(name, 0.0):g} free" for name in short)
    never = [name for name in short if total.get(name, 0.0) < wanted[name]]
    step = (
        "Add a node that has them, or ask for less"
        if never
        else "Wait until others give them back, end something (serve.delete), or ask for less"
    )
    return (
        f"deployment {id.name!r} of application {id.app_name!r} waits for resources: each replica needs "
        f"{needs}, but the cluster has {lacks}. {step} "
        "(ray_actor_options={'num_cpus': …} of the deployment)."
    )


def not_placed(id: DeploymentID, wanted: dict[str, float], seconds: float) -> str:
    """Why a replica may have found no place, where nothing is short."""
    needs = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    return (
        f"deployment {id.name!r} of application {id.app_name!r} has a replica without a place for "
        f"{seconds:g} s: either no single node has {needs or 'room'} free, or its runtime environment is "
        "still being made. `rayjup status` shows the nodes."
    )


def find(id: ReplicaID) -> Any:
    """A replica's actor; None when it is gone."""
    try:
        return rayjup.get_actor(id.to_full_id_str(), namespace=NAMESPACE)
    except ValueError:
        return None


class Placing:
    """Makes actors for the controller, and remembers what goes with them."""

    def __init__(self) -> None:
        self.groups: dict[str, Any] = {}
        self.nodes: dict[str, str] = {}  # replica -> node, where their number per node is limited
        self.shared: dict[tuple[DeploymentID, str], dict[str, Any]] = {}
        self._making: dict[tuple[DeploymentID, str], asyncio.Task[None]] = {}

    async def make_replica(self, id: ReplicaID, spec: dict[str, Any], deployment: Deployment) -> Any:
        """The actor of a replica; waits for the cluster to have room for it."""
        from rayjup.serve._private.replica import Replica  # not needed before something is served

        config = deployment.config
        given = config.get("ray_actor_options") or {}
        options = {name: given[name] for name in _PASSED_ON if given.get(name) is not None}
        options.setdefault("num_cpus", 1)
        bundles = config.get("placement_group_bundles")
        most = config.get("max_replicas_per_node")
        if bundles:
            group = placement_group(
                bundles,
                strategy=config.get("placement_group_strategy") or "PACK",
                name=id.to_full_id_str(),
                lifetime="detached",
            )
            self.groups[id.unique_id] = group
            await group.ready()
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
            )
        elif most:
            node = await self._node_with_room(id, deployment, most)
            self.nodes[id.unique_id] = node
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
        else:
            options["scheduling_strategy"] = "SPREAD"
        actor = (
            rayjup.remote(Replica)
            .options(
                name=id.to_full_id_str(),
                namespace=NAMESPACE,
                lifetime="detached",
                max_concurrency=_MANY,
                **options,
            )
            .remote(spec)
        )
        await actor.__ray_ready__.remote()
        return actor

    async def _node_with_room(self, id: ReplicaID, deployment: Deployment, most: int) -> str:
        while True:
            taken = Counter(self.nodes[r] for r in deployment.replicas if r in self.nodes)
            nodes = [n["NodeID"] for n in rayjup.nodes() if n["Alive"]]
            free = [n for n in nodes if taken[n] < most]
            if free:
                return min(free, key=lambda n: taken[n])
            if id.unique_id not in deployment.replicas:
                raise RuntimeError(f"replica {id.unique_id} is not wanted any more")
            deployment.message = deployment.message or (
                f"max_replicas_per_node of deployment {id.deployment_id.name!r} is {most}, and each of the "
                f"{len(nodes)} nodes has that many replicas: it waits for another node."
            )
            await asyncio.sleep(_NODES_S)

    def release(self, replica: str) -> None:
        """A replica is gone: so is its placement group."""
        self.nodes.pop(replica, None)
        group = self.groups.pop(replica, None)
        if group is not None:
            remove_placement_group(group)

    # -- actors that all replicas of a deployment share

    async def ready_actors(self, deployment: Deployment, code: str, controller: Any) -> None:
        """See that the deployment's shared actors are there."""
        packed = deployment.config.get("deployment_actors")
        if not packed:
            return
        key = (deployment.id, code)
        task = self._making.get(key)
        if task is None or task.done():
            task = self._making[key] = controller.spawn(self._make_shared(key, packed))
        await task

    async def _make_shared(self, key: tuple[DeploymentID, str], packed: bytes) -> None:
        id, code = key
        known = self.shared.setdefault(key, {})
        for one in loads(packed):
            name = one["name"]
            actor = known.get(name)
            if actor is not None:
                try:
                    await actor.__ray_ready__.remote()
                    continue
                except rayjup.exceptions.RayActorError:
                    pass  # made anew
            actor = (
                rayjup.remote(one["class"])
                .options(
                    name=shared_name(id, code, name),
                    namespace=NAMESPACE,
                    lifetime="detached",
                    **{"num_cpus": 0, **one["options"]},
                )
                .remote(*one["args"], **one["kwargs"])
            )
            context = contexts.DeploymentActorContext(id, name, code)
            await actor.__ray_call__.remote(_tell, context)
            known[name] = actor

    def forget(self, id: DeploymentID) -> None:
        """A deployment is gone: so are its actors."""
        for key in [k for k in self.shared if k[0] == id]:
            for actor in self.shared.pop(key).values():
                rayjup.kill(actor)


def shared_name(id: DeploymentID, code: str, name: str) -> str:
    """The name of an actor that a deployment's replicas share."""
    return f"SERVE_DEPLOYMENT_ACTOR::{id.app_name}#{id.name}#{code}#{name}"


def _tell(instance: Any, context: contexts.DeploymentActorContext) -> None:
    contexts.set_deployment_actor(context)
