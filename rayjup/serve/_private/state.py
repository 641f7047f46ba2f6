"""What is to run, what runs, and what to do about the difference: pure, without clock or I/O.

Every method that tells of an event takes the time and returns the actions that follow. The same
code is driven by the controller and by property tests.

How a new version replaces an old one: replacements start beside the old replicas (at least one at a
time, as many as ``rolling_update_percentage`` and ``max_surge_percent`` allow), and an old replica
goes when a new one serves. Where the cluster has no room for one more, an old replica makes room.
"""

from __future__ import annotations

import math
from typing import Any

from rayjup.serve._private.common import (
    DeploymentID,
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaState,
    random_id,
)
from rayjup.serve._private.records import (
    Action,
    App,
    Check,
    Deployment,
    Forget,
    Kill,
    Publish,
    Reconfigure,
    Replica,
    Save,
    Start,
    Stop,
)

UNHEALTHY_AFTER = 3  # failed health checks in a row
FIRST_RETRIES = 3  # so often a constructor is tried per replica that is wanted, before the deployment fails
GIVE_UP_S = 1.0  # … and for no longer than this, or twice as long as the constructor took to fail,
GIVE_UP_LATER_S = 3.0  # … with so much more for one that is just running
KEPT_DEAD = 5
_STATUS = DeploymentStatus
_TRIGGER = DeploymentStatusTrigger


