"""asyncio on the lane's reactor: its own descriptors, timers and threads still work."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import subprocess
import sys
import threading
import time

import pytest

from rayjup.engine.executor.loop import LaneSelector
from rayjup.engine.lane.reactor import Reactor


@pytest.fixture
def loop():
    reactor = Reactor(lambda: None, lambda: False)
    selector = LaneSelector(reactor, lambda may_sleep: False, lambda: None)
    loop = asyncio.SelectorEventLoop(selector)
    with reactor.leading():
        yield loop
    loop.close()
    reactor.close()


def test_streams_both_ways(loop):
    async def serve(reader, writer):
        writer.write((await reader.readexactly(1_000_000))[::-1])
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"a" + bytes(999_999))
        got = await reader.read(-1)
        writer.close()
        server.close()
        return got

    got = loop.run_until_complete(asyncio.wait_for(main(), 20))
    assert len(got) == 1_000_000 and got[-1:] == b"a"


def test_timers_threads_and_processes(loop):
    async def main():
        started = time.monotonic()
        await asyncio.sleep(0.02)
        slept = time.monotonic() - started
        in_thread = await asyncio.to_thread(threading.get_ident)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(6 * 7)", stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
        return slept, in_thread, out

    asyncio.set_event_loop(loop)
    try:
        slept, in_thread, out = loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        asyncio.set_event_loop(None)
    assert 0.02 <= slept < 10 and in_thread != threading.get_ident() and out == b"42\n"


def test_a_connection_that_is_refused_or_hangs_up_is_heard_of(loop):
    async def main():
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*closed.getsockname())
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        heard = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_writer(ours, lambda: heard.done() or heard.set_result(True))
        theirs.close()
        await heard
        asyncio.get_running_loop().remove_writer(ours)
        ours.close()

    loop.run_until_complete(asyncio.wait_for(main(), 20))


def test_the_contract_of_a_selector():
    reactor = Reactor(lambda: None, lambda: False)
    calls = []
    selector = LaneSelector(
        reactor, lambda may_sleep: bool(calls.append(may_sleep)), lambda: calls.append("after")
    )
    ours, theirs = socket.socketpair()
    with contextlib.closing(ours), contextlib.closing(theirs):
        key = selector.register(ours, selectors.EVENT_READ, "data")
        with pytest.raises(KeyError, match="registered already"):
            selector.register(ours, selectors.EVENT_READ)
        assert selector.select(0) == [] and calls == [False, "after"]
        theirs.send(b"x")
        assert selector.select(1) == [(key, selectors.EVENT_READ)]
        key = selector.modify(ours, selectors.EVENT_READ | selectors.EVENT_WRITE, "new")
        assert selector.get_key(ours) == key and selector.get_map() == {ours.fileno(): key}
        assert selector.select(None) == [(key, selectors.EVENT_READ | selectors.EVENT_WRITE)]
        assert selector.unregister(ours) == key
        assert selector.select(0) == []
        busy = LaneSelector(reactor, lambda may_sleep: True, lambda: None)
        assert busy.select(None) == []  # something to do: it does not sleep
    selector.close()
    reactor.close()
