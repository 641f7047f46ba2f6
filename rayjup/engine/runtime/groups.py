"""Placement groups as one process knows them: those it made, and those it waits for."""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from rayjup.base import exceptions
from rayjup.base.serialization import pack
from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.object_ref import ObjectRef

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

CREATED = "CREATED"
REMOVED = "REMOVED"
UNKNOWN = ""
_BUNDLES_KEPT = 1000


class _Known:
    """A group whose state the head tells us."""

    __slots__ = ("refs", "state")

    def __init__(self) -> None:
        self.state = UNKNOWN
        # Weak: a program may ask again and again, and drop what it got.
        self.refs: list[tuple[weakref.ref[ObjectRef], tuple[int, Any]]] = []


class GroupCalls:
    """All placement groups of this process."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._known: dict[bytes, _Known] = {}
        self._bundles: dict[bytes, list[dict[str, float]]] = {}

    def create(self, group_id: bytes, spec: dict[str, Any]) -> None:
        """Have a group made; only one with a name is waited for, because that may be taken."""
        self._known[group_id] = _Known()
        if spec["name"]:
            try:
                self.runtime.link.request("group_create_named", group_id, spec)
            except exceptions.RaySystemError:
                self._known.pop(group_id, None)
                raise
        else:
            self._send(("group_create", group_id, spec))

    def remove(self, group_id: bytes) -> None:
        """Have a group removed; nothing is waited for."""
        self._bundles.pop(group_id, None)
        known = self._known.pop(group_id, None)
        # Else their executors would end with the group.
        self.runtime.tasks.release_idle(group_id)
        self._send(("group_remove", group_id))
        if known is not None:
            known.state = REMOVED
            self._settle(known)
            self.runtime.reactor.kick()

    def wait(self, group_id: bytes, timeout: float | None) -> bool:
        """Wait until all bundles of a group are reserved: False when the time was over before.

        Raises
        ------
        ValueError
            The group is removed.
        """
        known = self._watch(group_id)
        deadline = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        done = self.runtime.wait_until(lambda: known.state in (CREATED, REMOVED), deadline)
        if known.state == REMOVED:
            raise ValueError(
                f"Placement group {group_id.hex()} does not exist: it was removed, or its creator has ended."
            )
        return done

    def ready(self, group_id: bytes, value: Any) -> ObjectRef:
        """A ref whose value is ``value`` once all bundles of a group are reserved."""
        known = self._watch(group_id)
        ref = self.runtime.new_ref()
        with self.runtime.lock:
            known.refs.append((weakref.ref(ref), self.runtime.store_packed(pack(value))))
            if len(known.refs) % 64 == 0:
                known.refs = [entry for entry in known.refs if entry[0]() is not None]
        self._settle(known)
        return ref

    def learn(self, group_id: bytes, bundles: list[dict[str, float]]) -> None:
        """What the bundles of a group hold, where a handle to it says so."""
        if group_id in self._known:
            self._bundles[group_id] = bundles

    def bundles(self, group_id: bytes) -> list[dict[str, float]]:
        """What the bundles of a group hold.

        Raises
        ------
        ValueError
            There is no such group.
        """
        found = self._bundles.get(group_id)
        if found is None:
            row = self.runtime.link.request("group_table", group_id)
            if not row:
                raise ValueError(f"Placement group {group_id.hex()} does not exist.")
            if len(self._bundles) >= _BUNDLES_KEPT:
                self._bundles.clear()
            found = self._bundles[group_id] = list(row["bundles"].values())
        return found

    def on_state(self, group_id: bytes, state: str) -> None:
        """The head says in which state a group is."""
        known = self._known.get(group_id)
        if known is None:
            return
        known.state = state
        if state == REMOVED:
            self._known.pop(group_id, None)
            self._bundles.pop(group_id, None)
        self._settle(known)

    def watch_again(self) -> None:
        """Another head has taken over: it is to tell us of the groups that we know."""
        for group_id in list(self._known):
            self.runtime.link.send(("group_watch", group_id))

    def fail_all(self, error: BaseException) -> None:
        """The cluster is lost."""
        for known in list(self._known.values()):
            refs, known.refs = known.refs, []
            for weak, _ in refs:
                ref = weak()
                if ref is not None:
                    self.runtime.complete(ref, m.ERROR, error, None)
        self._known.clear()

    def _watch(self, group_id: bytes) -> _Known:
        known = self._known.get(group_id)
        if known is None:
            known = self._known[group_id] = _Known()
            self._send(("group_watch", group_id))
        return known

    def _settle(self, known: _Known) -> None:
        """Give the refs that wait for a group their value, if it is time."""
        if known.state not in (CREATED, REMOVED) or not known.refs:
            return
        with self.runtime.lock:
            refs, known.refs = known.refs, []
        for weak, (kind, data) in refs:
            ref = weak()
            if ref is None:
                continue
            if known.state == CREATED:
                self.runtime.complete(ref, kind, data, None)
            else:
                self.runtime.complete(ref, m.ERROR, exceptions.TaskPlacementGroupRemoved(), None)

    def _send(self, message: tuple[Any, ...]) -> None:
        if self.runtime.link.lost:
            raise self.runtime.link.error()
        self.runtime.link.send(message)
