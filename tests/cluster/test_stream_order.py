"""Items of a stream arrive, whatever they are read together with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import ModuleType


def test_items_between_two_replies_are_not_lost(ray: ModuleType) -> None:
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self) -> None:
            self.begun = asyncio.Event()

        async def begin(self) -> None:
            self.begun.set()

        async def after(self, seconds: float) -> float:
            await self.begun.wait()
            await asyncio.sleep(seconds)
            return seconds

        async def items(self, seconds: float) -> AsyncIterator[int]:
            await self.begun.wait()
            await asyncio.sleep(seconds)
            for i in range(3):
                yield i

    actor = Actor.remote()
    ray.get(actor.__ray_ready__.remote())
    first = actor.after.remote(0.05)
    reply = actor.after.remote(0.1)
    stream = actor.items.remote(0.15)
    # Whoever reads is held up, so that the rest is read at once: a reply, items, and the stream's end.
    assert first.add_waiter(lambda _: time.sleep(0.4))
    begun = actor.begin.remote()
    assert [ray.get(item) for item in stream] == [0, 1, 2]
    assert ray.get([reply, begun]) == [0.1, None]


def test_actors_may_bring_their_own_loop(ray: ModuleType) -> None:
    def make() -> asyncio.AbstractEventLoop:
        import uvloop

        return uvloop.new_event_loop()

    @ray.remote(num_cpus=0)
    class Own:
        __rayjup_event_loop__ = staticmethod(make)

        async def loop(self) -> str:
            return type(asyncio.get_running_loop()).__module__

        async def call(self, other: object, n: int) -> list[int]:
            return list(await asyncio.gather(*(other.echo.remote(i) for i in range(n))))  # type: ignore[attr-defined]

        async def echo(self, i: int) -> int:
            return i

        async def items(self, n: int) -> AsyncIterator[int]:
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    one, other = Own.remote(), Own.remote()
    assert ray.get(one.loop.remote()) == "uvloop"
    assert ray.get(one.call.remote(other, 300)) == list(range(300))
    assert [ray.get(item) for item in one.items.remote(5)] == [0, 1, 2, 3, 4]
    slow = one.call.remote(other, 1)
    assert ray.get(slow) == [0]
    ray.kill(one)
    ray.kill(other)
