"""Frames between processes that serve, and threads for plain functions: without a cluster."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("uvicorn")

from rayjup.serve._private.answers import block_of
from rayjup.serve._private.link import AHEAD, Flow, Link
from rayjup.serve._private.pool import Pool, is_plain


class Pipe:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def is_closing(self) -> bool:
        return False


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(), st.binary(max_size=300)), max_size=12),
    st.lists(st.integers(1, 400), min_size=1),
)
def test_frames_come_as_they_were_sent(messages: list[Any], cuts: list[int]) -> None:
    pipe, heard = Pipe(), []
    sender = Link(lambda link, message: None, lambda link: None)
    sender.connection_made(pipe)
    for message in messages:
        sender.say(message)
    receiver = Link(lambda link, message: heard.append(message), lambda link: None)
    at = turn = 0
    while at < len(pipe.data):
        size = cuts[turn % len(cuts)]
        receiver.data_received(pipe.data[at : at + size])
        at, turn = at + size, turn + 1
    assert heard == messages


def test_who_sends_more_than_is_used_waits() -> None:
    async def run() -> None:
        flow = Flow()
        await flow.take(AHEAD)
        second = asyncio.ensure_future(flow.take(10))
        await asyncio.sleep(0.01)
        assert not second.done()
        flow.give(1)
        await asyncio.wait_for(second, 30)
        assert flow.left == 1 - 10

    asyncio.run(run())


@pytest.mark.parametrize(
    "start",
    [
        {"status": 200, "headers": [(b"a\r\nb", b"c")]},
        {"status": 200, "headers": [(b"a", b"b\r\nset-cookie: x")]},
        {"status": 999, "headers": []},
    ],
)
def test_headers_that_would_break_out_are_refused(start: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError):
        block_of(start, 0, "GET")


def test_heads_of_answers() -> None:
    start = {"status": 200, "headers": [(b"Content-Length", b"7"), (b"connection", b"close"), (b"x", b"y")]}
    assert block_of(start, 3, "GET") == (b"x: y\r\ncontent-length: 3\r\n", True)
    assert block_of(start, 0, "HEAD") == (b"x: y\r\ncontent-length: 7\r\n", True)
    assert block_of({"status": 204}, 0, "GET") == (b"", False)


def test_plain_functions_run_on_threads() -> None:
    async def run() -> None:
        pool = Pool(asyncio.get_running_loop(), 2)
        meeting = threading.Barrier(2)
        running: list[int] = []
        most: list[int] = []

        def meet() -> None:
            running.append(1)
            most.append(len(running))
            meeting.wait(30)  # goes on only when another one runs at the same time
            running.pop()

        await asyncio.gather(*(pool.run(meet) for _ in range(4)))
        assert max(most) == 2
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        assert await pool.run(lambda: threading.current_thread() is threading.main_thread()) is False
        pool.end()

    asyncio.run(run())


def test_plain_generators_are_read_from_a_thread_and_closed() -> None:
    closed: list[str] = []
    over = threading.Event()

    def numbers() -> Any:
        try:
            yield from range(10_000)
        finally:
            closed.append(threading.current_thread().name)
            over.set()

    def fails() -> Any:
        yield 1
        raise LookupError("the end")

    async def run() -> None:
        pool = Pool(asyncio.get_running_loop(), 2)
        found = []
        items = pool.items(numbers())
        async for n in items:
            found.append(n)
            if n == 200:
                break
        await items.aclose()  # type: ignore[attr-defined]
        assert found == list(range(201))
        seen = []
        with pytest.raises(LookupError):
            async for n in pool.items(fails()):
                seen.append(n)
        assert seen == [1]
        await asyncio.to_thread(over.wait, 5)
        pool.end()

    asyncio.run(run())
    assert closed == ["rayjup-serve-user"]


def test_what_counts_as_plain() -> None:
    def plain() -> None: ...

    async def coroutine() -> None: ...

    async def items() -> Any:
        yield 1

    class Callable:
        def __call__(self) -> None: ...

    assert is_plain(plain) and is_plain(Callable().__call__)
    assert not is_plain(coroutine) and not is_plain(items) and not is_plain(Callable())
