"""Between hosts: addresses, who may listen, who is let in, and that nobody else gets anywhere."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayjup.engine.lane import addresses, secure
from rayjup.engine.lane.peer import Peer
from rayjup.engine.lane.reactor import Reactor
from rayjup.engine.lane.remote import HandOver, RemotePeer, connect, hand_over_path
from rayjup.engine.lane.secure import Gate
from rayjup.engine.node.endpoint import Endpoint
from rayjup.engine.transfer import wire
from rayjup.engine.transfer.fetching import Connections
from rayjup.engine.transfer.serving import Server

UNIX = "/tmp/x/w-0123456789abcdef.sock"
NAME = "0123456789abcdef-0123456789abcdef-0"
NODE = "0123456789ab"


def test_addresses_of_one_host_are_paths():
    assert addresses.suffix("h", None) == ""
    assert addresses.remote_endpoint(UNIX, addresses.host_key("h")) is None
    assert addresses.path_of(UNIX) == UNIX
    assert addresses.worker_of(UNIX) == bytes.fromhex("0123456789abcdef")


def test_addresses_of_several_hosts_say_which_way():
    address = UNIX + addresses.suffix("h", ("10.0.0.1", 77))
    assert addresses.path_of(address) == UNIX
    assert addresses.worker_of(address) == bytes.fromhex("0123456789abcdef")
    assert addresses.remote_endpoint(address, addresses.host_key("h")) is None
    assert addresses.remote_endpoint(address, addresses.host_key("other")) == ("10.0.0.1", 77)
    six = UNIX + addresses.suffix("h", ("fe80::1", 77))
    assert addresses.remote_endpoint(six, "x") == ("fe80::1", 77)


@pytest.mark.parametrize(
    ("scheme", "ip", "declared", "allowed"),
    [
        ("tls", "10.0.0.1", False, True),
        ("tcp", "127.0.0.1", False, True),
        ("tcp", "::1", False, True),
        ("tcp", "10.0.0.1", False, False),
        ("tcp", "0.0.0.0", False, False),
        ("tcp", "10.0.0.1", True, True),
        ("tcp", "a-name", True, False),
    ],
)
def test_where_a_node_may_listen(scheme, ip, declared, allowed):
    assert (secure.may_listen(scheme, ip, declared) == "") is allowed


def test_why_a_node_does_not_listen_says_what_to_do():
    why = secure.may_listen("tcp", "10.0.0.1", False)
    assert "10.0.0.1" in why
    assert "TLS" in why
    assert secure.INSECURE_VARIABLE in why


def test_a_gate_without_a_token_admits_nobody():
    assert not Gate().admits(b"")
    assert not Gate(b"x" * 31).admits(b"x" * 31)
    assert Gate(b"x" * 32).admits(b"x" * 32)
    assert not Gate(b"x" * 32).admits(b"y" * 32)
    assert "xxx" not in repr(Gate(b"x" * 32))


def test_bytes_that_are_no_preamble():
    assert secure.read_preamble(secure.preamble(secure.LANE, b"12345678")) == (b"L", b"12345678")
    for data in (b"", b"GET / HTTP/1", b"RJ1X12345678", secure.preamble(secure.PULL)[:-1]):
        assert secure.read_preamble(data) is None


# -- connections of the lane


class Side:
    """A process that takes connections, or makes one."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.heard: list[object] = []
        self.closed: list[Peer] = []
        self.peers: list[RemotePeer] = []
        self.reactor = Reactor(lambda: None, lambda: False)

    def hears(self, peer: Peer, messages: list[object]) -> None:
        self.heard += messages

    def accept(self, sock: socket.socket) -> None:
        self.watch(RemotePeer(self.reactor, sock, self.gate, self.hears, self.closed.append))

    def connect(self, place: addresses.Endpoint) -> RemotePeer:
        return self.watch(connect(self.reactor, self.gate, place, bytes(8), self.hears, self.closed.append))

    def watch(self, peer: RemotePeer) -> RemotePeer:
        self.peers.append(peer)
        self.reactor.add(peer)
        peer.start()
        return peer

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.reactor.close()


