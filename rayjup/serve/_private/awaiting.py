"""Awaiting answers on an event loop, with as few wake-ups as possible."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import rayjup

_serving_thread = 0


def set_serving_thread() -> None:
    """This thread runs the loop on which the process's messages are handled."""
    global _serving_thread
    _serving_thread = threading.get_ident()


def in_loop_thread() -> bool:
    """Whether this is the thread by which messages come in."""
    return threading.get_ident() == _serving_thread


def future_of(ref: Any) -> asyncio.Future[Any]:
    """A future of a ref's value.

    Unlike ``await ref`` it sends nothing by itself: what the calls of one turn of the loop have to
    send goes out together. And where the loop's own thread hears of the value, nobody is woken.
    """
    if threading.get_ident() != _serving_thread:
        return ref.as_future()  # type: ignore[no-any-return]
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def finish() -> None:
        if future.done():
            return
        try:
            future.set_result(rayjup.get(ref))
        except StopIteration as error:
            future.set_exception(RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001 - the future carries it to whoever awaits
            future.set_exception(error.with_traceback(None))

    def notify(_: Any) -> None:
        if threading.get_ident() == _serving_thread:
            finish()
        else:
            loop.call_soon_threadsafe(finish)

    if not ref.add_waiter(notify):
        finish()
    return future


async def when_assigned(call: Any) -> None:
    """Wait until it is known where a call goes."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def done() -> None:
        if not future.done():
            future.set_result(None)

    call.when_assigned(lambda: loop.call_soon_threadsafe(done))
    await future
