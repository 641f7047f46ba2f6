"""Asyncio actors on an event loop of their own choice, such as uvloop's.

A class names the loop by an attribute ``__rayjup_event_loop__``, a function that makes it. That
suits actors which mostly talk to sockets of their own (a server of HTTP): the loop waits on these,
and the lane's reactor is one more descriptor for it. A call over the lane then costs two system
calls more than on the reactor's own loop, which is why this is not what all asyncio actors use.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

OWN_LOOP = "__rayjup_event_loop__"


@contextmanager
def watch_lane(
    loop: asyncio.AbstractEventLoop,
    runtime: Runtime,
    on_readable: Callable[[], None],
    soon: Callable[[], None],
) -> Iterator[None]:
    """While the block runs, ``loop`` (of this thread) watches the lane.

    Parameters
    ----------
    on_readable
        Called when the reactor has something to dispatch, and once at the beginning.
    soon
        Called in the loop's thread when calls were made that are not sent yet.
    """
    tasks = runtime.tasks
    mine = threading.get_ident()
    wake = tasks.wake_background

    def wake_loop() -> None:
        if threading.get_ident() == mine:
            soon()
        else:
            wake()

    descriptor = runtime.reactor.fileno
    loop.add_reader(descriptor, on_readable)
    loop.call_soon(on_readable)
    setattr(tasks, "wake_background", wake_loop)  # noqa: B010 - of this one object only
    try:
        yield
    finally:
        delattr(tasks, "wake_background")
        loop.remove_reader(descriptor)