@pytest.fixture
def sides() -> Iterator[list[Side]]:
    made: list[Side] = []
    yield made
    for side in made:
        side.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def turn(sides: list[Side], until) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        for side in sides:
            side.reactor.poll(0.01)


def test_what_was_posted_before_there_is_a_connection_arrives(sides, listening):
    gate = Gate(b"t" * 32)
    client, server = Side(gate), Side(gate)
    sides += [client, server]
    peer = client.connect(listening.getsockname())
    for number in range(3):
        peer.send((number, "x" * 1000))
    assert not peer.reached
    sock, _ = listening.accept()
    client.reactor.poll(5)
    assert secure.receive_exactly(sock, secure.PREAMBLE) == secure.preamble(secure.LANE)
    server.accept(sock)
    turn(sides, lambda: len(server.heard) == 3)
    server.peers[0].send((7,))
    turn(sides, lambda: client.heard == [(7,)])
    assert peer.reached


def test_who_has_another_token_is_not_heard(sides, listening):
    client, server = Side(Gate(b"t" * 32)), Side(Gate(b"u" * 32))
    sides += [client, server]
    client.connect(listening.getsockname()).send((1,))
    sock, _ = listening.accept()
    client.reactor.poll(5)
    secure.receive_exactly(sock, secure.PREAMBLE)
    server.accept(sock)
    turn(sides, lambda: server.closed and client.closed)
    assert server.heard == []


def test_nothing_is_unpickled_of_somebody_who_shows_no_token(sides, listening):
    server = Side(Gate(b"t" * 32))
    sides.append(server)
    with socket.create_connection(listening.getsockname()) as stranger:
        sock, _ = listening.accept()
        server.accept(sock)
        stranger.sendall(b"\x20\0\0\0" + b"cos\nsystem\n(S'true'\ntR." * 4)
        turn(sides, lambda: server.closed)
    assert server.heard == []


def test_a_host_where_nobody_listens_is_the_end_of_the_connection(sides, listening):
    place = listening.getsockname()
    listening.close()
    client = Side(Gate(b"t" * 32))
    sides.append(client)
    peer = client.connect(place)
    turn(sides, lambda: client.closed)
    assert not peer.reached


def test_a_host_that_says_nothing_is_given_up(sides, listening):
    client = Side(Gate(b"t" * 32, ca="x", timeout_s=0.05))
    sides.append(client)
    peer = client.peers
    made = connect(client.reactor, Gate(b"t" * 32), listening.getsockname(), bytes(8), client.hears, print)
    assert not made.expired(time.monotonic())
    assert made.expired(time.monotonic() + 11)
    made.sock.close()
    assert peer == []


def test_the_agent_hands_connections_over_to_the_process(sides):
    gate = Gate(b"t" * 32)
    server, client = Side(gate), Side(gate)
    sides += [server, client]
    unix = f"{tempfile.mkdtemp()}/w-0011223344556677.sock"  # the path of a socket has to be short
    hand = HandOver(server.reactor, hand_over_path(unix), server.accept)

    async def run() -> None:
        endpoint = Endpoint("127.0.0.1", {"0011223344556677": unix}.get, lambda sock: sock.close())
        loop = asyncio.get_running_loop()
        peer = connect(
            *(client.reactor, gate, endpoint.place, bytes.fromhex("0011223344556677")),
            *(client.hears, client.closed.append),
        )
        client.watch(peer)
        peer.send((1, "straight"))
        lost = client.watch(
            connect(client.reactor, gate, endpoint.place, b"notthere", client.hears, client.closed.append)
        )
        deadline = loop.time() + 30
        while not (server.heard and client.closed):
            assert loop.time() < deadline
            for side in sides:
                side.reactor.poll(0)
            await asyncio.sleep(0.005)
        assert client.closed == [lost]
        endpoint.close()

    asyncio.run(run())
    hand.close()
    assert server.heard == [(1, "straight")]
    assert not os.path.exists(hand_over_path(unix))


# -- objects


