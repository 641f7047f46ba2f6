"""The caller's side: which replica gets a call, and what waits for one.

Calls of one process to one deployment go through one router. It takes the less busy of two replicas
chosen at random (by the calls of its own that are there, which is exact for one caller and right on
average for many), sends a replica no more than ``max_ongoing_requests`` at once, and lets the others
wait in order, up to ``max_queued_requests``.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import rayjup
from rayjup.exceptions import ActorDiedError, ActorUnavailableError
from rayjup.serve._private import table as tables
from rayjup.serve._private.common import NAMESPACE, DeploymentID, ReplicaID
from rayjup.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

GONE = (ActorDiedError, ActorUnavailableError)


class Slot:
    """A replica, as a caller sees it."""

    __slots__ = ("actor", "dead", "entry", "id", "limit", "link", "models", "ongoing")

    def __init__(self, entry: dict[str, Any]) -> None:
        self.id: str = entry["id"]
        self.actor: Any = None
        self.link: Any = None  # a `link.Link`, in processes that hand on requests of HTTP
        self.ongoing = 0
        self.dead = False
        self.update(entry)

    def update(self, entry: dict[str, Any]) -> None:
        """What the controller says of it now."""
        self.entry = entry
        self.limit: int = entry["max"]
        self.models: set[str] = set(entry.get("models", ()))

    def connect(self) -> Any:
        """Its actor's handle; raises ValueError when the actor is gone."""
        if self.actor is None:
            self.actor = rayjup.get_actor(self.entry["actor"], namespace=NAMESPACE)
        return self.actor


