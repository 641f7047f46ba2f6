"""The proxy passes requests and answers through in pieces: what is large, slow, cut off or odd.

The server behind it is a real one, of this test; that of a cluster is in test_contents and test_dashboard.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rayjup_lab.services.proxy.handlers import ProxyHandler
from rayjup_lab.services.proxy.upstream import Upstream
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, stream_request_body

MANY = 200 << 20
PIECE = b"x" * (64 << 10)
Stream = Callable[..., Any]


class Behind:
    """What the server behind the proxy has seen."""

    taken = 0
    sent = 0
    left = 0
    targets: list[str]

    def __init__(self) -> None:
        self.targets = []


@stream_request_body
class BehindHandler(RequestHandler):
    """Counts, echoes, refuses or dies, as the path says."""

    def initialize(self, seen: Behind) -> None:
        self.seen = seen

    async def prepare(self) -> None:
        self.seen.targets.append(self.request.uri or "")
        self.request.connection.set_max_body_size(1 << 40)  # type: ignore[attr-defined]
        if self.request.path == "/refuse":
            self.set_status(413, "Too much")
            await self.finish("no more than I have room for")

    async def data_received(self, chunk: bytes) -> None:
        self.seen.taken += len(chunk)
        if self.request.path == "/echo":
            self.write(chunk)
            await self.flush()

    def on_connection_close(self) -> None:
        self.seen.left += 1
        super().on_connection_close()

    async def post(self) -> None:
        if self.request.path == "/count":
            self.write(str(self.seen.taken))

    async def get(self) -> None:
        if self.request.path == "/die":
            self.write("the beginning")
            await self.flush()
            self.request.connection.close()  # type: ignore[attr-defined]
        elif self.request.path == "/much":
            for _ in range(MANY // len(PIECE)):
                self.write(PIECE)
                await self.flush()
                self.seen.sent += len(PIECE)
        else:
            self.write(self.request.uri or "")

    delete = post


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch, jp_asyncio_loop: Any) -> Iterator[Behind]:
    """The server that the proxy finds for the cluster "c"."""
    seen = Behind()
    listening, port = bind_unused_port()

    async def listen() -> HTTPServer:
        server = HTTPServer(Application([(r"/.*", BehindHandler, {"seen": seen})]))
        server.add_socket(listening)
        return server

    async def upstream(handler: ProxyHandler, cluster_id: str, kind: str) -> Upstream:
        return Upstream(f"http://127.0.0.1:{port}", f"{handler.base_url}rayjup/clusters/{cluster_id}/{kind}/")

    monkeypatch.setattr(ProxyHandler, "upstream", upstream)
    server = jp_asyncio_loop.run_until_complete(listen())
    yield seen
    server.stop()
    jp_asyncio_loop.run_until_complete(server.close_all_connections())


@pytest.fixture
def ask(
    http_server_client: Any, jp_base_url: str, jp_http_port: int, jp_auth_header: dict[str, str]
) -> Stream:
    """``await ask("POST", "echo", …)`` sends the head of a request and gives the connection."""

    async def send(method: str, path: str, *headers: str, logged_in: bool = True) -> IOStream:
        stream = await TCPClient().connect("127.0.0.1", jp_http_port)
        head = [f"{method} {jp_base_url}rayjup/clusters/c/serve/{path} HTTP/1.1", "Host: 127.0.0.1"]
        if logged_in:
            head += [f"{name}: {value}" for name, value in jp_auth_header.items()]
        await stream.write("\r\n".join([*head, *headers, "", ""]).encode())
        return stream

    return send


def growth() -> Callable[[], int]:
    """Says by how many bytes this process has grown at most since it was asked for."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

    before = peak()
    return lambda: peak() - before


