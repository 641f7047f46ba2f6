"""The reactor: whoever waits leads, others follow, and an interrupt cuts no handler in two."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rayjup.engine.lane import reactor as reactor_module
from rayjup.engine.lane.peer import Listener, Peer, connect_unix
from rayjup.engine.lane.reactor import Reactor


def make_reactor(busy: Callable[[], bool] = lambda: False) -> Reactor:
    return Reactor(lambda: None, busy)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = make_reactor()
    yield made
    made.close()
    for sock in _sockets:
        sock.close()
    _sockets.clear()


_sockets: list[socket.socket] = []


def connected(reactor: Reactor, on_messages=None, on_close=None) -> tuple[Peer, Peer, list]:
    """Two ends of a connection in one reactor; what the second receives."""
    a, b = socket.socketpair()
    _sockets.extend((a, b))  # closed even where a test fails
    received: list = []
    first = Peer(reactor, a, lambda peer, messages: None, lambda peer: None)
    second = Peer(
        reactor,
        b,
        on_messages or (lambda peer, messages: received.extend(messages)),
        on_close or (lambda peer: None),
    )
    reactor.add(first)
    reactor.add(second)
    return first, second, received


def close(*peers: Peer) -> None:
    for peer in peers:
        peer.close()


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.0005)


def test_the_waiting_thread_reads_itself(reactor):
    where = []
    first, second, _ = connected(reactor, lambda peer, messages: where.append(threading.get_ident()))
    first.send((1,))
    assert reactor.lead(lambda: bool(where), time.monotonic() + 30)
    assert where == [threading.get_ident()]
    close(first, second)


def test_a_deadline_that_passes(reactor):
    started = time.monotonic()
    assert reactor.lead(lambda: False, started + 0.03) is False
    assert 0.025 <= time.monotonic() - started < 5


def test_done_before_a_deadline_in_the_past_is_done(reactor):
    assert reactor.lead(lambda: True, time.monotonic() - 1) is True


def test_a_follower_sees_what_the_leader_reads(reactor):
    first, second, received = connected(reactor)
    leading = threading.Event()
    results = []

    def lead() -> None:
        leading.set()
        results.append(reactor.lead(lambda: len(received) >= 2, time.monotonic() + 30))

    leader = threading.Thread(target=lead)
    leader.start()
    leading.wait(30)
    wait_for(lambda: reactor._leader == leader.ident)
    sender = threading.Timer(0.01, lambda: first.send((1,)))
    sender.start()
    assert reactor.lead(lambda: len(received) >= 1, time.monotonic() + 30)
    first.send((2,))
    leader.join(30)
    sender.join()
    assert results == [True] and received == [(1,), (2,)]
    close(first, second)


def test_a_follower_takes_over_when_the_leader_leaves(reactor):
    first, second, received = connected(reactor)
    gone = threading.Event()
    leader = threading.Thread(target=lambda: reactor.lead(gone.is_set, time.monotonic() + 30))
    leader.start()
    wait_for(lambda: reactor._leader == leader.ident)
    follower = threading.Thread(target=lambda: reactor.lead(lambda: bool(received), time.monotonic() + 30))
    follower.start()
    wait_for(lambda: reactor._waiters)
    gone.set()
    reactor.kick()
    leader.join(30)
    first.send((1,))
    follower.join(30)
    assert received == [(1,)] and not follower.is_alive()
    close(first, second)


def test_the_deadline_of_a_follower(reactor):
    stop = threading.Event()
    leader = threading.Thread(target=lambda: reactor.lead(stop.is_set, time.monotonic() + 30))
    leader.start()
    wait_for(lambda: reactor._leader == leader.ident)
    started = time.monotonic()
    assert reactor.lead(lambda: False, started + 0.03) is False
    assert 0.025 <= time.monotonic() - started < 4
    assert not reactor._waiters, "a follower that gave up must not stay among the waiters"
    stop.set()
    reactor.kick()
    leader.join(30)


def test_kick_wakes_a_leader_from_another_thread(reactor):
    done = threading.Event()

    def finish() -> None:
        done.set()
        reactor.kick()

    timer = threading.Timer(0.01, finish)
    timer.start()
    started = time.monotonic()
    assert reactor.lead(done.is_set, started + 5)
    assert time.monotonic() - started < 4
    timer.join()


def test_waiting_inside_a_handler_reads_on(reactor):
    order = []

    def on_messages(peer: Peer, messages: list) -> None:
        order.extend(messages)
        if messages[0] == (1,):
            assert reactor.lead(lambda: (2,) in order, time.monotonic() + 30)
            order.append("handler of 1 goes on")

    first, second, _ = connected(reactor, on_messages)
    first.send((1,))
    timer = threading.Timer(0.01, lambda: first.send((2,)))
    timer.start()
    assert reactor.lead(lambda: len(order) == 3, time.monotonic() + 30)
    assert order == [(1,), (2,), "handler of 1 goes on"]
    timer.join()
    close(first, second)


def test_the_background_thread_reads_when_nobody_waits():
    reactor = make_reactor(lambda: True)
    first, second, received = connected(reactor)
    reactor.start_background()
    first.send((1,))
    wait_for(lambda: received)
    close(first, second)
    reactor.close()
    assert not any(t.name == "rayjup-lane" and t.is_alive() for t in threading.enumerate())


def test_a_foreground_thread_gets_the_lead_from_a_sleeping_background_thread():
    reactor = make_reactor(lambda: False)
    first, second, _ = connected(reactor)
    reactor.start_background()
    wait_for(lambda: reactor._leader == -1 and reactor.endless)
    where = []
    second.on_messages = lambda peer, messages: where.append(threading.get_ident())
    this = threading.get_ident()

    def send_when_it_leads() -> None:
        wait_for(lambda: reactor._leader == this)
        first.send((1,))

    sender = threading.Thread(target=send_when_it_leads)
    sender.start()
    assert reactor.lead(lambda: bool(where), time.monotonic() + 30)
    assert where == [this]
    sender.join()
    close(first, second)
    reactor.close()


def test_a_peer_that_ends_is_reported_once(reactor):
    closed = []
    first, second, _ = connected(reactor, on_close=closed.append)
    first.close()
    assert reactor.lead(lambda: bool(closed), time.monotonic() + 30)
    second.close()
    assert closed == [second]


def test_garbage_ends_the_connection_and_nothing_else(reactor):
    closed = []
    first, _, _ = connected(reactor, on_close=closed.append)
    third, fourth, received = connected(reactor)
    first.sock.send(b"\xff\xff\xff\xffgarbage")
    assert reactor.lead(lambda: bool(closed), time.monotonic() + 30)
    third.send((1,))
    assert reactor.lead(lambda: bool(received), time.monotonic() + 30)
    close(first, third, fourth)


def test_a_write_the_socket_does_not_take_at_once(reactor):
    first, second, received = connected(reactor)
    first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    payload = bytes(range(256)) * 4096  # a megabyte
    first.send((1, payload))
    assert first._unsent is not None, "the test needs a partial write"
    for number in range(2, 5):  # while the first is on its way
        first.send((number, payload))
    assert reactor.lead(lambda: len(received) == 4, time.monotonic() + 30)
    assert [m[0] for m in received] == [1, 2, 3, 4]
    assert all(m[1] == payload for m in received)
    assert first._unsent is None and not first.outbox
    close(first, second)


def test_a_partial_write_to_a_peer_that_ends(reactor):
    first, second, _ = connected(reactor)
    closed = []
    first.on_close = closed.append
    first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    first.send((1, b"x" * (1 << 20)))
    second.close()
    assert reactor.lead(lambda: bool(closed), time.monotonic() + 30)
    first.send((2,))  # does nothing
    assert closed == [first]


def test_threads_send_on_one_peer_without_mixing_frames(reactor):
    first, second, received = connected(reactor)

    def send(number: int) -> None:
        for i in range(100):
            first.send((number, i, b"x" * 500))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    assert reactor.lead(lambda: len(received) == 400, time.monotonic() + 30)
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [m[1] for m in received if m[0] == number] == list(range(100))
    close(first, second)


def test_listener_accepts_and_connect_says_why_not(reactor, tmp_path):
    path = str(tmp_path / "s.sock")
    accepted = []
    listener = Listener(reactor, path, accepted.append)
    sock = connect_unix(path)
    assert reactor.lead(lambda: bool(accepted), time.monotonic() + 30)
    sock.close()
    accepted[0].close()
    reactor.remove(listener)
    listener.sock.close()
    with pytest.raises(OSError):
        connect_unix(path, timeout_s=0.5)


# -- interrupts


@pytest.fixture
def shielding() -> Iterator[Reactor]:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    made = make_reactor()
    made.shield_interrupts = True
    yield made
    made.close()
    signal.signal(signal.SIGINT, before)
    for sock in _sockets:
        sock.close()
    _sockets.clear()


def interrupt_once(condition: Callable[[], object]) -> threading.Thread:
    """A thread that sends the interrupt as soon as ``condition`` is true."""

    def run() -> None:
        wait_for(condition)
        time.sleep(0.002)  # most often into the system call
        interrupt()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_an_interrupt_in_a_handler_waits_for_its_end(shielding):
    steps = []

    def on_messages(peer: Peer, messages: list) -> None:
        steps.append("begins")
        interrupt()
        for _ in range(1000):  # give Python every chance to run the signal's handler here
            pass
        steps.append("ends")

    first, second, _ = connected(shielding, on_messages)
    first.send((1,))
    with pytest.raises(KeyboardInterrupt):
        shielding.lead(lambda: False, time.monotonic() + 30)
    assert steps == ["begins", "ends"]
    close(first, second)


def test_an_interrupt_while_waiting_comes_at_once_and_leaves_a_working_reactor(shielding):
    first, second, received = connected(shielding)
    for number in range(5):
        timer = interrupt_once(lambda: shielding._leader == threading.main_thread().ident)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            shielding.lead(lambda: False, started + 5)
        assert time.monotonic() - started < 4
        timer.join()
        assert not shielding._lead.locked() and shielding._leader == 0 and shielding._wanted == 0
        first.send((number,))
        assert shielding.lead(lambda: len(received) > number, time.monotonic() + 30)  # noqa: B023
    shielding.lower_shield()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    close(first, second)


@contextmanager
def led_by_another(reactor: Reactor) -> Iterator[None]:
    """Another thread leads; this one is interrupted as soon as it waits."""
    stop = threading.Event()
    leader = threading.Thread(target=lambda: reactor.lead(stop.is_set, time.monotonic() + 20))
    leader.start()
    wait_for(lambda: reactor._leader == leader.ident)
    timer = interrupt_once(lambda: reactor._sheltered)
    yield
    stop.set()
    reactor.kick()
    leader.join(30)
    timer.join()


def test_an_interrupt_while_following(shielding):
    with led_by_another(shielding):
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            shielding.lead(lambda: False, started + 5)
        assert time.monotonic() - started < 4
        assert shielding._wanted == 1 and not shielding._waiters


def test_a_handler_that_only_takes_note_does_not_end_the_waiting_of_a_follower(shielding):
    noted = []
    previous = signal.signal(signal.SIGINT, lambda *_: noted.append(1))
    with led_by_another(shielding):
        started = time.monotonic()
        assert shielding.lead(lambda: bool(noted) and time.monotonic() > started + 0.2, started + 10)
    signal.signal(signal.SIGINT, previous)
    shielding.lower_shield()


def test_an_interrupt_at_any_line_of_lead_leaves_nothing_locked(shielding):
    """Raise the signal from a trace function at each line event inside ``lead``, one run each."""
    code = Reactor.lead.__code__
    target = 0
    while True:
        target += 1
        seen = 0

        def trace(frame, event, arg):
            nonlocal seen
            if frame.f_code is not code:
                return None
            if event == "line":
                seen += 1
                if seen == target:  # noqa: B023
                    signal.raise_signal(signal.SIGINT)
            return trace

        finished = time.monotonic() + 0.01
        caught = False
        sys.settrace(trace)
        try:
            shielding.lead(lambda: time.monotonic() > finished, finished + 0.002)  # noqa: B023
        except KeyboardInterrupt:
            caught = True
        finally:
            sys.settrace(None)
        if seen < target:
            break
        assert caught, f"the interrupt at line event {target} of lead() got lost"
        state = (shielding._lead.locked(), shielding._leader, shielding._wanted, shielding._waiters)
        assert state == (False, 0, 0, []), f"after an interrupt at line event {target} of lead()"
        shielding.lower_shield()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert target > 10


def test_a_signal_that_comes_again_while_it_is_noted_is_noted_once(shielding, monkeypatch):
    """The background thread sends it again at once; without end, if each time it found us noting it."""
    depth = []

    def again() -> None:
        depth.append(1)
        if len(depth) < 5:
            on_signal(signal.SIGINT, sys._getframe())

    monkeypatch.setattr(shielding, "unpark", again)
    monkeypatch.setattr(reactor_module, "_is_delicate", lambda frame: True)
    on_signal = shielding.shielded(signal.default_int_handler)
    on_signal(signal.SIGINT, None)
    assert len(depth) == 1 and reactor_module.taken() == signal.SIGINT


def test_a_postponed_signal_is_sent_again_once_in_a_tick(shielding, monkeypatch):
    sent = []
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, number: sent.append(number))
    began = time.monotonic()
    while time.monotonic() < began + 10 * reactor_module.TICK_S:
        reactor_module.postponed = signal.SIGINT
        shielding.deliver_postponed()
    reactor_module.postponed = 0
    assert 1 <= len(sent) <= 1 + (time.monotonic() - began) / reactor_module.TICK_S


def test_a_handler_set_between_two_waits_is_the_one_that_is_called_and_stays(shielding):
    called = []
    for _ in range(2):
        assert not shielding.lead(lambda: False, time.monotonic() + 0.002)
    previous = signal.signal(signal.SIGINT, lambda *_: called.append(1))
    timer = interrupt_once(lambda: shielding._leader == threading.main_thread().ident)
    assert shielding.lead(lambda: bool(called), time.monotonic() + 30)
    timer.join()
    shielding.lower_shield()
    signal.raise_signal(signal.SIGINT)
    assert called == [1, 1]
    signal.signal(signal.SIGINT, previous)
    shielding.lower_shield()
    signal.signal(signal.SIGINT, signal.default_int_handler)