class Call:
    """One call, from when it is made to its answer.

    Parameters
    ----------
    send
        Called with a :class:`Slot` once the call has one; gives the ref of the answer, or the
        generator of refs.
    """

    __slots__ = (
        "args",
        "cancelled",
        "error",
        "kwargs",
        "lock",
        "model",
        "on_end",
        "ref",
        "request_id",
        "router",
        "send",
        "session",
        "slot",
        "stream",
        "waiters",
    )

    def __init__(
        self,
        router: Router,
        send: Callable[[Slot], Any],
        stream: bool = False,
        request_id: str = "",
        model: str = "",
        session: str = "",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.router = router
        self.send = send
        self.stream = stream
        self.request_id = request_id
        self.model = model
        self.session = session
        self.args = args  # for routers that look at them
        self.kwargs = kwargs or {}
        self.ref: Any = None
        self.error: BaseException | None = None
        self.slot: Slot | None = None
        self.waiters: list[Callable[[], None]] = []
        self.cancelled = False
        self.on_end: Callable[[], None] | None = None

    @property
    def assigned(self) -> bool:
        """Whether it is known where the call goes, or that it goes nowhere."""
        return self.ref is not None or self.error is not None

    def go(self, slot: Slot) -> None:
        """Send the call to a replica; a place there is taken already."""
        self.slot = slot
        try:
            self.ref = self.send(slot)
        except BaseException as error:  # noqa: BLE001 - arguments that cannot be pickled, an actor that is gone
            self.fail(error)
            return
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter()
        if not self.stream and not self.ref.add_waiter(self.answered):
            self.answered(self.ref)

    def answered(self, ref: Any = None) -> None:
        """The answer is there (or the stream has ended): the replica has a place free again."""
        slot, self.slot = self.slot, None
        if slot is not None:
            if ref is not None and ref.failed():
                self.router.look_at_failure(slot, ref)
            self.router.release(slot, self)
        if self.on_end is not None:
            self.on_end()

    def fail(self, error: BaseException) -> None:
        """The call is not made."""
        self.error = error
        self.answered()
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter()

    def when_assigned(self, waiter: Callable[[], None]) -> None:
        """Call ``waiter()`` once it is known where the call goes."""
        with self.router.lock:
            if not self.assigned:
                self.waiters.append(waiter)
                return
        waiter()

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if self.cancelled:
            return
        self.cancelled = True
        if self.router.withdraw(self):
            self.fail(RequestCancelledError(self.request_id))
        elif self.ref is not None and not self.stream:
            rayjup.cancel(self.ref)
        elif self.ref is not None:
            rayjup.cancel(self.ref)
            self.answered()


class Router:
    """All calls of this process to one deployment."""

    def __init__(self, id: DeploymentID, table: tables.Table | None = None) -> None:
        self.id = id
        self.table = table or tables.table()
        self.lock = threading.RLock()
        self.slots: dict[str, Slot] = {}
        self.open: list[Slot] = []  # those that may be given calls
        self.queue: deque[Call] = deque()
        self.max_queued = -1
        self.back: dict[str, Any] = {}
        self.failed = False
        self.known = False
        self.chooser: Any = None
        self.sent = 0
        self.table.listen(self)
        self.on_table()

    # -- calls

    def submit(self, call: Call) -> None:
        """Make a call: now, or when a replica has a place."""
        self.table.refresh()
        if not self.known:
            self.table.refresh(wait=True)
        if self.chooser is not None:
            self.chooser.submit(call)
            return
        with self.lock:
            problem = self._problem()
            if problem is None:
                slot = self._choose(call.model, call.session) if not self.queue else None
                if slot is None:
                    if 0 <= self.max_queued <= len(self.queue):
                        problem = BackPressureError(len(self.queue), self.max_queued, **self.back)
                    else:
                        self.queue.append(call)
                        self.table.watch()
                        return
                else:
                    slot.ongoing += 1
        if problem is not None:
            call.fail(problem)
        else:
            assert slot is not None
            self.sent += 1
            call.go(slot)

    def take(self, model: str = "", session: str = "") -> Slot | None:
        """A replica with a place, which is taken with that; None where a call has to wait for one."""
        if self.chooser is not None or self.queue or self.failed or not self.known:
            return None
        with self.lock:
            slot = self._choose(model, session)
            if slot is not None:
                slot.ongoing += 1
                self.sent += 1
        return slot

    def _problem(self) -> BaseException | None:
        if self.failed or not self.known:
            return DeploymentUnavailableError(self.id)
        return None

    def _choose(self, model: str, session: str) -> Slot | None:
        slots = self.open
        if model:
            having = [slot for slot in slots if model in slot.models and slot.ongoing < slot.limit]
            if having:
                return min(having, key=lambda slot: slot.ongoing)
            with_room = [slot for slot in slots if slot.ongoing < slot.limit]
            if not with_room:
                return None
            chosen = min(with_room, key=lambda slot: (len(slot.models), slot.ongoing))
            chosen.models.add(model)  # it will have it; the controller confirms that
            return chosen
        if session and slots:
            order = sorted(slots, key=lambda slot: hash((session, slot.id)))
            return next((slot for slot in order if slot.ongoing < slot.limit), None)
        count = len(slots)
        if count == 1:
            slot = slots[0]
            return slot if slot.ongoing < slot.limit else None
        if count > 1:
            one, other = random.sample(slots, 2) if count > 2 else slots
            if count == 2 and random.random() < 0.5:
                one, other = other, one
            better = one if one.ongoing <= other.ongoing else other
            if better.ongoing < better.limit:
                return better
            return min((s for s in slots if s.ongoing < s.limit), key=lambda s: s.ongoing, default=None)
        return None

    def release(self, slot: Slot, call: Call | None = None) -> None:
        """A call at a replica has ended."""
        with self.lock:
            slot.ongoing -= 1
        if self.chooser is not None:
            self.chooser.released(slot, call)
        if self.queue:
            self.pump()

    def pump(self) -> None:
        """Send what waits, as far as there are places."""
        while self.queue:
            with self.lock:
                if not self.queue:
                    return
                slot = self._choose(self.queue[0].model, self.queue[0].session)
                if slot is None:
                    return
                call = self.queue.popleft()
                slot.ongoing += 1
            self.sent += 1
            call.go(slot)

    def force(self, call: Call) -> None:
        """Send a call that waits at once, beyond limits: who waits for it keeps places from getting free."""
        with self.lock:
            if call.assigned or not self.open or call not in self.queue:
                return
            self.queue.remove(call)
            slot = min(self.open, key=lambda s: s.ongoing)
            slot.ongoing += 1
        call.go(slot)

    def withdraw(self, call: Call) -> bool:
        """Take back a call that still waits; False when it does not."""
        with self.lock:
            try:
                self.queue.remove(call)
            except ValueError:
                return False
        return True

    def waiting(self) -> int:
        """How many calls wait for a replica."""
        return len(self.queue) + (self.chooser.waiting() if self.chooser is not None else 0)

    # -- replicas

    def on_table(self) -> None:
        """The controller has said something new."""
        entry = self.table.entry(self.id)
        dropped: list[Call] = []
        with self.lock:
            self.known = entry is not None
            if entry is None:
                self.slots, self.open = {}, []
                dropped, self.queue = list(self.queue), deque()
                self.failed = False
            else:
                self.max_queued = entry["max_queued"]
                self.back = entry.get("back") or {}
                self.failed = bool(entry["failed"])
                slots = {}
                for one in entry["replicas"]:
                    slot = self.slots.get(one["id"])
                    if slot is None:
                        slot = Slot(one)
                    else:
                        slot.update(one)
                    slots[one["id"]] = slot
                self.slots = slots
                self.open = [slot for slot in slots.values() if not slot.dead]
                if self.failed:
                    dropped, self.queue = list(self.queue), deque()
                if entry.get("router") is not None and self.chooser is None:
                    self.chooser = _chooser(self, entry["router"])
        for call in dropped:
            call.fail(DeploymentUnavailableError(self.id))
        if self.chooser is not None:
            self.chooser.on_replicas()
        self.pump()

    def look_at_failure(self, slot: Slot, ref: Any) -> None:
        """A call has failed: if that is because the replica is gone, it gets no more."""
        try:
            rayjup.get(ref)
        except GONE:
            self.lost(slot)
        except BaseException:  # noqa: BLE001 - whatever the user's code raised is for who asked
            return

    def lost(self, slot: Slot) -> None:
        """A replica is gone."""
        with self.lock:
            slot.dead = True
            self.open = [other for other in self.open if other is not slot]
        if not self.table.pushed:
            self.table.asked = min(self.table.asked, 0.0)

    def replica_id(self, slot: Slot) -> ReplicaID:
        """The replica's id, as users see it."""
        return ReplicaID(slot.id, self.id)


def _chooser(router: Router, config: dict[str, Any]) -> Any:
    from rayjup.serve._private.choosing import Chooser  # for deployments with a router class of their own

    return Chooser(router, config)


_routers: dict[tuple[int, DeploymentID], Router] = {}
_lock = threading.Lock()


def router_of(id: DeploymentID) -> Router:
    """The router of this process for a deployment."""
    table = tables.table()
    key = (id_of(table), id)
    router = _routers.get(key)
    if router is None:
        with _lock:
            router = _routers.get(key)
            if router is None:
                for old in [k for k in _routers if k[0] != key[0]]:
                    del _routers[old]  # of a cluster that we have left
                router = _routers[key] = Router(id, table)
    return router


def id_of(table: tables.Table) -> int:
    """Which of the tables of this process's life it is."""
    return id(table)