@pytest.mark.parametrize(("size", "known"), [(MANY, True), (32 << 20, False)], ids=["known length", "chunks"])
async def test_a_large_upload_passes_through(behind: Behind, jp_fetch: Any, size: int, known: bool) -> None:
    async def produce(write: Callable[[bytes], Any]) -> None:
        for _ in range(size // len(PIECE)):
            await write(PIECE)

    grown = growth()
    answer = await jp_fetch(
        *("rayjup", "clusters", "c", "serve", "count"),
        method="POST",
        body_producer=produce,
        headers={"Content-Length": str(size)} if known else {},
        request_timeout=80,
    )
    assert answer.body == str(size).encode()
    assert grown() < 25 << 20
    assert behind.targets == ["/count"]


async def test_who_reads_slowly_sets_the_pace(behind: Behind, ask: Stream) -> None:
    stream = await ask("GET", "much", "Connection: close")
    grown = growth()
    before = -1
    while behind.sent != before or not behind.sent:  # until everybody waits for the reader
        before = behind.sent
        await asyncio.sleep(0.1)
    assert behind.sent < MANY // 2
    got = 0
    with contextlib.suppress(StreamClosedError):
        while True:
            got += len(await stream.read_bytes(1 << 20, partial=True))
    assert got > MANY
    assert grown() < 25 << 20


async def test_an_answer_may_come_while_the_request_is_sent(behind: Behind, ask: Stream) -> None:
    total = 20 << 20
    stream = await ask("POST", "echo", f"Content-Length: {total}", "Connection: close")

    async def send() -> None:
        for _ in range(total // len(PIECE)):
            await stream.write(PIECE)

    sending = asyncio.ensure_future(send())
    assert b"200 OK" in await stream.read_until(b"\r\n\r\n")
    got = 0
    with contextlib.suppress(StreamClosedError):
        while True:
            got += len(await stream.read_bytes(1 << 20, partial=True))
    await sending
    assert got > total and behind.taken == total


async def test_a_refusal_is_handed_on(behind: Behind, jp_fetch: Any) -> None:
    answer = await jp_fetch(
        *("rayjup", "clusters", "c", "serve", "refuse"), method="POST", body="x" * 1000, raise_error=False
    )
    assert (answer.code, answer.reason, answer.body) == (413, "Too much", b"no more than I have room for")


async def test_half_an_answer_is_no_answer(behind: Behind, jp_fetch: Any) -> None:
    with pytest.raises((HTTPClientError, StreamClosedError)):
        await jp_fetch("rayjup", "clusters", "c", "serve", "die")


async def test_when_the_browser_leaves_the_server_hears_of_it(behind: Behind, ask: Stream) -> None:
    upload = await ask("POST", "count", f"Content-Length: {MANY}")
    await upload.write(PIECE)
    await until(lambda: behind.taken > 0)
    upload.close()
    await until(lambda: behind.left == 1)
    download = await ask("GET", "much")
    await until(lambda: behind.sent > 0)
    download.close()
    await until(lambda: behind.left == 2)


async def test_addresses_go_there_as_they_were_written(behind: Behind, ask: Stream) -> None:
    stream = await ask("GET", "a%20b/c%2Fd?e=%26f", "Connection: close")
    await stream.read_until_close()
    assert behind.targets == ["/a%20b/c%2Fd?e=%26f"]
    stream = await ask("DELETE", "count", "Transfer-Encoding: chunked", "Connection: close")
    assert b"411" in await stream.read_until(b"\r\n")
    stream.close()


async def test_strangers_cannot_upload(behind: Behind, ask: Stream) -> None:
    stream = await ask("POST", "count", f"Content-Length: {MANY}", logged_in=False)
    assert b"403" in await stream.read_until(b"\r\n")  # before anything of the body was sent
    stream.close()
    assert (behind.targets, behind.taken) == ([], 0)


async def test_a_server_that_has_gone(behind: Behind, jp_fetch: Any, monkeypatch: Any) -> None:
    there = socket.socket()
    there.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can meanwhile
    port = there.getsockname()[1]

    async def upstream(handler: ProxyHandler, cluster_id: str, kind: str) -> Upstream:
        return Upstream(f"http://127.0.0.1:{port}", "/")

    monkeypatch.setattr(ProxyHandler, "upstream", upstream)
    for more in ({}, {"method": "POST", "body": "x"}):
        answer = await jp_fetch("rayjup", "clusters", "c", "serve", "count", raise_error=False, **more)
        assert answer.code == 502 and b"does not answer" in answer.body
    there.close()


async def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
