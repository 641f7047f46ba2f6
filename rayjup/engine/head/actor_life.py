"""The life of actors: made, named, placed, made again, ended; and who is told of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine import leases as ls
from rayjup.engine.head import actors as ad
from rayjup.engine.head import views
from rayjup.engine.head.tables import Message

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head


class ActorLife:
    """Belongs to one head.

    Attributes
    ----------
    requests
        Leases that are waited for, and the actors for which they are.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self.requests: dict[str, bytes] = {}
        self.handlers: dict[str, Callable[..., None]] = {
            "actor_create": self.on_create,
            "actor_watch": self.on_watch,
            "actor_placed": self.on_placed,
            "actor_ready": self.on_ready,
            "actor_failed": self.on_failed,
            "actor_exiting": self.on_exiting,
            "actor_ended": self.on_ended,
            "actor_out_of_scope": self.on_out_of_scope,
            "actor_start_failed": self.on_start_failed,
        }
        self.ops: dict[str, Callable[..., Any]] = {
            "get_actor": self.get,
            "list_named_actors": self.list_named,
            "actor_create_named": self.create_named,
            "actor_kill": self.kill,
        }

    def on_create(
        self, node_id: str, client: str, actor_id: bytes, spec: dict[str, Any], payload: bytes
    ) -> None:
        """A process makes an actor."""
        creator = self._head.clients.get(client)
        if creator is None:
            return
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None:  # else its name was taken before, with the entry
            actor = ad.Actor(actor_id, spec, b"", client, creator.job_id)
            self._head.actors.add(actor)
        actor.watchers.add(client)
        if actor.state == ad.DEAD or actor.payload:  # said again, because a head has ended in between
            self._publish(actor)
            return
        actor.payload = payload
        self._head.saved.actor_birth(actor)
        if not self._head.recovery.active:
            self.place(actor, node_id)

    def create_named(self, client: str, actor_id: bytes, spec: dict[str, Any]) -> dict[str, Any] | None:
        """Take an actor's name: None when it is ours now, else what there is under it."""
        existing = self._head.actors.named(spec.get("namespace") or "", spec["name"])
        if existing is not None and existing.id == actor_id:
            return None  # asked again
        if existing is not None and spec.get("get_if_exists"):
            return views.actor_handle(existing)
        actor = ad.Actor(actor_id, spec, b"", client, self._head.clients[client].job_id)
        problem = self._head.actors.add(actor)
        if problem is not None:
            raise ValueError(problem)
        self._head.saved.actor_birth(actor)
        return None

    def is_asked_for(self, actor: ad.Actor) -> bool:
        """Whether a lease for the actor is waited for."""
        return actor.id in self.requests.values()

    def place(self, actor: ad.Actor, node_id: str | None = None) -> None:
        """Have a lease granted to an actor, and the actor made with it."""
        request = f"actor:{actor.id.hex()}/{actor.restarts}"
        shape = views.shape_of(actor.spec["shape"])
        if shape.group is not None and not self._head.groups.enter_actor(shape.group, actor.id):
            self.fail(actor, _group_gone(shape.group.hex()))
            return
        self.requests[request] = actor.id
        self._head.schedule(ls.Requested(request, f"actor:{actor.id.hex()}", node_id, shape))

    def on_watch(self, node_id: str, client: str, actor_id: bytes) -> None:
        """A client wants to know the state of an actor, now and when it changes."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None and self._head.recovery.watch_later(node_id, client, actor_id):
            return
        if actor is None:
            info = {
                "cause": None,
                "error_message": "The actor is not known here: it ended long ago.",
                "actor_id": actor_id.hex(),
            }
            self._head.to_client(client, ("actor", actor_id, ad.DEAD, "", info))
            return
        actor.watchers.add(client)
        self._head.to_client(client, self._state_message(actor))

    def on_placed(self, node_id: str, actor_id: bytes, pid: int, address: str) -> None:
        """Its process is there."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None or actor.state == ad.DEAD:
            return
        actor.pid = actor.last_pid = pid
        actor.placed = time.time()
        actor.address = address
        # Callers may send already: the process keeps their calls until the constructor is done.
        self._publish(actor, ad.ALIVE)

    def on_ready(self, node_id: str, client: str, actor_id: bytes) -> None:
        """Its constructor has returned."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None or actor.state == ad.DEAD:
            return
        actor.state = ad.ALIVE
        actor.ready = time.time()
        self._head.saved.actor(actor)
        if not actor.spec["holding"].get("CPU") and actor.lease_id is not None:
            self._head.schedule(ls.Blocked(actor.lease_id))  # it needed a free CPU to be placed only

    def on_failed(self, node_id: str, client: str, actor_id: bytes, cause: bytes, on_purpose: bool) -> None:
        """Its constructor has raised."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is not None:
            self._head.actors.die(actor, "its constructor raised an exception", cause)
            self._give_up_lease(actor)
            self._head.saved.actor_birth(actor)
            self._publish(actor)

    def on_exiting(self, node_id: str, client: str, actor_id: bytes, reason: str) -> None:
        """It ends by itself."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is not None:
            actor.exiting = reason
            self._head.saved.actor(actor)

    def on_ended(
        self, node_id: str, actor_id: bytes, lease_id: str | None, code: int | None, why: str
    ) -> None:
        """Its process is gone."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None or actor.lease_id != lease_id:
            if lease_id is not None:
                # Of a process that a head before this one did not want any more.
                self._head.leasing.end_lease(lease_id)
        else:
            self.process_ended(actor, why or _describe_exit(code))

    def process_ended(self, actor: ad.Actor, why: str) -> None:
        """The process of an actor is gone: it is made again, or dead."""
        if actor.state == ad.DEAD:
            self._give_up_lease(actor)
            return
        self._give_up_lease(actor)
        again = self._head.actors.process_ended(actor, why)
        self._head.reports.actor_ended(actor, why, again)
        self._head.saved.actor_birth(actor)
        self._publish(actor)
        if again:
            self.place(actor)
        else:
            self._head.groups.owner_gone(actor.id)

    def fail(self, actor: ad.Actor, why: str) -> None:
        """The actor can never be placed."""
        self._head.actors.die(actor, why, unschedulable=True)
        self._head.saved.actor_birth(actor)
        self._give_up_lease(actor)
        self._publish(actor)
        self._head.groups.owner_gone(actor.id)

    def end_of_group(self, actor_id: bytes, group: str) -> None:
        """The placement group in which the actor lives, or is to live, is removed."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None or actor.state == ad.DEAD:
            return
        if actor.lease_id is None:
            self.fail(actor, _group_gone(group))
        else:
            self.end(actor, f"its placement group {group} was removed")

    def _give_up_lease(self, actor: ad.Actor) -> None:
        if actor.lease_id is not None:
            lease_id, actor.lease_id = actor.lease_id, None
            self._head.leases.pop(lease_id, None)
            self._head.schedule(ls.Released(lease_id))
        for request, actor_id in list(self.requests.items()):
            if actor_id == actor.id:
                del self.requests[request]
                self._head.late.drop(request)
                self._head.schedule(ls.Cancelled(request))

    def end(self, actor: ad.Actor, why: str, no_restart: bool = True) -> None:
        """End an actor's process, and (``no_restart``) the actor with it."""
        if no_restart:
            actor.exiting = why
        placed = actor.lease_id is not None
        node_id = actor.node_id
        if no_restart:
            self._head.actors.die(actor, why)
            self._head.saved.actor_birth(actor)
            self._publish(actor)
        if placed:
            self._head.to_node(node_id, ("actor_kill", actor.id, why))
        else:
            self._give_up_lease(actor)
        if no_restart:
            self._head.groups.owner_gone(actor.id)

    def on_out_of_scope(self, node_id: str, client: str, actor_id: bytes) -> None:
        """Nobody has a handle to it any more."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is not None and not actor.detached and actor.state != ad.DEAD:
            self.end(actor, "all handles to it are gone")

    def kill(self, client: str, actor_id: bytes, no_restart: bool) -> None:
        """Somebody wants its end."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is not None and actor.state != ad.DEAD:
            self.end(actor, "it was killed by rayjup.kill()", no_restart)

    def _publish(self, actor: ad.Actor, state: str | None = None) -> None:
        self._head.saved.actor(actor)
        message = self._state_message(actor, state)
        for watcher in list(actor.watchers):
            self._head.to_client(watcher, message)

    def _state_message(self, actor: ad.Actor, state: str | None = None) -> Message:
        reachable = actor.state in (ad.ALIVE, ad.PENDING_CREATION, ad.RESTARTING) and actor.address
        shown = state or (ad.ALIVE if reachable else actor.state)
        return ("actor", actor.id, shown, actor.address, actor.error)

    def get(self, client: str, namespace: str, name: str) -> dict[str, Any]:
        """A handle to the actor of a name; ValueError where there is none."""
        actor = self._head.actors.named(namespace, name)
        if actor is None:
            raise ValueError(
                f"there is no actor named '{name}' in the namespace '{namespace}': it was never "
                "created, its creator is gone, or it is dead; rayjup.util.list_named_actors() shows those "
                "there are."
            )
        return views.actor_handle(actor)

    def list_named(self, client: str, namespace: str | None) -> list[dict[str, str]]:
        """The names of living actors."""
        return [
            {"namespace": space, "name": name}
            for space, name in sorted(self._head.actors.names)
            if namespace is None or space == namespace
        ]

    def on_start_failed(self, node_id: str, actor_id: bytes, kind: str, why: str) -> None:
        """No process can be had for the actor; nor could there be for its next life."""
        actor = self._head.actors.by_id.get(actor_id)
        if actor is None:
            return
        if actor.state != ad.DEAD:
            self._head.actors.die(actor, why)
            if kind == "env":
                actor.error = {"environment": why}
            self._head.saved.actor_birth(actor)
            self._publish(actor)
            self._head.groups.owner_gone(actor.id)
        self._give_up_lease(actor)


def _group_gone(group: str) -> str:
    return (
        "Could not create the actor because its associated placement group was removed. "
        f"Required placement group {group} is removed."
    )


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "its process ended"
    if code < 0:
        return f"its process was killed by signal {-code}"
    return f"its process exited with code {code}"
