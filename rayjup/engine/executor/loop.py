"""The event loop of asyncio actors: the lane's reactor is its selector.

asyncio's own selector would have to watch the reactor's epoll from outside: two system calls for
every wake-up, and a turn of the loop more to start a call and to send its answer. Here the loop
waits in the reactor itself. Calls that arrive start in the same turn, and what is to be sent goes
out when the loop is about to look at its sockets again.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.engine.lane.reactor import Reactor

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_MOST_S = 3600.0


class _Descriptor:
    """A descriptor of the loop's, as the reactor wants it."""

    __slots__ = ("key", "ready")

    def __init__(self, key: selectors.SelectorKey, ready: dict[int, int]) -> None:
        self.key = key
        self.ready = ready

    def fileno(self) -> int:
        return self.key.fd

    def on_readable(self) -> None:
        # A hang-up comes as this: whoever only wants to write has to hear of it as well.
        self._add(_READ if self.key.events & _READ else _WRITE)

    def on_writable(self) -> None:
        self._add(_WRITE)

    def _add(self, event: int) -> None:
        self.ready[self.key.fd] = self.ready.get(self.key.fd, 0) | event


class LaneSelector(selectors.BaseSelector):
    """A selector for asyncio that waits in ``reactor``, whose leader the calling thread is.

    Parameters
    ----------
    reactor
        Gets the loop's descriptors beside its own.
    before_wait
        Called before every look at the sockets, with whether the loop may fall asleep in it; tells
        whether it has found something to do, so that it may not.
    after_wait
        Called after it: what has arrived may be started now.
    """

    def __init__(
        self, reactor: Reactor, before_wait: Callable[[bool], bool], after_wait: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._before_wait = before_wait
        self._after_wait = after_wait
        self._items: dict[int, _Descriptor] = {}
        self._ready: dict[int, int] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = _descriptor_of(fileobj)
        if fd in self._items:
            raise KeyError(f"descriptor {fd} is registered already")
        item = _Descriptor(selectors.SelectorKey(fileobj, fd, events, data), self._ready)
        self._items[fd] = item
        self._reactor.add(item, read=bool(events & _READ), write=bool(events & _WRITE))
        return item.key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        item = self._items.pop(_descriptor_of(fileobj))
        self._ready.pop(item.key.fd, None)
        self._reactor.remove(item)
        return item.key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        item = self._items[_descriptor_of(fileobj)]
        if events != item.key.events:
            self._reactor.change(item, read=bool(events & _READ), write=bool(events & _WRITE))
        item.key = item.key._replace(events=events, data=data)
        return item.key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._before_wait(timeout != 0):
            timeout = 0.0
        self._reactor.poll(-1 if timeout is None else min(max(timeout, 0.0), _MOST_S))
        self._after_wait()
        if not self._ready:
            return []
        ready = [(self._items[fd].key, events) for fd, events in self._ready.items()]
        self._ready.clear()
        return ready

    def close(self) -> None:
        for item in list(self._items.values()):
            self._reactor.remove(item)
        self._items.clear()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {fd: item.key for fd, item in self._items.items()}

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._items[_descriptor_of(fileobj)].key


def _descriptor_of(fileobj: Any) -> int:
    return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
