"""The controller: a detached actor that starts, checks, moves and stops replicas.

What to do is decided by :class:`~.state.State`; here is what it takes to do it. The state is written to
the cluster's table of keys, so that a controller that was killed goes on where it was; replicas and
proxies are detached actors themselves and serve on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import time
from typing import Any

import rayjup
from rayjup.experimental import internal_kv as kv
from rayjup.serve._private import describing, placing
from rayjup.serve._private.common import DeploymentID, ReplicaID, ReplicaState, random_id
from rayjup.serve._private.http_side import HttpSide
from rayjup.serve._private.load import Load
from rayjup.serve._private.records import (
    Action,
    Check,
    Forget,
    Kill,
    Publish,
    Reconfigure,
    Start,
    Stop,
)
from rayjup.serve._private.router import GONE
from rayjup.serve._private.state import State

SPACE = "serve"
STATE_KEY = "state"
VIEW_KEY = "view"
POLL_S = 0.5
_BUSY_S = 0.05
_NO_ROOM_S = 1.0
_NO_PLACE_TURNS = 10
_log = logging.getLogger("rayjup.serve")


class Controller:
    """Everything that is served in this cluster.

    Parameters
    ----------
    options
        ``http`` (see :class:`rayjup.serve.config.HTTPOptions`), ``grpc``, ``location``; used when
        there is no journal of an earlier life.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.began = time.time()
        self.epoch = random_id()
        self.version = 0
        self.state = State()
        self.payloads: dict[tuple[DeploymentID, str], bytes] = {}
        self.actors: dict[str, Any] = {}
        self.polls: dict[str, dict[str, Any]] = {}
        self.polling: set[str] = set()
        self.load = Load()
        self.placing = placing.Placing()
        self.changed = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.errors: dict[DeploymentID, Any] = {}  # the last constructor error of a deployment, as raised
        self.ending = False
        self.loops = 0
        self._save = self._publish = False
        self._view = b""
        journal = kv._internal_kv_get(STATE_KEY, namespace=SPACE)
        self.http = HttpSide(self, options)
        if journal is not None:
            self._recover(pickle.loads(journal))
        self.main = asyncio.get_event_loop().create_task(self._run())

    # -- what users ask for

    async def ping(self) -> str:
        """It is up; which life this is."""
        return self.epoch

    async def start_http(self, options: dict[str, Any]) -> dict[str, Any]:
        """See that HTTP is listened for; with which options it is."""
        return await self.http.start(options)

    async def deploy(self, apps: list[dict[str, Any]]) -> None:
        """Run applications: of each ``name``, ``route_prefix``, ``ingress``, ``deployments``, ``details``.

        Raises
        ------
        ValueError
            A route prefix is taken.
        """
        for app in apps:
            for deployment in app["deployments"]:
                id = DeploymentID(deployment["name"], app["name"])
                key = (id, deployment["code"])
                if deployment.get("payload") is not None:
                    self.payloads[key] = deployment["payload"]
                    kv._internal_kv_put(_code_key(*key), deployment["payload"], namespace=SPACE)
                self.errors.pop(id, None)
                existing = self.state.deployments.get(id)
                scaler = self.load.configure(id, deployment["config"])
                if scaler is not None:
                    current = existing.target if existing is not None and not existing.deleting else None
                    deployment["config"]["num_replicas"] = scaler.first_target(current)
            actions = self.state.deploy(
                time.time(),
                app["name"],
                app["route_prefix"],
                app["ingress"],
                [{k: d[k] for k in ("name", "code", "config")} for d in app["deployments"]],
                app.get("details"),
            )
            self._perform(actions)

    async def wait_app(self, name: str, timeout_s: float, told: str = "") -> dict[str, Any]:
        """Wait until an application runs, or cannot, or waits for something else than ``told``.

        Gives ``{"status", "message", "error"}``.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            app = self.state.apps.get(name)
            if app is None:
                return {"status": "NOT_STARTED", "message": "it was deleted", "error": None}
            if app.status in ("RUNNING", "DEPLOY_FAILED", "UNHEALTHY") and self.http.settled():
                ids = [i for i in self.errors if i.app_name == name]
                error = self.errors[ids[0]] if ids and app.status != "RUNNING" else None
                describing.publish_view(self, at_once=True)  # a display comes next
                return {"status": app.status, "message": app.message, "error": error}
            left = deadline - time.monotonic()
            why = self._why_waiting(name)
            if left <= 0 or (why and why != told):
                return {"status": app.status, "message": why, "error": None}
            await self._change(min(left, 0.5))

    def _why_waiting(self, name: str) -> str:
        mine = [d for d in self.state.deployments.values() if d.id.app_name == name]
        return "\n".join(d.message for d in mine if d.message and not d.failures)

    async def delete(self, names: list[str], timeout_s: float = 60.0) -> None:
        """End applications, and wait for that."""
        for name in names:
            self._perform(self.state.delete(time.time(), name))
        deadline = time.monotonic() + timeout_s
        while any(n in self.state.apps for n in names) and time.monotonic() < deadline:
            await self._change(0.2)

    async def scale(self, app: str, deployment: str, target: int) -> None:
        """Another number of replicas, from outside.

        Raises
        ------
        ValueError
            There is no such deployment.
        """
        id = DeploymentID(deployment, app)
        if id not in self.state.deployments:
            raise ValueError(f"{id} does not exist.")
        self.state.deployments[id].config["num_replicas"] = target
        self._perform(self.state.scale(time.time(), id, target, by_load=False))

    async def table(
        self, version: int, epoch: str, caller: str = "", queued: Any = ()
    ) -> dict[str, Any] | None:
        """Where replicas are; None when the caller knows already."""
        if caller:
            self.load.queued(caller, time.time(), queued)
            self.changed.set()
        if version == self.version and epoch == self.epoch:
            return None
        return self._table()

    async def status(self) -> dict[str, Any]:
        """What ``serve.status()`` says, as plain data."""
        return describing.status(self)

    async def view(self) -> dict[str, Any]:
        """What displays show, as it is now."""
        return describing.shown(self)

    async def details(self) -> dict[str, Any]:
        """Everything that is known, as plain data."""
        return describing.details(self)

    async def shutdown(self) -> None:
        """End all applications and what takes requests; the actor itself is killed by the caller."""
        self.ending = True
        for name in list(self.state.apps):
            self._perform(self.state.delete(time.time(), name))
        deadline = time.monotonic() + 30.0
        while self.state.deployments and time.monotonic() < deadline:
            await self._change(0.1)
        await self.http.close()
        self.main.cancel()
        for key in kv._internal_kv_list("", namespace=SPACE):
            kv._internal_kv_del(key, namespace=SPACE)

    # -- the loop

    async def _run(self) -> None:
        last_poll = 0.0
        while True:
            self.loops += 1
            try:
                now = time.time()
                self._perform(self.state.tick(now))
                if now - last_poll >= POLL_S:
                    last_poll = now
                    self._poll()
                    self._scale(now)
                    describing.publish_view(self)
                await self.http.tend()
            except Exception:  # noqa: BLE001 - the loop must go on; what went wrong is in the log
                _log.exception("the controller's loop failed in one turn")
            await self._change(_BUSY_S if self._unsettled() else POLL_S)

    def _unsettled(self) -> bool:
        return any(
            not r.serving for d in self.state.deployments.values() for r in d.replicas.values()
        ) or any(d.retry_at > time.time() for d in self.state.deployments.values())

    async def _change(self, timeout_s: float) -> None:
        """Wait for a change of the state, or for some time."""
        self.changed.clear()
        try:
            await asyncio.wait_for(self.changed.wait(), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            pass

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        """Run a coroutine beside the loop."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _perform(self, actions: list[Action]) -> None:
        stops: list[Stop] = []
        for action in actions:
            if isinstance(action, Start):
                self.spawn(self._start(action))
            elif isinstance(action, Stop):
                stops.append(action)
            elif isinstance(action, Kill):
                self.spawn(self._kill(action.deployment, action.replica))
            elif isinstance(action, Reconfigure):
                self.spawn(self._reconfigure(action))
            elif isinstance(action, Check):
                self.spawn(self._check(action))
            elif isinstance(action, Publish):
                self._publish = True
            elif isinstance(action, Forget):
                self._forget(action)
            else:
                self._save = True
        if actions:
            self.changed.set()
        if self._save:
            self._save = False
            self._write_journal()
        if self._publish:
            self._publish = False
            self.publish()
        for stop in stops:
            self.spawn(self._stop(stop))

    # -- replicas

    async def _start(self, action: Start) -> None:
        deployment = self.state.deployments.get(action.deployment)
        record = deployment.replicas.get(action.replica) if deployment is not None else None
        if deployment is None or record is None or not record.live:
            return
        id = ReplicaID(record.id, deployment.id)
        gang = None
        if record.gang:
            members = [r.id for r in deployment.replicas.values() if r.gang == record.gang]
            size = int(deployment.config["gang_scheduling_config"]["gang_size"])
            gang = {
                "gang_id": record.gang,
                "rank": record.gang_rank,
                "world_size": size,
                "member_replica_ids": members,
            }
        spec = {
            "app": deployment.id.app_name,
            "deployment": deployment.id.name,
            "id": record.id,
            "config": deployment.config,
            "code_version": record.code,
            "rank": record.rank,
            "world_size": deployment.target,
            "gang": gang,
            "logs_dir": self.http.logs_dir,
            "directory": self.http.directory,
            "sys_path": deployment.config.get("sys_path", ()),
        }
        waiting = self.spawn(self._notice_no_room(deployment.id, record.id, deployment.config))
        began = time.monotonic()
        try:
            payload = self._payload(deployment.id, record.code)
            await self.placing.ready_actors(deployment, record.code, self)
            actor = await self.placing.make_replica(id, spec, deployment)
            self.actors[record.id] = actor
            waiting.cancel()
            self.state.constructing(deployment.id, record.id)
            began = time.monotonic()
            info = await actor.start.remote(payload, self._table())
        except Exception as error:  # noqa: BLE001 - the user's constructor; told to whoever deploys
            if record.live:
                self.errors[deployment.id] = error
            message = _text_of(error)
            took_s = time.monotonic() - began
            self._perform(self.state.start_failed(time.time(), deployment.id, record.id, message, took_s))
        else:
            self._perform(self.state.started(time.time(), deployment.id, record.id, info))
        finally:
            waiting.cancel()

    async def _notice_no_room(self, id: DeploymentID, replica: str, config: dict[str, Any]) -> None:
        wanted = placing.resources_of(config)
        text = ""
        for _ in range(_NO_PLACE_TURNS):
            await asyncio.sleep(_NO_ROOM_S)
            text = placing.what_is_missing(id, wanted)
            if text:
                break
        if text:
            self._perform(self.state.no_room(time.time(), id, replica, text))
        else:
            text = placing.not_placed(id, wanted, _NO_PLACE_TURNS * _NO_ROOM_S)
            self._perform(self.state.not_placed(id, replica, text))

    def _payload(self, id: DeploymentID, code: str) -> bytes:
        found = self.payloads.get((id, code))
        if found is None:
            found = kv._internal_kv_get(_code_key(id, code), namespace=SPACE)
            if found is None:
                raise RuntimeError(f"the code of {id} is not there any more: deploy it again.")
            self.payloads[(id, code)] = found
        return found

    async def _stop(self, action: Stop) -> None:
        actor = self.actors.get(action.replica)
        if actor is not None:
            try:
                limit = action.timeout_s + 2.0
                await asyncio.wait_for(
                    _value(actor.drain.remote(action.wait_loop_s, action.timeout_s)), limit
                )
            except Exception as error:  # noqa: BLE001 - it ends now, whatever its draining made of it
                _log.info("replica %s was not drained: %r", action.replica, error)
        await self._kill(action.deployment, action.replica)

    async def _kill(self, id: DeploymentID, replica: str) -> None:
        actor = self.actors.pop(replica, None)
        self.polls.pop(replica, None)
        if actor is None:
            actor = placing.find(ReplicaID(replica, id))
        if actor is not None:
            try:
                rayjup.kill(actor)
            except ValueError:
                pass
        self.placing.release(replica)
        self._perform(self.state.died(time.time(), id, replica, "stopped"))

    async def _reconfigure(self, action: Reconfigure) -> None:
        deployment = self.state.deployments.get(action.deployment)
        record = deployment.replicas.get(action.replica) if deployment is not None else None
        actor = self.actors.get(action.replica)
        if deployment is None or record is None or actor is None:
            return
        revision, problem = deployment.revision, None
        try:
            await actor.reconfigure.remote(deployment.config, record.rank, deployment.target)
        except Exception as error:  # noqa: BLE001 - the user's reconfigure()
            problem = _text_of(error)
            self.errors[deployment.id] = error
        self._perform(
            self.state.reconfigured(time.time(), action.deployment, action.replica, revision, problem)
        )

    async def _check(self, action: Check) -> None:
        deployment = self.state.deployments.get(action.deployment)
        actor = self.actors.get(action.replica)
        if deployment is None or actor is None:
            return
        timeout_s = deployment.config.get("health_check_timeout_s", 30.0)
        problem = None
        try:
            await asyncio.wait_for(_value(actor.check.remote()), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            problem = f"no answer within {timeout_s:g} s"
        except GONE as error:
            self._perform(self.state.died(time.time(), action.deployment, action.replica, _text_of(error)))
            return
        except Exception as error:  # noqa: BLE001 - the user's check_health()
            problem = _text_of(error)
        self._perform(self.state.checked(time.time(), action.deployment, action.replica, problem))

    def _poll(self) -> None:
        for deployment in self.state.deployments.values():
            for record in deployment.replicas.values():
                there = record.id not in self.polling and record.id in self.actors
                if there and record.state is not ReplicaState.STARTING:
                    self.spawn(self._poll_one(deployment.id, record.id))

    async def _poll_one(self, id: DeploymentID, replica: str) -> None:
        self.polling.add(replica)
        try:
            self.polls[replica] = await self.actors[replica].poll.remote()
            deployment = self.state.deployments.get(id)
            record = deployment.replicas.get(replica) if deployment is not None else None
            models = self.polls[replica]["models"]
            if record is not None and record.info.get("models", []) != models:
                record.info["models"] = models
                self.publish()
        except GONE as error:
            if replica in self.actors:
                self.actors.pop(replica, None)
                self.polls.pop(replica, None)
                self.placing.release(replica)
                self._perform(self.state.died(time.time(), id, replica, _text_of(error)))
        except Exception as error:  # noqa: BLE001 - the user's record_autoscaling_stats()
            _log.warning("replica %s does not say how it is: %r", replica, error)
        finally:
            self.polling.discard(replica)

    def _scale(self, now: float) -> None:
        queued = self.load.queues(now, [*self.polls.values(), *self.http.polls.values()])
        for deployment in list(self.state.deployments.values()):
            target = self.load.wanted(now, deployment, self.polls, queued)
            if target is not None and target != deployment.target:
                self._perform(self.state.scale(now, deployment.id, target))

    def _forget(self, action: Forget) -> None:
        self.load.forget(action.deployment)
        self.errors.pop(action.deployment, None)
        self.placing.forget(action.deployment)
        for key in [k for k in self.payloads if k[0] == action.deployment]:
            del self.payloads[key]
        prefix = f"code/{action.deployment.app_name}/{action.deployment.name}/"
        kv._internal_kv_del(prefix, del_by_prefix=True, namespace=SPACE)

    # -- telling others

    def _table(self) -> dict[str, Any]:
        return describing.table(self)

    def publish(self) -> None:
        """Tell all that serve where replicas are."""
        self.version += 1
        table = self._table()
        for actor in [*self.actors.values(), *self.http.actors()]:
            actor.routes.remote(table)
        self.http.wanted()
        self.changed.set()

    # -- the journal

    def _write_journal(self) -> None:
        if self.ending and not self.state.deployments:
            return
        data = {
            "apps": self.state.apps,
            "deployments": self.state.deployments,
            "http": self.http.saved(),
        }
        kv._internal_kv_put(STATE_KEY, pickle.dumps(data, 5), namespace=SPACE)

    def _recover(self, data: dict[str, Any]) -> None:
        self.state.apps = data["apps"]
        self.state.deployments = data["deployments"]
        self.http.recover(data["http"])
        for deployment in self.state.deployments.values():
            self.load.configure(deployment.id, deployment.config)
        for id, replica in self.state.recover():
            asyncio.get_event_loop().create_task(self._find_again(id, replica))

    async def _find_again(self, id: DeploymentID, replica: str) -> None:
        """A replica of the controller's earlier life: is it there, and up?"""
        record = self.state.deployments[id].replicas[replica]
        actor = placing.find(ReplicaID(replica, id))
        info = None
        if actor is not None:
            try:
                info = await asyncio.wait_for(_value(actor.info.remote()), 10.0)
            except Exception as error:  # noqa: BLE001 - dead, or not to be talked to: replaced either way
                _log.info("replica %s was not found again: %r", replica, error)
        if info is None:
            await self._kill(id, replica)
            return
        self.actors[replica] = actor
        if record.state is ReplicaState.STOPPING:
            self._perform([Stop(id, replica, 0.0, 5.0)])
        else:
            self._perform(self.state.started(time.time(), id, replica, info))

    def where(self) -> str:
        """The machine this runs on."""
        return socket.gethostname()


async def _value(ref: Any) -> Any:
    return await ref


def _code_key(id: DeploymentID, code: str) -> str:
    return f"code/{id.app_name}/{id.name}/{code}"


def _text_of(error: BaseException) -> str:
    return str(error) or type(error).__name__
