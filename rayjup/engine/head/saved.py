"""Which tables of the head are journaled, and in which form. Pure but for the journal itself.

What nodes and their processes can tell again (leases, clients, samples) is not written.
"""

from __future__ import annotations

import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rayjup.engine.head.actors import DEAD, Actor
from rayjup.engine.head.groups import REMOVED, Group

if TYPE_CHECKING:
    from rayjup.engine import leases as ls
    from rayjup.engine.head.head import Head
    from rayjup.engine.head.journal import Journal

_ONCE = {"id", "spec", "payload", "creator", "job_id"}  # of an actor: does not change, and may be large
_NOT = {"watchers"}  # they ask again


def actor_state(actor: Actor) -> dict[str, Any]:
    """What changes of an actor, but for its watchers."""
    names = (field.name for field in fields(Actor))
    return {name: getattr(actor, name) for name in names if name not in _ONCE | _NOT}


def actor_birth(actor: Actor) -> dict[str, Any]:
    """What an actor is made from."""
    return {name: getattr(actor, name) for name in _ONCE}


def actor_from(birth: dict[str, Any], state: dict[str, Any]) -> Actor:
    """The actor of which these two were taken."""
    known = {field.name for field in fields(Actor)}
    return Actor(**{name: value for name, value in {**state, **birth}.items() if name in known})


def group_state(group: Group, places: list[ls.Place | None]) -> dict[str, Any]:
    """A placement group and where its bundles lie."""
    names = ("id", "spec", "job_id", "state", "nodes", "rounds")
    placed_after = group.placed - group.requested if group.placed else 0.0
    return {**{n: getattr(group, n) for n in names}, "places": list(places), "placed_after": placed_after}


def group_from(row: dict[str, Any]) -> tuple[Group, list[ls.Place | None]]:
    """The group of which :func:`group_state` was taken, and its places."""
    row = dict(row)
    places, after = row.pop("places"), row.pop("placed_after")
    group = Group(**row)
    # Its clock is that of the process: only how long it took is known.
    group.requested = time.monotonic() - after
    group.placed = time.monotonic() if after else 0.0
    return group, places


class Saved:
    """Notes what has changed in the head's tables; does nothing where there is no journal.

    Parameters
    ----------
    head
        Whose tables these are.
    journal
        None: nobody would restart this head.
    """

    def __init__(self, head: Head, journal: Journal | None) -> None:
        self.head = head
        self.journal = journal

    def kv(self, space: str, key: bytes) -> None:
        """A key of the key-value store has another value, or none."""
        if self.journal is not None:
            name = space.encode() + b"\0" + key
            kv = self.head.kv
            there = (space, key) in kv
            self.journal.note("kv", name, (lambda: (space, key, kv.get((space, key)))) if there else None)

    def job(self, job_id: bytes) -> None:
        """A job has begun or ended."""
        if self.journal is not None:
            self.journal.note("job", job_id, lambda: self.head.jobs[job_id])

    def actor(self, actor: Actor) -> None:
        """The state of an actor has changed."""
        if self.journal is not None:
            self.journal.note("actor", actor.id, lambda: actor_state(actor))

    def actor_birth(self, actor: Actor) -> None:
        """There is a new actor, or its constructor's arguments have come, or are of no use any more."""
        if self.journal is not None:
            self.journal.note("birth", actor.id, lambda: actor_birth(actor))
            self.actor(actor)

    def actor_forgotten(self, actor_id: bytes) -> None:
        """A dead actor is not told of any more."""
        if self.journal is not None:
            self.journal.note("birth", actor_id, None)
            self.journal.note("actor", actor_id, None)

    def group(self, group: Group) -> None:
        """A placement group is new, has other places, or is removed."""
        if self.journal is None:
            return
        if group.state == REMOVED:
            self.journal.note("group", group.id, None)
        else:
            places = self.head.scheduler.places
            self.journal.note("group", group.id, lambda: group_state(group, places(group.id)))

    def node(self, node_id: str, info: dict[str, Any] | None) -> None:
        """A node has joined, or (None) left."""
        if self.journal is not None:
            self.journal.note("node", node_id, None if info is None else lambda: info)

    def load(self) -> list[tuple[Group, list[ls.Place | None]]]:
        """Fill the head's tables from the journal; the placement groups, with their places."""
        head, journal = self.head, self.journal
        assert journal is not None
        for _, (space, key, value) in journal.rows("kv"):
            head.kv[(space, key)] = value
        for job_id, job in journal.rows("job"):
            assert isinstance(job_id, bytes)
            head.jobs[job_id] = job
        births = dict(journal.rows("birth"))
        actors = [actor_from(births[key], state) for key, state in journal.rows("actor") if key in births]
        for actor in sorted(actors, key=lambda a: a.ended if a.state == DEAD else a.created):
            head.actors.restore(actor)
        return [group_from(row) for _, row in journal.rows("group")]
