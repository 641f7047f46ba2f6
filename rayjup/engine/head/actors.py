"""The actor directory: which actors there are, and what becomes of them. Pure: no I/O.

States are Ray's: PENDING_CREATION, ALIVE, RESTARTING, DEAD.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PENDING_CREATION = "PENDING_CREATION"
ALIVE = "ALIVE"
RESTARTING = "RESTARTING"
DEAD = "DEAD"
_KEPT_DEAD = 1000


@dataclass
class Actor:
    """One actor, alive or dead."""

    id: bytes
    spec: dict[str, Any]
    payload: bytes
    creator: str
    job_id: bytes
    state: str = PENDING_CREATION
    node_id: str = ""
    address: str = ""
    pid: int = 0
    lease_id: str | None = None
    restarts: int = 0
    watchers: set[str] = field(default_factory=set)
    error: dict[str, Any] | None = None
    exiting: str = ""  # the reason, once it is to end and not to come back
    death_cause: str = ""
    last_pid: int = 0
    created: float = field(default_factory=time.time)
    placed: float = 0.0  # these three: the last time, 0 for not yet
    ready: float = 0.0
    ended: float = 0.0

    @property
    def detached(self) -> bool:
        """Whether it lives on when its creator and its job have ended."""
        return bool(self.spec.get("detached"))

    @property
    def name(self) -> str:
        """Its name, "" without one."""
        return self.spec.get("name") or ""

    @property
    def restarts_left(self) -> bool:
        """Whether it may be made again when its process ends."""
        limit = self.spec.get("max_restarts", 0)
        return bool(limit < 0 or self.restarts < limit)


class ActorDirectory:
    """All actors of the cluster by id and by (namespace, name)."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, Actor] = {}
        self.names: dict[tuple[str, str], bytes] = {}
        self.forgotten: Callable[[bytes], None] = lambda actor_id: None
        self._dead: list[bytes] = []

    def restore(self, actor: Actor) -> None:
        """Enter an actor as a journal has it."""
        self.by_id[actor.id] = actor
        if actor.state == DEAD:
            self._dead.append(actor.id)
        elif actor.name:
            self.names[(actor.spec.get("namespace") or "", actor.name)] = actor.id

    def add(self, actor: Actor) -> str | None:
        """Enter a new actor; the reason why it can't be, if so."""
        if actor.name:
            key = (actor.spec.get("namespace") or "", actor.name)
            if key in self.names:
                return (
                    f"The name {actor.name} (namespace={key[0]}) is already taken. Please use a different "
                    "name, get the existing actor with rayjup.get_actor(), or pass get_if_exists=True."
                )
            self.names[key] = actor.id
        self.by_id[actor.id] = actor
        return None

    def named(self, namespace: str, name: str) -> Actor | None:
        """The living actor of this name."""
        actor_id = self.names.get((namespace, name))
        return self.by_id.get(actor_id) if actor_id is not None else None

    def process_ended(self, actor: Actor, why: str) -> bool:
        """The actor's process is gone: True when it is to be made again."""
        actor.address = ""
        actor.pid = 0
        actor.lease_id = None
        if not actor.exiting and actor.restarts_left:
            actor.restarts += 1
            actor.state = RESTARTING
            return True
        self.die(actor, actor.exiting or why)
        return False

    def die(self, actor: Actor, why: str, cause: bytes | None = None, unschedulable: bool = False) -> None:
        """The actor is dead for good; ``cause`` is the pickled error of its constructor.

        ``unschedulable``: it never was, because there is no place for it.
        """
        if actor.state == DEAD:
            return
        never_started = actor.state == PENDING_CREATION
        actor.state = DEAD
        actor.death_cause = why
        actor.ended = time.time()
        self.names = {key: id for key, id in self.names.items() if id != actor.id}
        # The cause stays pickled: the head need not have the classes of users' programs.
        actor.error = {
            "cause": cause,
            "error_message": f"The actor is dead because {why}.",
            "class_name": actor.spec["class_name"],
            "actor_id": actor.id.hex(),
            "name": actor.name,
            "ray_namespace": actor.spec.get("namespace") or "",
            "never_started": never_started,
        }
        if unschedulable:
            actor.error = {"unschedulable": why}
        actor.payload = b""
        self._dead.append(actor.id)
        if len(self._dead) > _KEPT_DEAD:
            oldest = self._dead.pop(0)
            self.by_id.pop(oldest, None)
            self.forgotten(oldest)

    def of_job(self, job_id: bytes) -> list[Actor]:
        """Living actors of a job."""
        return [a for a in self.by_id.values() if a.job_id == job_id and a.state != DEAD]
