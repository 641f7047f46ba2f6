"""Getting objects of other hosts: the node's agent pulls them, and says where the copy lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from rayjup.base import exceptions
from rayjup.engine.lane import messages as m
from rayjup.engine.objects import copies
from rayjup.engine.objects.store import Segment
from rayjup.engine.ownership.object_ref import ObjectRef, Recovering
from rayjup.engine.transfer.reasons import FULL, UNREACHABLE

if TYPE_CHECKING:
    from rayjup.engine.objects.store import Descriptor
    from rayjup.engine.runtime.runtime import Runtime

Then = Callable[[str, str], object]
"""Called with why it failed (empty: it did not), and with the path of the copy or an explanation."""


class Pulls:
    """Belongs to one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[str, list[Then]] = {}
        self._failed: dict[str, tuple[str, str]] = {}  # what is still to be said to who did not wait
        link = runtime.link
        link.on["pulled"] = self._on_pulled
        link.on["copied"] = lambda path, *copy: copies.note(runtime.store, path, copy)
        link.on["uncopied"] = lambda path, node: copies.forget(runtime.store, path, node)

    @property
    def possible(self) -> bool:
        """Whether this node speaks with other hosts."""
        return self._runtime.hosts.gate is not None

    def start(self, path: str, size: int, then: Then) -> None:
        """Have an object brought here; one request however many ask."""
        with self._runtime.lock:
            waiting = self._waiting.get(path)
            if waiting is not None:
                waiting.append(then)
                return
            self._waiting[path] = [then]
        self._runtime.link.send(("pull", path, size))

    def _on_pulled(self, path: str, why: str, text: str) -> None:
        with self._runtime.lock:
            waiting = self._waiting.pop(path, ())
        for then in waiting:
            then(why, text)
        self._runtime.reactor.kick()

    def bring(self, path: str, size: int, deadline: float | None = None) -> str:
        """Wait until an object is here: the path of the copy.

        Raises
        ------
        ObjectLostError
            There is no copy any more, or none that can be reached.
        ObjectStoreFullError
            This node has no room for it.
        GetTimeoutError
            It was not here when ``deadline`` passed; it may still come.
        """
        if not self.possible:
            raise self._refused(path)
        runtime = self._runtime
        answer: list[tuple[str, str]] = []
        self.start(path, size, lambda why, text: answer.append((why, text)))
        if not runtime.wait_until(lambda: bool(answer) or runtime.link.lost, deadline):
            raise exceptions.GetTimeoutError(
                f"get timed out: an object of {size:,} bytes is still on its way from another host."
            )
        if not answer:
            raise runtime.link.error()
        why, text = answer[0]
        if why:
            raise self._error(path, why, text)
        return text

    def ahead(self, descriptors: Iterable[Descriptor]) -> None:
        """Have several objects brought here at the same time, for somebody who will ask for each."""
        for descriptor in descriptors:
            if self._runtime.store.is_elsewhere(descriptor):
                self.start(descriptor[0], descriptor[1], lambda why, text: None)

    def ahead_of(self, refs: Iterable[ObjectRef]) -> None:
        """:meth:`ahead` for the values of refs that are known."""
        self.ahead(found for found in map(_descriptor_of, refs) if found is not None)

    def ensure(
        self, ref: ObjectRef, deadline: float | None, then: Callable[[ObjectRef], object] | None
    ) -> None:
        """See that the value of ``ref`` is on this host.

        Raises
        ------
        Recovering
            With ``then``, which is called when it is, or is not to be had.
        """
        descriptor = _descriptor_of(ref)
        if descriptor is None:
            return
        path, size = descriptor[:2]
        failed = self._failed.pop(path, None)
        if failed is not None:
            raise self._error(path, *failed)
        store = self._runtime.store
        if not store.is_elsewhere(descriptor):
            return
        if then is None or not self.possible:
            store.brought(path, self.bring(path, size, deadline))
            return

        def arrived(why: str, text: str) -> None:
            if why:
                self._failed[path] = (why, text)
            else:
                store.brought(path, text)
            then(ref)

        self.start(path, size, arrived)
        raise Recovering

    def _error(self, path: str, why: str, text: str) -> exceptions.RayError:
        if why == FULL:
            return exceptions.ObjectStoreFullError(text)
        self._runtime.store.gone.add(path)
        kind = exceptions.ObjectFetchTimedOutError if why == UNREACHABLE else exceptions.ObjectLostError
        return kind.from_text(f"The object lies on another host: {text}.")

    def _refused(self, path: str) -> exceptions.ObjectLostError:
        return exceptions.ObjectLostError.from_text(
            f"The object in {path.rpartition('/')[2]} lies on another machine, and this node does not speak "
            f"with other hosts: {self._runtime.hosts.why_not}. Pass it by value, or read it in a task there."
        )

    def fail_all(self) -> None:
        """The agent is gone: nothing will come."""
        with self._runtime.lock:
            waiting = list(self._waiting.items())
            self._waiting.clear()
        for _, thens in waiting:
            for then in thens:
                then(UNREACHABLE, "the connection to the cluster was lost")


def _descriptor_of(ref: ObjectRef) -> Descriptor | None:
    data = ref._data
    if ref._kind != m.SHM or data is None:
        return None
    return data.descriptor if isinstance(data, Segment) else data