def test_requests_name_objects_and_nodes_and_nothing_else():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.request(NAME, NODE, 5, 7))
        assert wire.read_request(theirs) == (NAME, NODE, 5, 7)
        for name in ("../../etc/passwd", f"{NAME}/x", f"{NAME}\n", "owner"):
            ours.sendall(wire.request(name, NODE, 0, 1))
            with pytest.raises(ValueError, match="no name"):
                wire.read_request(theirs)
        ours.close()
        assert wire.read_request(theirs) is None


def test_answers_are_as_long_as_was_asked():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.answer(wire.HERE, 5))
        assert wire.read_answer(theirs, 5) == (wire.HERE, [])
        ours.sendall(wire.refusal(wire.BUSY, [NODE, "/etc", 7]))  # type: ignore[list-item]
        assert wire.read_answer(theirs, 5) == (wire.BUSY, [NODE])
        ours.sendall(wire.answer(wire.HERE, 6))
        with pytest.raises(ValueError, match="6 bytes"):
            wire.read_answer(theirs, 5)
        ours.sendall(wire.answer(wire.GONE, 1 << 40))
        with pytest.raises(ValueError, match="no answer"):
            wire.read_answer(theirs, 5)


class Serving:
    """A node that serves one file."""

    def __init__(self, path: Path, token: bytes) -> None:
        self.server = Server(lambda: Gate(token, timeout_s=30.0), {NAME: str(path)}.get, lambda name: None)
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.place = self.sock.getsockname()
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            if len(secure.receive_exactly(sock, secure.PREAMBLE)) == secure.PREAMBLE:
                self.server.take(sock)

    def close(self) -> None:
        self.server.close()
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    path = tmp_path / NAME
    path.write_bytes(bytes(range(256)) * 100)
    made = Serving(path, b"t" * 32)
    yield made
    made.close()


def test_parts_of_an_object_are_sent(serving):
    connections = Connections(lambda: Gate(b"t" * 32, timeout_s=30.0))
    sock, used = connections.get(serving.place)
    assert not used
    for offset, length in ((0, 256), (250, 10), (25_599, 1)):
        sock.sendall(wire.request(NAME, NODE, offset, length))
        assert wire.read_answer(sock, length) == (wire.HERE, [])
        assert secure.receive_exactly(sock, length) == (bytes(range(256)) * 100)[offset : offset + length]
    sock.sendall(wire.request(NAME.replace("-0", "-1"), NODE, 0, 1))
    assert wire.read_answer(sock, 1) == (wire.GONE, [])
    connections.put(serving.place, sock)
    assert connections.get(serving.place) == (sock, True)
    sock.sendall(wire.request(NAME, NODE, 25_599, 2))  # beyond its end
    with pytest.raises(ConnectionError):
        wire.read_answer(sock, 2)
    sock.close()


def test_nothing_is_sent_to_who_has_another_token(serving):
    sock = Connections(lambda: Gate(b"u" * 32, timeout_s=30.0)).connect(serving.place)
    with sock, pytest.raises(ConnectionError):
        sock.sendall(wire.request(NAME, NODE, 0, 1))
        wire.read_answer(sock, 1)


def test_a_third_node_is_sent_to_the_first_two(serving):
    connections = Connections(lambda: Gate(b"t" * 32, timeout_s=30.0))
    nodes = [f"{n:012x}" for n in range(3)]
    socks = [connections.connect(serving.place) for _ in nodes]
    for node, sock in zip(nodes, socks, strict=True):
        sock.sendall(wire.request(NAME, node, 0, 1))
        how, others = wire.read_answer(sock, 1)
        if node != nodes[2]:
            assert how == wire.HERE
            secure.receive_exactly(sock, 1)
    assert (how, others) == (wire.BUSY, [nodes[1], nodes[0]])
    socks[0].sendall(wire.request(NAME, nodes[0], 0, 0))  # it has all it wants
    deadline = time.monotonic() + 30
    while how == wire.BUSY:
        assert time.monotonic() < deadline
        socks[2].sendall(wire.request(NAME, nodes[2], 0, 1))
        how, _ = wire.read_answer(socks[2], 1)
    for sock in socks:
        sock.close()
