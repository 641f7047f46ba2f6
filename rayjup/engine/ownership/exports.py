"""Refs that cross process borders: exporting, borrowing, fetching, releasing.

Wire form of a ref: ``(id, owner address, registered)``; ``registered`` says that the receiver is
already counted at the owner.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import ObjectFreedError, OwnerDiedError
from rayjup.engine.lane import messages as m
from rayjup.engine.objects import on_device
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef, restore

if TYPE_CHECKING:
    from rayjup.engine.lane.peer import Peer
    from rayjup.engine.runtime.runtime import Runtime

WireRef = tuple[bytes, str, bool]
Change = tuple[bytes, int, str]  # object, change of the count, address of the borrower ("": the sender)


class Borrow:
    """Lives in a borrowed ref; its end is told to the owner, once per registered count."""

    __slots__ = ("count", "exports", "fetching", "id", "owner")

    def __init__(self, exports: Exports, id: bytes, owner: str) -> None:
        self.exports = exports
        self.id = id
        self.owner = owner
        self.count = 0  # how often the owner counts us
        self.fetching = False

    def __del__(self) -> None:
        if self.count:
            self.exports.ended.append((self.owner, self.id, -self.count))
            self.exports.runtime.wake()


class Exports:
    """One process's ledger of refs shared with others."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.lock = threading.RLock()
        self.own: weakref.WeakValueDictionary[bytes, ObjectRef] = weakref.WeakValueDictionary()
        self.borrowed: weakref.WeakValueDictionary[bytes, ObjectRef] = weakref.WeakValueDictionary()
        self.holders: dict[bytes, dict[bytes, int]] = {}  # object -> borrower -> signed count
        self.pinned: dict[bytes, ObjectRef] = {}  # kept alive because somebody borrows them
        self.for_ever: list[ObjectRef] = []
        self.ended: deque[tuple[str, bytes, int]] = deque()
        self.fetches: dict[int, tuple[ObjectRef, Peer]] = {}
        self.syncs: dict[int, bool] = {}

    # -- owner's side

    def wire(self, ref: ObjectRef, registered: bool = False) -> WireRef:
        """The form in which ``ref`` travels; makes an own ref findable for others."""
        if ref._owner is None:
            with self.lock:
                self.own[ref._id] = ref
            return (ref._id, self.runtime.address, registered)
        return (ref._id, ref._owner, registered)

    def wire_for(self, refs: list[ObjectRef], receiver: Peer) -> list[WireRef]:
        """Wire forms for refs inside a value handed to ``receiver``, who is counted at once."""
        out = []
        foreign: dict[str, list[Change]] = {}
        for ref in refs:
            if ref._owner is None:
                self.wire(ref)
                self.count(ref._id, receiver.worker_id, 1)
                out.append((ref._id, self.runtime.address, True))
            elif ref._owner == receiver.address:
                out.append((ref._id, ref._owner, False))
            else:
                foreign.setdefault(ref._owner, []).append((ref._id, 1, receiver.address))
                out.append((ref._id, ref._owner, True))
        for owner, changes in foreign.items():
            self._tell_and_wait(owner, changes)
        return out

    def count(self, id: bytes, borrower: bytes, change: int) -> None:
        """Change ``borrower``'s count of our object ``id``."""
        dropped = None
        with self.lock:
            counts = self.holders.setdefault(id, {})
            new = counts.get(borrower, 0) + change
            if new:
                counts[borrower] = new
            else:
                counts.pop(borrower, None)
            if counts:
                if id not in self.pinned:
                    ref = self.own.get(id)
                    if ref is not None:
                        self.pinned[id] = ref
            else:
                del self.holders[id]
                dropped = self.pinned.pop(id, None)
        del dropped  # outside the lock: freeing may run arbitrary code

    def forget_borrower(self, borrower: bytes) -> None:
        """The connection to ``borrower`` ended: it holds nothing any more."""
        with self.lock:
            held = [id for id, counts in self.holders.items() if borrower in counts]
        for id in held:
            with self.lock:
                change = -self.holders.get(id, {}).get(borrower, 0)
            if change:
                self.count(id, borrower, change)

    def pin_for_ever(self, ref: ObjectRef) -> Any:
        """Reduce value of a ref pickled by hand (rule 3)."""
        with self.lock:
            self.for_ever.append(ref)
        id, owner, _ = self.wire(ref)
        return restore, (id, owner)

    def known(self, id: bytes) -> ObjectRef | None:
        """The ref with this id, if this process has shared or borrowed it."""
        with self.lock:
            return self.own.get(id) or self.borrowed.get(id)

    # -- borrower's side

    def adopt(
        self, id: bytes, owner: str, registered: bool = False, fresh: list[Any] | None = None
    ) -> ObjectRef:
        """The ref with this id in this process; ``fresh`` collects those yet to be registered."""
        if owner == self.runtime.address:
            with self.lock:
                ref = self.own.get(id)
            if ref is None:
                ref = ObjectRef(id)
                error = ObjectFreedError(id.hex(), owner, "")
                self.runtime.complete(ref, m.ERROR, error, None)
            return ref
        with self.lock:
            ref = self.borrowed.get(id)
            if ref is None:
                ref = ObjectRef(id)
                ref._owner = owner
                ref._scope = Borrow(self, id, owner)
                self.borrowed[id] = ref
            borrow: Borrow = ref._scope
            if registered:
                borrow.count += 1
            elif not borrow.count and fresh is not None:
                fresh.append(weakref.ref(ref))
        return ref

    def adopt_all(self, wires: list[WireRef], fresh: list[Any] | None = None) -> list[ObjectRef]:
        """:meth:`adopt` for a list of wire forms."""
        return [self.adopt(id, owner, registered, fresh) for id, owner, registered in wires]

    def register_held(self, fresh: list[Any], caller: Peer) -> list[bytes] | None:
        """After a call: register refs from its arguments that are still alive here.

        Those the caller owns are returned, to be listed in the reply; owners elsewhere are told
        and have confirmed when this returns.
        """
        listed = None
        foreign: dict[str, list[Change]] = {}
        for weak in fresh:
            ref = weak()
            if ref is None:
                continue
            borrow: Borrow = ref._scope
            with self.lock:
                if borrow.count:
                    continue
                borrow.count = 1
            if borrow.owner == caller.address:
                if listed is None:
                    listed = []
                listed.append(ref._id)
            else:
                foreign.setdefault(borrow.owner, []).append((ref._id, 1, ""))
        for owner, changes in foreign.items():
            self._tell_and_wait(owner, changes)
        return listed

    def fetch(self, ref: ObjectRef) -> None:
        """Ask the owner for the value of a borrowed ref (once)."""
        borrow: Borrow = ref._scope
        with self.lock:
            if borrow.fetching or ref._kind != PENDING:
                return
            borrow.fetching = True
        self._ask_for(ref, "")

    def fetch_again(self, ref: ObjectRef, lost: str) -> None:
        """Tell the owner of a borrowed ref that its segment ``lost`` is gone, and ask for its value anew."""
        with self.lock:
            if ref._kind != m.SHM or ref._data[0] != lost:
                return  # another thread was faster
            ref._kind, ref._data = PENDING, None
            ref._scope.fetching = True
        self._ask_for(ref, lost)

    def _ask_for(self, ref: ObjectRef, lost: str) -> None:
        borrow: Borrow = ref._scope
        peer = self.runtime.peer_at(borrow.owner)
        if peer is None:
            self.runtime.complete(ref, m.ERROR, self._owner_died(ref), None)
            return
        request = self.runtime.next_request()
        with self.lock:
            self.fetches[request] = (ref, peer)
        peer.send((m.FETCH, request, ref._id, lost))

    def release_ended(self) -> None:
        """Tell owners about borrows that ended since the last time."""
        if not self.ended:
            return
        by_owner: dict[str, list[Change]] = {}
        while True:
            try:
                owner, id, change = self.ended.popleft()
            except IndexError:
                break
            by_owner.setdefault(owner, []).append((id, change, ""))
        for owner, changes in by_owner.items():
            peer = self.runtime.peer_at(owner)  # a third process may have registered us with it
            if peer is not None:
                peer.send((m.BORROW, changes))

    def _tell_and_wait(self, owner: str, changes: list[Change]) -> None:
        peer = self.runtime.peer_at(owner)
        if peer is None:
            return  # a dead owner frees nothing; reading the ref reports it
        request = self.runtime.next_request()
        self.syncs[request] = False
        peer.post((m.BORROW, changes))
        peer.send((m.SYNC, request))
        self.runtime.reactor.lead(lambda: self.syncs[request] or peer.closed)
        del self.syncs[request]

    # -- messages

    def on_fetch(self, peer: Peer, request: int, id: bytes, lost: str = "") -> None:
        """Another process asks for one of our values, whose segment ``lost`` it did not find."""
        with self.lock:
            ref = self.own.get(id)
        if ref is None:
            error = ObjectFreedError(id.hex(), self.runtime.address, "")
            peer.send((m.VALUE, request, m.ERROR, self.runtime.pack_error(error)))
            return

        if lost:
            self.runtime.lineage.on_reported(ref, lost)

        if ref._kind == m.DEVICE:

            def copied(error: BaseException | None) -> None:
                status, value = (
                    (m.ERROR, self.runtime.pack_error(error))
                    if error is not None
                    else self.runtime.encode_value(ref, receiver=peer)
                )
                peer.send((m.VALUE, request, status, value))

            on_device.when_copied(self.runtime, ref._data, copied)
            return

        def answer(ref: ObjectRef) -> None:
            status, value = self.runtime.encode_value(ref, receiver=peer, lost=lost)
            peer.send((m.VALUE, request, status, value))

        if not self.runtime.add_waiter(ref, answer):
            answer(ref)

    def on_value(self, request: int, status: int, value: Any) -> None:
        """The answer to our fetch."""
        with self.lock:
            entry = self.fetches.pop(request, None)
        if entry is not None:
            self.runtime.complete_wire(entry[0], status, value, own=False)

    def on_borrow(self, peer: Peer, changes: list[Change]) -> None:
        """A borrower's count changed (or, told by a third party, somebody else's)."""
        for id, change, address in changes:
            # Without a connection of our own we would never learn of the borrower's death.
            borrower = self.runtime.peer_at(address) if address else peer
            if borrower is not None:
                self.count(id, borrower.worker_id, change)

    def on_peer_closed(self, peer: Peer) -> None:
        """A connection ended: what we waited for from there will not come."""
        self.forget_borrower(peer.worker_id)
        with self.lock:
            lost = [r for r, (_, p) in self.fetches.items() if p is peer]
            refs = [self.fetches.pop(r)[0] for r in lost]
        for ref in refs:
            self.runtime.complete(ref, m.ERROR, self._owner_died(ref), None)

    def fail_all(self, error: BaseException) -> None:
        """We disconnect: what we asked others for will not come."""
        with self.lock:
            refs = [ref for ref, _ in self.fetches.values()]
            self.fetches.clear()
        for ref in refs:
            self.runtime.complete(ref, m.ERROR, error, None)

    def _owner_died(self, ref: ObjectRef) -> OwnerDiedError:
        return OwnerDiedError(ref.hex(), ref._owner or "", "")
