"""Exchanging the secrets of a cluster: the head's steps, also where nodes do not take part."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rayjup.cluster import credentials as made
from rayjup.dashboard.auth import Token
from rayjup.engine.dask.following import FollowingSecurity
from rayjup.engine.head import rotation
from rayjup.engine.head.head import Head
from rayjup.engine.head.journal import Journal
from rayjup.engine.lane import credentials
from rayjup.engine.lane.secure import Gate

OLD_TOKEN = "0a" * 32


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    directory = str(tmp_path_factory.mktemp("made"))
    return made.fresh(directory), made.fresh(directory)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_SETTLE_S", 0.01)


class World:
    """A head with nodes that take what they are told, or do not."""

    def __init__(self, directory: Path, text: str, nodes: str = "ab") -> None:
        self.own, self.published = directory / "own.pem", directory / "published.pem"
        for path in (self.own, self.published):
            if not path.exists():
                path.write_text(text)
        self.journal = Journal(str(directory / "journal.db"))
        self.head = Head({"cluster_id": "c", "name": "c", "address": "", "started_by": "t"}, self.journal)
        self.head.rotation.begin(OLD_TOKEN, str(self.own), str(self.published))
        self.told: dict[str, list[tuple[Any, ...]]] = {name: [] for name in nodes}
        self.problem: dict[str, str | None] = {}  # None: silence
        for name in nodes:
            self.join(name)

    def join(self, name: str) -> None:
        info = {"node_id": name, "name": name, "resources": {"CPU": 1.0}}
        self.head.node_joined(info, lambda message: self._hear(name, message))

    def _hear(self, name: str, message: tuple[Any, ...]) -> None:
        if message[0] != "credentials":
            return
        self.told[name].append(message[2:])
        problem = self.problem.get(name, "")
        if problem is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.head.on_message, name, ("credentials_kept", message[1], problem))

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.state)

    @property
    def state(self) -> dict[str, Any]:
        return self.head.rotation.state("")


def test_nodes_show_the_new_ones_only_when_all_believe_them(tmp_path: Path, texts: tuple[str, str]) -> None:
    old, new = texts

    async def main() -> None:
        world = World(tmp_path, old)
        world.head.rotation.rotate("", new, 0.02)
        await world.until(lambda: world.state["known"])
        await world.until(lambda: world.state["step"] == rotation.NONE)
        both = (credentials.combined(old, new), credentials.combined(new, old))
        for told in world.told.values():
            (token, also, own, user), (token2, also2, own2, user2), (token3, also3, own3, user3) = told
            assert (token.hex(), own, user) == (OLD_TOKEN, *both)
            assert (token2, also2, own2, user2) == (also, token, both[1], both[1])
            assert (token3, also3, own3, user3) == (token2, b"", new, new)
        assert world.own.read_text() == world.published.read_text() == new
        assert world.head.rotation.secrets()[0] == also

    asyncio.run(main())


@pytest.mark.parametrize("problem", ["the disk is full", None])
def test_nothing_has_changed_when_a_node_does_not_take_part(
    tmp_path: Path, texts: tuple[str, str], monkeypatch: pytest.MonkeyPatch, problem: str | None
) -> None:
    old, new = texts
    monkeypatch.setattr(rotation, "_ANSWER_S", 0.05)

    async def main() -> None:
        world = World(tmp_path, old)
        world.problem["b"] = problem
        world.head.rotation.rotate("", new, 600)
        await world.until(lambda: bool(world.state["problem"]))
        said = world.state["problem"]
        assert "Nothing has changed." in said and (problem or "no answer from b within") in said
        assert world.own.read_text() == world.published.read_text() == old
        await world.until(lambda: len(world.told["a"]) == 2)
        assert world.told["a"][-1] == (bytes.fromhex(OLD_TOKEN), b"", old, old)
        world.problem.clear()
        world.head.rotation.rotate("", new, 0)  # and may be tried again
        await world.until(lambda: world.state["step"] == rotation.NONE)
        assert not world.state["problem"]
        assert world.own.read_text() == new

    asyncio.run(main())


def test_another_head_goes_on_with_it(tmp_path: Path, texts: tuple[str, str]) -> None:
    old, new = texts

    async def main() -> None:
        world = World(tmp_path, old)
        world.head.rotation.rotate("", new, 0.1)
        await world.until(lambda: world.state["known"])
        secrets = world.head.rotation.secrets()
        world.head.rotation._cancel()  # it dies
        world.journal.flush()
        after = World(tmp_path, old, nodes="")
        assert after.head.rotation.secrets() == secrets
        await after.until(lambda: after.state["step"] == rotation.NONE)
        assert after.own.read_text() == new
        assert after.head.rotation.secrets() == (secrets[1], b"", new, new)

    asyncio.run(main())


def test_a_node_that_leaves_is_not_waited_for(tmp_path: Path, texts: tuple[str, str]) -> None:
    async def main() -> None:
        world = World(tmp_path, texts[0])
        world.problem["b"] = None
        world.head.rotation.rotate("", texts[1], 0)
        await asyncio.sleep(0)
        world.head.node_left("b")
        await world.until(lambda: world.state["step"] == rotation.NONE)

    asyncio.run(main())


def test_what_is_no_credentials_is_refused_before_anybody_is_told(
    tmp_path: Path, texts: tuple[str, str]
) -> None:
    async def main() -> None:
        world = World(tmp_path, texts[0])
        with pytest.raises(ValueError, match="a certificate, its key, and"):
            world.head.rotation.rotate("", "nothing", 0)
        assert world.state["step"] == rotation.NONE and world.told == {"a": [], "b": []}

    asyncio.run(main())


def test_a_context_follows_its_file(tmp_path: Path, texts: tuple[str, str]) -> None:
    path = tmp_path / "own.pem"
    credentials.write(str(path), texts[0])
    files = {f"tls_{role}_{kind}": str(path) for role in ("worker", "scheduler") for kind in ("cert", "key")}
    security = FollowingSecurity(tls_ca_file=str(path), **files)
    server = security.get_listen_args("scheduler")["ssl_context"]
    client = security.get_connection_args("worker")["ssl_context"]

    def authority() -> str:
        """Of the certificate that a new connection is shown."""
        ours, theirs = socket.socketpair()
        with ThreadPoolExecutor(1) as pool:
            shaken = pool.submit(server.wrap_socket, theirs, server_side=True)
            with client.wrap_socket(ours) as connection, shaken.result(10):
                issuer = connection.getpeercert()["issuer"]
        return str(dict(part[0] for part in issuer)["commonName"])

    first = authority()
    assert authority() == first
    credentials.write(str(path), texts[1])
    second = authority()
    assert second != first
    path.write_text("no certificate")
    assert authority() == second


def test_a_gate_takes_either_token_while_there_are_two() -> None:
    gate = Gate(b"n" * 32, also=b"o" * 32)
    assert gate.admits(b"n" * 32) and gate.admits(b"o" * 32)
    assert not gate.admits(b"x" * 32) and not Gate(b"n" * 32).admits(b"") and not Gate().admits(b"")


def test_a_token_of_the_rest_server_ends_after_its_grace() -> None:
    token = Token("first")
    token.renew(60)
    assert token.admits("first") and token.admits(token.now) and len(token.cookies()) == 2
    token.end()
    assert not token.admits("first") and token.admits(token.now) and len(token.cookies()) == 1
    second = token.now
    token.renew(0)
    assert not token.admits(second)
