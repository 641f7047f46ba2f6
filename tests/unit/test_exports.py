"""The ledger of refs shared with other processes, without any other process.

``FakeRuntime`` stands for the process: it records what would be sent and completes refs as the real
one does.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayjup.base.exceptions import ObjectFreedError, OwnerDiedError
from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.exports import Exports
from rayjup.engine.ownership.object_ref import ObjectRef

ME = "/run/w-00.sock"
OWNER = "/run/w-11.sock"


class FakePeer:
    def __init__(self, address: str, worker_id: bytes) -> None:
        self.address = address
        self.worker_id = worker_id
        self.closed = False
        self.sent: list[tuple] = []

    def post(self, message: tuple) -> None:
        self.sent.append(message)

    send = post


class FakeReactor:
    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime = runtime

    def lead(self, done, deadline=None) -> bool:
        for peer in self.runtime.reachable.values():  # everybody answers at once
            for message in peer.sent:
                if message[0] == m.SYNC:
                    self.runtime.exports.syncs[message[1]] = True
        assert done(), "a process waits for an answer that nobody gives"
        return True


class FakeRuntime:
    def __init__(self) -> None:
        self.address = ME
        self.reachable: dict[str, FakePeer] = {}
        self.connected: set[str] = set()
        self.requests = 0
        self.exports: Exports
        self.reactor = FakeReactor(self)

    def peer_at(self, address: str, connect: bool = True):
        if not connect and address not in self.connected:
            return None
        peer = self.reachable.get(address)
        if peer is not None:
            self.connected.add(address)
        return peer

    def wake(self) -> None:
        self.woken = True

    def next_request(self) -> int:
        self.requests += 1
        return self.requests

    def complete(self, ref, kind, data, inner) -> None:
        ref._kind, ref._data, ref._inner = kind, data, inner

    def complete_wire(self, ref, status, value, own=True, writer=None) -> None:
        self.complete(ref, status, value, None)

    def add_waiter(self, ref, waiter) -> bool:
        return False

    def encode_value(self, ref, receiver=None, lost=""):
        return ref._kind, ref._data

    def pack_error(self, error):
        return error


@pytest.fixture
def runtime() -> FakeRuntime:
    made = FakeRuntime()
    made.exports = Exports(made)
    return made


def own_ref(exports: Exports, letter: str = "a") -> ObjectRef:
    ref = ObjectRef(letter.encode() * 28)
    exports.wire(ref)
    return ref


# -- the owner's side


def test_a_borrowed_object_stays_until_the_count_is_zero(runtime):
    exports = runtime.exports
    ref = own_ref(exports)
    id = ref._id
    exports.count(id, b"w1", 1)
    exports.count(id, b"w2", 1)
    del ref
    assert id in exports.own
    exports.count(id, b"w1", -1)
    assert id in exports.own
    exports.count(id, b"w2", -1)
    assert id not in exports.own and not exports.holders and not exports.pinned


def test_an_object_freed_by_others_is_still_ours(runtime):
    exports = runtime.exports
    ref = own_ref(exports)
    exports.count(ref._id, b"w1", 1)
    exports.count(ref._id, b"w1", -1)
    assert exports.own[ref._id] is ref


def test_an_end_that_arrives_before_its_beginning_leaves_nothing(runtime):
    """The end of a borrow and its registration may come over different connections."""
    exports = runtime.exports
    ref = own_ref(exports)
    id = ref._id
    exports.count(id, b"w1", -1)
    exports.count(id, b"w1", 1)
    del ref
    assert id not in exports.own and not exports.holders and not exports.pinned


changes = st.lists(
    st.tuples(st.sampled_from([b"w1", b"w2", b"w3"]), st.integers(1, 3)), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(changes, st.randoms(use_true_random=False))
def test_counts_in_any_order_end_at_zero(sums, random):
    """Every +n has its -n; in whatever order they arrive, the object lives exactly until the end."""
    runtime = FakeRuntime()
    exports = runtime.exports = Exports(runtime)
    ref = own_ref(exports)
    id = ref._id
    events = [(w, n) for w, n in sums] + [(w, -n) for w, n in sums]
    random.shuffle(events)
    for worker, change in events:
        exports.count(id, worker, change)
    assert not exports.holders and not exports.pinned
    del ref
    assert id not in exports.own


@settings(max_examples=60, deadline=None)
@given(changes, st.sets(st.sampled_from([b"w1", b"w2", b"w3"])))
def test_a_borrower_that_dies_holds_nothing(sums, dead):
    runtime = FakeRuntime()
    exports = runtime.exports = Exports(runtime)
    ref = own_ref(exports)
    id = ref._id
    for worker, change in sums:
        exports.count(id, worker, change)
    for worker in dead:
        exports.forget_borrower(worker)
        exports.forget_borrower(worker)
    living = {w for w, _ in sums} - dead
    assert set(exports.holders.get(id, {})) == living
    assert (id in exports.pinned) == bool(living)


def test_asking_for_a_freed_object_is_answered_with_an_error(runtime):
    peer = FakePeer(OWNER, b"w1")
    runtime.exports.on_fetch(peer, 5, b"x" * 28)
    kind, request, status, error = peer.sent[0]
    assert (kind, request, status) == (m.VALUE, 5, m.ERROR) and isinstance(error, ObjectFreedError)


def test_a_third_party_may_register_somebody_else(runtime):
    exports = runtime.exports
    ref = own_ref(exports)
    runtime.reachable["/run/w-7733.sock"] = FakePeer("/run/w-7733.sock", bytes.fromhex("7733"))
    exports.on_borrow(FakePeer(OWNER, b"\x11"), [(ref._id, 1, "/run/w-7733.sock")])
    assert exports.holders[ref._id] == {bytes.fromhex("7733"): 1}
    assert "/run/w-7733.sock" in runtime.connected, "its death would not be noticed otherwise"


def test_somebody_who_is_dead_already_is_not_registered(runtime):
    exports = runtime.exports
    ref = own_ref(exports)
    exports.on_borrow(FakePeer(OWNER, b"\x11"), [(ref._id, 1, "/run/w-7733.sock")])
    assert not exports.holders and not exports.pinned


def test_refs_inside_a_value_are_counted_for_its_receiver(runtime):
    exports = runtime.exports
    ref = own_ref(exports)
    receiver = FakePeer(OWNER, b"w1")
    assert exports.wire_for([ref], receiver) == [(ref._id, ME, True)]
    assert exports.holders[ref._id] == {b"w1": 1}


def test_refs_that_the_receiver_owns_are_not_counted(runtime):
    ref = runtime.exports.adopt(b"b" * 28, OWNER)
    assert runtime.exports.wire_for([ref], FakePeer(OWNER, b"w1")) == [(b"b" * 28, OWNER, False)]


def test_refs_of_a_third_process_are_registered_there_before_the_value_leaves(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    ref = runtime.exports.adopt(b"b" * 28, OWNER)
    receiver = FakePeer("/run/w-22.sock", b"\x22")
    assert runtime.exports.wire_for([ref], receiver) == [(b"b" * 28, OWNER, True)]
    assert [message[0] for message in owner.sent] == [m.BORROW, m.SYNC]
    assert owner.sent[0][1] == [(b"b" * 28, 1, "/run/w-22.sock")]


# -- the borrower's side


def told(peer: FakePeer) -> list[tuple]:
    return [change for message in peer.sent if message[0] == m.BORROW for change in message[1]]


def test_the_end_of_a_borrow_is_told_once(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    runtime.connected.add(OWNER)
    exports = runtime.exports
    ref = exports.adopt(b"b" * 28, OWNER, registered=True)
    again = exports.adopt(b"b" * 28, OWNER, registered=True)
    assert ref is again
    del ref
    exports.release_ended()
    assert told(owner) == []
    del again
    exports.release_ended()
    exports.release_ended()
    assert told(owner) == [(b"b" * 28, -2, "")]


def test_the_end_of_a_borrow_is_told_to_an_owner_we_never_talked_to(runtime):
    """A third process registered us; we never asked for the value, and have no connection yet."""
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    ref = runtime.exports.adopt(b"b" * 28, OWNER, registered=True)
    del ref
    runtime.exports.release_ended()
    assert told(owner) == [(b"b" * 28, -1, "")]


def test_an_owner_that_is_gone_need_not_be_told(runtime):
    ref = runtime.exports.adopt(b"b" * 28, OWNER, registered=True)
    del ref
    runtime.exports.release_ended()
    assert not runtime.exports.ended


def test_an_unregistered_borrow_ends_silently(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    fresh: list = []
    ref = runtime.exports.adopt(b"b" * 28, OWNER, fresh=fresh)
    assert len(fresh) == 1
    del ref
    runtime.exports.release_ended()
    assert owner.sent == []
    assert runtime.exports.register_held(fresh, owner) is None


def test_refs_still_held_after_a_call_are_listed_for_their_owner(runtime):
    caller = FakePeer(OWNER, b"\x11")
    runtime.reachable[OWNER] = caller
    fresh: list = []
    ref = runtime.exports.adopt(b"b" * 28, OWNER, fresh=fresh)
    assert runtime.exports.register_held(fresh, caller) == [b"b" * 28]
    assert runtime.exports.register_held(fresh, caller) is None, "registered once"
    assert caller.sent == []
    del ref
    runtime.exports.release_ended()
    assert told(caller) == [(b"b" * 28, -1, "")]


def test_refs_still_held_that_others_own_are_registered_with_them(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    fresh: list = []
    ref = runtime.exports.adopt(b"b" * 28, OWNER, fresh=fresh)
    assert runtime.exports.register_held(fresh, FakePeer("/run/w-22.sock", b"\x22")) is None
    assert told(owner) == [(b"b" * 28, 1, "")] and owner.sent[-1][0] == m.SYNC
    del ref


def test_our_own_ref_comes_home_as_itself(runtime):
    ref = own_ref(runtime.exports)
    assert runtime.exports.adopt(ref._id, ME) is ref


def test_our_own_ref_that_was_freed_says_so(runtime):
    ref = runtime.exports.adopt(b"z" * 28, ME)
    assert ref._kind == m.ERROR and isinstance(ref._data, ObjectFreedError)


def test_fetching_asks_once(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    ref = runtime.exports.adopt(b"b" * 28, OWNER)
    runtime.exports.fetch(ref)
    runtime.exports.fetch(ref)
    assert [message[0] for message in owner.sent] == [m.FETCH]
    runtime.exports.on_value(owner.sent[0][1], m.PLAIN, 42)
    assert ref._data == 42 and not runtime.exports.fetches
    runtime.exports.on_value(owner.sent[0][1], m.PLAIN, 43)
    assert ref._data == 42


def test_fetching_from_a_dead_owner(runtime):
    ref = runtime.exports.adopt(b"b" * 28, OWNER)
    runtime.exports.fetch(ref)
    assert ref._kind == m.ERROR and isinstance(ref._data, OwnerDiedError)


def test_an_owner_that_dies_before_it_answers(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    ref = runtime.exports.adopt(b"b" * 28, OWNER)
    runtime.exports.fetch(ref)
    runtime.exports.on_peer_closed(owner)
    assert isinstance(ref._data, OwnerDiedError) and not runtime.exports.fetches


def test_an_owner_that_dies_while_it_is_to_confirm(runtime):
    owner = runtime.reachable[OWNER] = FakePeer(OWNER, b"\x11")
    runtime.reactor.lead = lambda done, deadline=None: setattr(owner, "closed", True) or done()
    ref = runtime.exports.adopt(b"b" * 28, OWNER)
    runtime.exports.wire_for([ref], FakePeer("/run/w-22.sock", b"\x22"))
    assert not runtime.exports.syncs
