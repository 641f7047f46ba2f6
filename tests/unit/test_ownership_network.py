"""Refs that wander between processes, under any order of messages and with processes that die.

The ledgers are the real ones (``Exports``); the connections are queues, each in order, that
hypothesis delivers from in any order. What has to hold: while a process holds a ref, its living owner
keeps the object; when nobody does, the owner remembers nothing of it.
"""

from __future__ import annotations

import itertools
import random
import threading
import weakref
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rayjup.engine.lane import messages as m
from rayjup.engine.ownership.exports import Exports
from rayjup.engine.ownership.object_ref import ObjectRef

END = ("end of connection",)
COUNT = 4


class Peer:
    """One end of a connection; what is sent lies in a queue of the network."""

    def __init__(self, net: Network, me: Process, other: Process) -> None:
        self.queue = net.queues.setdefault((me.address, other.address), deque())
        self.address = other.address
        self.worker_id = other.worker_id
        self.closed = False

    def post(self, message: tuple) -> None:
        if not self.closed:
            self.queue.append(message)

    send = post


class Process:
    """Stands for the runtime of one process."""

    def __init__(self, net: Network, number: int) -> None:
        self.net = net
        self.address = f"/run/w-{number:02d}.sock"
        self.worker_id = bytes([number]) * 8
        self.alive = True
        self.lock = threading.RLock()
        self.peers: dict[str, Peer] = {}
        self.requests = itertools.count()
        self.next_request = lambda: next(self.requests)
        self.reactor = SimpleNamespace(lead=self.lead)
        self.exports = Exports(self)  # type: ignore[arg-type]
        self.held: list[ObjectRef] = []
        self.calls: dict[int, ObjectRef] = {}  # pinned until the reply

    def wake(self) -> None:
        """A borrow has ended; ``tick`` tells the owner."""

    def peer_at(self, address: str, connect: bool = True) -> Peer | None:
        other = self.net.processes[address]
        if not other.alive and address not in self.peers:
            return None
        if address not in self.peers:
            self.peers[address] = Peer(self.net, self, other)
            if self.address not in other.peers:
                other.peers[self.address] = Peer(self.net, other, self)
        return self.peers[address]

    def lead(self, done, deadline=None) -> bool:
        while not done():
            assert self.net.deliver_any(to=self), "a process waits for an answer that nobody gives"
        return True

    def complete(self, ref, kind, data, inner) -> None:
        ref._kind, ref._data = kind, data

    def handle(self, sender: Process, message: tuple) -> None:
        peer = self.peer_at(sender.address)
        kind = message[0]
        if message is END:
            self.peers.pop(sender.address, None)
            if peer is not None:
                peer.closed = True
                self.exports.on_peer_closed(peer)
        elif peer is None:
            return
        elif kind == m.BORROW:
            self.exports.on_borrow(peer, message[1])
        elif kind == m.SYNC:
            peer.send((m.BORROW_ACK, message[1]))
        elif kind == m.BORROW_ACK:
            self.exports.syncs[message[1]] = True
        elif kind == m.CALL:
            _, call, wires, keeps = message
            fresh: list = []
            refs = self.exports.adopt_all(wires, fresh)
            if keeps:
                self.held += refs
            del refs
            peer.send((m.REPLY, call, self.exports.register_held(fresh, peer)))
        elif kind == m.REPLY:
            for id in message[2] or ():
                self.exports.count(id, peer.worker_id, 1)
            self.calls.pop(message[1], None)
        elif kind == m.VALUE:
            self.held += self.exports.adopt_all(message[1])


class Network:
    """Processes, and what is on its way between them."""

    def __init__(self) -> None:
        self.queues: dict[tuple[str, str], deque[tuple]] = {}
        self.processes: dict[str, Process] = {}
        self.random = random.Random(0)

    def deliver_any(self, to: Process | None = None) -> bool:
        """Deliver the first message of some connection; one to ``to`` is always among the candidates."""
        full = [key for key, queue in self.queues.items() if queue]
        if not full:
            return False
        self.deliver(self.random.choice(full))
        return True

    def deliver(self, key: tuple[str, str]) -> None:
        message = self.queues[key].popleft()
        sender, receiver = (self.processes[address] for address in key)
        if receiver.alive:
            receiver.handle(sender, message)