class State:
    """All applications of a cluster."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self.deployments: dict[DeploymentID, Deployment] = {}

    # -- what users want

    def deploy(
        self,
        now: float,
        app: str,
        route_prefix: str | None,
        ingress: str,
        deployments: list[dict[str, Any]],
        details: dict[str, Any] | None = None,
    ) -> list[Action]:
        """An application is to run from now on, in place of what had its name.

        Parameters
        ----------
        deployments
            Of each ``{"name", "code", "config"}``: the version of its code and its settings.

        Raises
        ------
        ValueError
            Another application has the route prefix.
        """
        if route_prefix is not None:
            for other in self.apps.values():
                if other.name != app and other.route_prefix == route_prefix and not other.deleting:
                    raise ValueError(
                        f"the route prefix {route_prefix!r} belongs to the application {other.name!r}: give "
                        f"{app!r} another one (serve.run(…, route_prefix=…)), or "
                        f"serve.delete({other.name!r})."
                    )
        self.apps[app] = App(app, route_prefix, ingress, now, details or {})
        actions: list[Action] = [Save(), Publish()]
        names = set()
        for wanted in deployments:
            id = DeploymentID(wanted["name"], app)
            names.add(id)
            self._want(now, id, wanted["code"], wanted["config"])
            actions += self._reconcile(now, self.deployments[id])
        for id, deployment in list(self.deployments.items()):
            if id.app_name == app and id not in names:
                actions += self._delete(now, deployment)
        self._judge(app)
        return actions

    def _want(self, now: float, id: DeploymentID, code: str, config: dict[str, Any]) -> None:
        target = config["num_replicas"]
        old = self.deployments.get(id)
        if old is None:
            self.deployments[id] = Deployment(id, config, code, target=target)
            return
        if old.code != code:
            old.failures, old.retry_at, old.failed, old.served = 0, now, False, False
        old.deleting = False
        if old.config.get("user_config") != config.get("user_config") or _soft(old.config) != _soft(config):
            old.revision += 1
        old.config, old.code, old.target = config, code, target
        old.status, old.trigger, old.message = _STATUS.UPDATING, _TRIGGER.CONFIG_UPDATE_STARTED, ""
        if old.failures:  # tried again because somebody asked for it
            old.failures, old.retry_at, old.failed = 0, now, False

    def delete(self, now: float, app: str) -> list[Action]:
        """An application is to end."""
        found = self.apps.get(app)
        if found is None:
            return []
        found.deleting = True
        actions: list[Action] = [Save(), Publish()]
        for deployment in [d for d in self.deployments.values() if d.id.app_name == app]:
            actions += self._delete(now, deployment)
        self._judge(app)
        return actions

    def scale(self, now: float, id: DeploymentID, target: int, by_load: bool = True) -> list[Action]:
        """Another number of replicas is wanted."""
        deployment = self.deployments.get(id)
        if deployment is None or deployment.deleting or deployment.target == target:
            return []
        deployment.status = _STATUS.UPSCALING if target > deployment.target else _STATUS.DOWNSCALING
        deployment.trigger = _TRIGGER.AUTOSCALING if by_load else _TRIGGER.CONFIG_UPDATE_STARTED
        deployment.target = target
        return [Save(), *self._reconcile(now, deployment)]

    # -- what becomes of replicas

    def constructing(self, id: DeploymentID, replica: str) -> None:
        """The process of a replica is there, and runs the constructor."""
        found = self._replica(id, replica)
        if found is not None:
            found.constructing = True

    def started(self, now: float, id: DeploymentID, replica: str, info: dict[str, Any]) -> list[Action]:
        """A replica is up: its constructor has returned."""
        found = self._replica(id, replica)
        if found is None or found.state not in (ReplicaState.STARTING, ReplicaState.RECOVERING):
            return []
        deployment = self.deployments[id]
        if found.state is ReplicaState.STARTING and found.code == deployment.code:
            deployment.failures, deployment.failed = 0, False  # also where it had been given up meanwhile
        found.state, found.constructing = ReplicaState.RUNNING, False
        found.ready = found.checked = now
        found.info = {**found.info, **info}
        found.no_room = False
        return [Publish(), Save(), *self._reconcile(now, deployment)]

    def start_failed(
        self, now: float, id: DeploymentID, replica: str, message: str, took_s: float = 0.0
    ) -> list[Action]:
        """A replica did not come up: its constructor raised after ``took_s``, or its process ended."""
        found = self._replica(id, replica)
        if found is None:
            return []
        deployment = self.deployments[id]
        self._gone(deployment, found, now, message)
        if found.code == deployment.code and found.live:
            deployment.failures += 1
            if deployment.failures == 1:
                deployment.give_up_at = now + max(GIVE_UP_S, 2 * took_s)
            deployment.message = message
            deployment.trigger = _TRIGGER.REPLICA_STARTUP_FAILED
            limit = min(
                deployment.config.get("max_constructor_retry_count", 20),
                FIRST_RETRIES * max(deployment.target, 1),
            )
            hopeless = deployment.failures >= limit or now >= deployment.give_up_at
            deployment.failed = hopeless and not deployment.served
            deployment.retry_at = now + min(0.1 * 2**deployment.failures, 30.0)
        return [
            Kill(id, replica),
            Save(),
            *self._gang_fails(now, deployment, found),
            *self._reconcile(now, deployment),
        ]

    def died(self, now: float, id: DeploymentID, replica: str, message: str) -> list[Action]:
        """The process of a replica has ended, wanted or not."""
        found = self._replica(id, replica)
        if found is None:
            return []
        if found.state is ReplicaState.STARTING:
            return self.start_failed(now, id, replica, message)
        deployment = self.deployments[id]
        self._gone(deployment, found, now, message)
        actions: list[Action] = [Publish(), Save()]
        if found.live:
            if deployment.status is _STATUS.HEALTHY:
                deployment.status, deployment.trigger = _STATUS.UNHEALTHY, _TRIGGER.HEALTH_CHECK_FAILED
                deployment.message = f"replica {replica} died: {message}"
            if (
                now - (found.ready or found.started) < 5.0
            ):  # soon after its start: not as fast as possible again
                deployment.failures += 1
                deployment.retry_at = now + min(0.1 * 2**deployment.failures, 30.0)
            actions += self._gang_fails(now, deployment, found)
        return [*actions, *self._reconcile(now, deployment)]

    def checked(self, now: float, id: DeploymentID, replica: str, problem: str | None) -> list[Action]:
        """A health check has ended: with ``None``, or with what is wrong."""
        found = self._replica(id, replica)
        if found is None or not found.live:
            return []
        found.checking, found.checked = False, now
        if problem is None:
            found.misses = 0
            return []
        found.misses += 1
        if found.misses < UNHEALTHY_AFTER:
            return []
        deployment = self.deployments[id]
        deployment.status, deployment.trigger = _STATUS.UNHEALTHY, _TRIGGER.HEALTH_CHECK_FAILED
        deployment.message = f"replica {replica} failed {found.misses} health checks: {problem}"
        actions = [*self._stop(deployment, found), *self._gang_fails(now, deployment, found)]
        return [*actions, *self._reconcile(now, deployment)]

    def reconfigured(
        self, now: float, id: DeploymentID, replica: str, revision: int, problem: str | None
    ) -> list[Action]:
        """A replica has taken its new settings, or has not."""
        found = self._replica(id, replica)
        if found is None or not found.live:
            return []
        found.reconfiguring = False
        deployment = self.deployments[id]
        if problem is None:
            found.revision = max(found.revision, revision)
            found.state = ReplicaState.RUNNING
            return [Publish(), Save(), *self._reconcile(now, deployment)]
        # What it is now nobody knows: another one, with the new settings from its start.
        deployment.message = problem
        deployment.failures += 1
        deployment.retry_at = now + min(0.1 * 2**deployment.failures, 30.0)
        deployment.failed = deployment.failures >= FIRST_RETRIES * max(deployment.target, 1)
        return [*self._stop(deployment, found), *self._reconcile(now, deployment)]

    def no_room(self, now: float, id: DeploymentID, replica: str, text: str = "") -> list[Action]:
        """The cluster has not got what a starting replica asks for; ``text`` says so to users."""
        found = self._replica(id, replica)
        if found is None or found.no_room or found.state is not ReplicaState.STARTING:
            return []
        deployment = self.deployments[id]
        if any(other.no_room for other in deployment.replicas.values()):
            text = deployment.message  # said already
        found.no_room = True
        deployment.message = text or "a replica waits for resources that are not free in the cluster."
        return self._reconcile(now, deployment)

    def not_placed(self, id: DeploymentID, replica: str, text: str) -> list[Action]:
        """A replica takes long to find a place, for another reason."""
        found = self._replica(id, replica)
        if found is not None and found.state is ReplicaState.STARTING:
            self.deployments[id].message = self.deployments[id].message or text
        return []

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        actions: list[Action] = []
        for deployment in list(self.deployments.values()):
            if deployment.failures and not deployment.served and now >= deployment.give_up_at:
                current = [r for r in deployment.replicas.values() if r.live and r.code == deployment.code]
                late = any(r.constructing for r in current) and now < deployment.give_up_at + GIVE_UP_LATER_S
                deployment.failed = deployment.failed or not (late or any(r.serving for r in current))
            actions += self._reconcile(now, deployment)
            period = deployment.config.get("health_check_period_s", 10.0)
            for replica in deployment.replicas.values():
                if replica.serving and not replica.checking and now - replica.checked >= period:
                    replica.checking = True
                    actions.append(Check(deployment.id, replica.id))
        return actions

    def recover(self) -> list[tuple[DeploymentID, str]]:
        """After a restart from the journal: the replicas that have to be looked for."""
        for deployment in self.deployments.values():
            for replica in deployment.replicas.values():
                replica.checking = replica.reconfiguring = False
                if replica.serving:
                    replica.state = ReplicaState.RECOVERING
        return [(d.id, r.id) for d in self.deployments.values() for r in d.replicas.values()]

    # -- what follows

    def _reconcile(self, now: float, deployment: Deployment) -> list[Action]:
        actions: list[Action] = []
        if deployment.deleting:
            for replica in list(deployment.replicas.values()):
                actions += self._stop(deployment, replica)
            if not deployment.replicas:
                del self.deployments[deployment.id]
                actions += [Forget(deployment.id, deployment.code), Save(), Publish()]
                self._judge(deployment.id.app_name)
            return actions
        live = [r for r in deployment.replicas.values() if r.live]
        current = [r for r in live if r.code == deployment.code]
        old = [r for r in live if r.code != deployment.code]
        actions += self._shrink(deployment, current)
        actions += self._retire(deployment, [r for r in current if r.live], old)
        actions += self._grow(now, deployment)
        for replica in deployment.replicas.values():
            behind = (
                replica.serving and replica.code == deployment.code and replica.revision < deployment.revision
            )
            if behind and not replica.reconfiguring:
                replica.reconfiguring = True
                replica.state = ReplicaState.UPDATING
                actions.append(Reconfigure(deployment.id, replica.id))
        self._describe(deployment)
        self._judge(deployment.id.app_name)
        return actions

    def _shrink(self, deployment: Deployment, current: list[Replica]) -> list[Action]:
        surplus = len(current) - deployment.target
        if surplus <= 0:
            return []
        # Those that do not serve yet go first, then the newest.
        order = sorted(current, key=lambda r: (r.serving, -(r.ready or r.started), r.id))
        size = _gang_size(deployment)
        if size > 1:
            chosen = {r.gang for r in order[:surplus]}
            order = [r for r in order if r.gang in chosen]
            surplus = len(order)
        return [a for r in order[:surplus] for a in self._stop(deployment, r)]

    def _retire(self, deployment: Deployment, current: list[Replica], old: list[Replica]) -> list[Action]:
        actions: list[Action] = []
        if deployment.failed:
            return actions  # what served before goes on serving
        for replica in [r for r in old if not r.serving and r.state is not ReplicaState.RECOVERING]:
            actions += self._stop(deployment, replica)
            old.remove(replica)
        serving = [r for r in current if r.serving]
        surplus = len(serving) + len(old) - deployment.target
        if surplus < 1 and any(r.no_room for r in current) and old:
            leaving = any(not r.live for r in deployment.replicas.values())
            surplus = 0 if leaving else 1
        for replica in sorted(old, key=lambda r: (r.ready or r.started, r.id))[: max(surplus, 0)]:
            actions += self._stop(deployment, replica)
        return actions

    def _grow(self, now: float, deployment: Deployment) -> list[Action]:
        if deployment.failed or now < deployment.retry_at:
            return []
        live = [r for r in deployment.replicas.values() if r.live]
        current = [r for r in live if r.code == deployment.code]
        missing = deployment.target - len(current)
        others = len(live) - len(current)
        if others:
            config = deployment.config
            step = max(1, int(config.get("rolling_update_percentage", 0.2) * deployment.target))
            surge = max(step, math.ceil(deployment.target * config.get("max_surge_percent", 0) / 100))
            missing = min(missing, deployment.target + surge - len(live))
        if missing <= 0:
            return []
        return [Start(deployment.id, r.id) for r in self._new(now, deployment, missing)]

    def _new(self, now: float, deployment: Deployment, count: int) -> list[Replica]:
        size = _gang_size(deployment)
        taken = {r.rank for r in deployment.replicas.values() if r.live}
        places: list[tuple[str, int]] = [("", 0)] * count
        if size > 1:
            places = self._free_places(deployment, size)[:count]
            while len(places) < count:
                gang = random_id()
                places += [(gang, rank) for rank in range(size)]
        made = []
        for gang, gang_rank in places:
            rank = next(n for n in range(len(taken) + 1) if n not in taken)
            taken.add(rank)
            replica = Replica(
                random_id(),
                deployment.code,
                deployment.revision,
                ReplicaState.STARTING,
                now,
                rank,
                gang=gang,
                gang_rank=gang_rank,
            )
            deployment.replicas[replica.id] = replica
            made.append(replica)
        return made

    def _free_places(self, deployment: Deployment, size: int) -> list[tuple[str, int]]:
        """Places in gangs that have lost a member (and keep the others)."""
        gangs: dict[str, set[int]] = {}
        for replica in deployment.replicas.values():
            if replica.live and replica.code == deployment.code:
                gangs.setdefault(replica.gang, set()).add(replica.gang_rank)
        return [(gang, rank) for gang, ranks in gangs.items() for rank in range(size) if rank not in ranks]

    def _gang_fails(self, now: float, deployment: Deployment, replica: Replica) -> list[Action]:
        config = deployment.config.get("gang_scheduling_config") or {}
        if not replica.gang or config.get("runtime_failure_policy") == "RESTART_REPLICA":
            return []
        members = [r for r in deployment.replicas.values() if r.gang == replica.gang and r.live]
        return [a for member in members for a in self._stop(deployment, member)]

    def _stop(self, deployment: Deployment, replica: Replica) -> list[Action]:
        if not replica.live:
            return []
        serving = replica.serving or replica.state is ReplicaState.RECOVERING
        replica.state = ReplicaState.STOPPING
        if not serving:
            return [Kill(deployment.id, replica.id), Save()]
        config = deployment.config
        return [
            Publish(),
            Stop(
                deployment.id,
                replica.id,
                # Where the deployment ends there is nothing that late callers could be sent to.
                0.0 if deployment.deleting else config.get("graceful_shutdown_wait_loop_s", 2.0),
                config.get("graceful_shutdown_timeout_s", 20.0),
            ),
            Save(),
        ]

    def _delete(self, now: float, deployment: Deployment) -> list[Action]:
        deployment.deleting = True
        deployment.trigger = _TRIGGER.DELETING
        return self._reconcile(now, deployment)

    def _replica(self, id: DeploymentID, replica: str) -> Replica | None:
        deployment = self.deployments.get(id)
        return deployment.replicas.get(replica) if deployment is not None else None

    def _gone(self, deployment: Deployment, replica: Replica, now: float, message: str) -> None:
        del deployment.replicas[replica.id]
        entry = {
            "id": replica.id,
            "started": replica.started,
            "ended": now,
            "message": message,
            **replica.info,
        }
        deployment.dead = [*deployment.dead, entry][-KEPT_DEAD:]

    def _describe(self, deployment: Deployment) -> None:
        live = [r for r in deployment.replicas.values() if r.live]
        done = [
            r for r in live if r.code == deployment.code and r.serving and r.revision >= deployment.revision
        ]
        if deployment.failed:
            deployment.status = _STATUS.DEPLOY_FAILED
        elif len(done) == len(live) == deployment.target:
            if deployment.status is not _STATUS.HEALTHY:
                deployment.trigger = {
                    _STATUS.UPSCALING: _TRIGGER.UPSCALE_COMPLETED,
                    _STATUS.DOWNSCALING: _TRIGGER.DOWNSCALE_COMPLETED,
                }.get(deployment.status, _TRIGGER.CONFIG_UPDATE_COMPLETED)
            deployment.status, deployment.message, deployment.served = _STATUS.HEALTHY, "", True
        elif deployment.status in (_STATUS.HEALTHY, _STATUS.DEPLOY_FAILED):
            deployment.status = _STATUS.UPDATING

    def _judge(self, name: str) -> None:
        """What an application's deployments make of it."""
        app = self.apps.get(name)
        if app is None:
            return
        mine = [d for d in self.deployments.values() if d.id.app_name == name]
        if app.deleting:
            app.status = "DELETING"
            if not mine:
                del self.apps[name]
            return
        wanted = [d for d in mine if not d.deleting]
        statuses = {d.status for d in wanted}
        app.message = ""
        if _STATUS.DEPLOY_FAILED in statuses:
            app.status = "DEPLOY_FAILED"
            app.message = "; ".join(
                f"deployment {d.id.name} failed: {d.message}"
                for d in wanted
                if d.status is _STATUS.DEPLOY_FAILED
            )
        elif _STATUS.UNHEALTHY in statuses:
            app.status = "UNHEALTHY"
            app.message = "; ".join(d.message for d in wanted if d.status is _STATUS.UNHEALTHY)
        elif _STATUS.UPDATING in statuses:
            app.status = (
                "RUNNING" if app.status == "RUNNING" and all(d.served for d in wanted) else "DEPLOYING"
            )
        else:
            app.status = "RUNNING"


def _gang_size(deployment: Deployment) -> int:
    return int((deployment.config.get("gang_scheduling_config") or {}).get("gang_size", 1))


def _soft(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that running replicas take over without a restart."""
    names = (
        "max_ongoing_requests",
        "graceful_shutdown_timeout_s",
        "graceful_shutdown_wait_loop_s",
        "logging_config",
    )
    return {name: config.get(name) for name in names}