class Wandering(RuleBasedStateMachine):
    """Processes make objects, hand refs on in calls and values, drop them, and die."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Network()
        for number in range(COUNT):
            process = Process(self.net, number)
            self.net.processes[process.address] = process
        self.objects: dict[bytes, tuple[Process, weakref.ref[ObjectRef]]] = {}
        self.risky: set[bytes] = set()  # they were with a process when it died
        self.numbers = itertools.count(1)

    @property
    def living(self) -> list[Process]:
        return [p for p in self.net.processes.values() if p.alive]

    def some(self, number: int) -> Process:
        return self.living[number % len(self.living)]

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.net.random.seed(seed)

    @rule(who=st.integers(0, 9))
    def make(self, who: int) -> None:
        owner = self.some(who)
        ref = ObjectRef(next(self.numbers).to_bytes(28, "little"))
        ref._kind = m.PLAIN
        owner.held.append(ref)
        self.objects[ref._id] = (owner, weakref.ref(ref))

    @rule(who=st.integers(0, 9), to=st.integers(0, 9), which=st.integers(0, 99), keeps=st.booleans())
    def call(self, who: int, to: int, which: int, keeps: bool) -> None:
        """A ref is an argument of a call: pinned until the reply."""
        caller, callee = self.some(who), self.some(to)
        if caller is callee or not caller.held:
            return
        ref = caller.held[which % len(caller.held)]
        number = next(self.numbers)
        caller.calls[number] = ref
        peer = caller.peer_at(callee.address)
        assert peer is not None
        peer.send((m.CALL, number, [caller.exports.wire(ref)], keeps))

    @rule(who=st.integers(0, 9), to=st.integers(0, 9), which=st.integers(0, 99))
    def give(self, who: int, to: int, which: int) -> None:
        """A ref lies in a value that another process is given: counted before it leaves."""
        giver, taker = self.some(who), self.some(to)
        if giver is taker or not giver.held:
            return
        peer = giver.peer_at(taker.address)
        assert peer is not None
        peer.send((m.VALUE, giver.exports.wire_for([giver.held[which % len(giver.held)]], peer)))

    @rule(who=st.integers(0, 9), which=st.integers(0, 99))
    def drop(self, who: int, which: int) -> None:
        process = self.some(who)
        if process.held:
            del process.held[which % len(process.held)]

    @rule(who=st.integers(0, 9))
    def tick(self, who: int) -> None:
        self.some(who).exports.release_ended()

    @rule(whiches=st.lists(st.integers(0, 99), min_size=1, max_size=6))
    def deliver(self, whiches: list[int]) -> None:
        for which in whiches:
            full = sorted(key for key, queue in self.net.queues.items() if queue)
            if full:
                self.net.deliver(full[which % len(full)])

    @rule(who=st.integers(0, 9), fate=st.integers(0, 11))
    def die(self, who: int, fate: int) -> None:
        if len(self.living) <= 2 or fate:  # while three live there are third parties
            return
        victim = self.some(who)
        victim.alive = False
        self.risky |= {ref._id for ref in [*victim.held, *victim.calls.values()]}
        for queue in self.net.queues.values():
            for message in queue:
                wires = message[2] if message[0] == m.CALL else message[1] if message[0] == m.VALUE else ()
                self.risky |= {wire[0] for wire in wires}
        victim.held.clear()
        victim.calls.clear()
        for other in self.living:
            self.net.queues.pop((other.address, victim.address), None)
            if victim.address in other.peers:
                self.net.queues.setdefault((victim.address, other.address), deque()).append(END)

    @invariant()
    def what_is_held_is_there(self) -> None:
        for process in self.living:
            for ref in [*process.held, *process.calls.values()]:
                owner, original = self.objects[ref._id]
                if owner.alive and ref._id not in self.risky:
                    assert original() is not None, "its owner has freed an object that is held"

    def teardown(self) -> None:
        while self.net.deliver_any() or self._end_borrows():
            pass
        self.what_is_held_is_there()
        for process in self.living:
            process.held.clear()
            process.calls.clear()
        while self.net.deliver_any() or self._end_borrows():
            pass
        for process in self.living:
            assert not process.exports.holders, "somebody is counted who holds nothing"
            assert not process.exports.pinned
        assert all(original() is None for owner, original in self.objects.values() if owner.alive)

    def _end_borrows(self) -> bool:
        pending = [p for p in self.living if p.exports.ended]
        for process in pending:
            process.exports.release_ended()
        return bool(pending)


Wandering.TestCase.settings = settings(max_examples=150, stateful_step_count=100, deadline=None)
TestWandering = Wandering.TestCase


@pytest.mark.parametrize("seed", range(6))
def test_long_walks(seed):
    """Many refs that third parties hand on: rarer than what the shrinkable histories above come to."""
    rng = random.Random(seed)
    for _ in range(60):
        walk = Wandering()
        walk.net.random.seed(rng.random())
        for _ in range(300):
            step = rng.choices(
                ("make", "call", "give", "drop", "tick", "deliver", "die"), (3, 6, 4, 4, 3, 9, 0.1)
            )
            whom = {"who": rng.randrange(10)} if step != ["deliver"] else {}
            if step == ["deliver"]:
                walk.deliver(whiches=[rng.randrange(100) for _ in range(4)])
            elif step in (["call"], ["give"]):
                keeps = {"keeps": rng.random() < 0.7} if step == ["call"] else {}
                getattr(walk, step[0])(**whom, to=rng.randrange(10), which=rng.randrange(100), **keeps)
            elif step == ["drop"]:
                walk.drop(**whom, which=rng.randrange(100))
            elif step == ["die"]:
                walk.die(**whom, fate=0)
            else:
                getattr(walk, step[0])(**whom)
            walk.what_is_held_is_there()
        walk.teardown()
