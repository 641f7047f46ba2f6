"""Runs a deployment's own request router class for a caller's router."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from rayjup.serve._private.awaiting import in_loop_thread
from rayjup.serve._private.packing import loads
from rayjup.serve.request_router import PendingRequest, RequestMetadata, RunningReplica

if TYPE_CHECKING:
    from rayjup.serve._private.router import Call, Router, Slot


class Chooser:
    """Asks the user's class which replica gets a call.

    Its methods are coroutines: they run on the loop of the process where that serves, elsewhere
    (drivers) on a loop of their own.
    """

    def __init__(self, router: Router, config: dict[str, Any]) -> None:
        self.router = router
        class_ = loads(config["class"])
        self.user = class_(router.id)
        initialize = getattr(self.user, "initialize_state", None)
        if initialize is not None:
            initialize(**config["kwargs"])
        self.replicas: dict[str, RunningReplica] = {}
        self.pending = 0
        self.freed: set[asyncio.Event] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        if in_loop_thread():
            self.loop = asyncio.get_event_loop()
        else:
            self.loop = asyncio.new_event_loop()
            threading.Thread(target=self.loop.run_forever, name="rayjup-serve-router", daemon=True).start()
        self.on_replicas()

    def on_replicas(self) -> None:
        """Replicas have come or gone."""
        found = {}
        for slot in self.router.open:
            replica = self.replicas.get(slot.id)
            if replica is None:
                replica = RunningReplica(slot)
                replica._id = self.router.replica_id(slot)
            replica.update_replica_info(slot)
            found[slot.id] = replica
        self.replicas = found
        self.user.update_replicas(list(found.values()))
        self._wake()

    def waiting(self) -> int:
        """Calls that have no replica yet."""
        return self.pending

    def submit(self, call: Call) -> None:
        """Find a replica for a call."""
        self.pending += 1
        self.user._pending = self.pending
        self._spawn(self._place(call))

    def released(self, slot: Slot, call: Call | None) -> None:
        """A call has ended."""
        id = self.router.replica_id(slot)
        self.user.decrement_queue_len_cache(id)
        self.user.on_request_completed(id, call.request_id if call is not None else "")
        self._wake()

    def _wake(self) -> None:
        if self.freed and self.loop is not None:
            for event in list(self.freed):
                self.loop.call_soon_threadsafe(event.set)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        assert self.loop is not None
        if in_loop_thread():
            self.loop.create_task(work)
        else:
            asyncio.run_coroutine_threadsafe(work, self.loop)

    async def _place(self, call: Call) -> None:
        request = PendingRequest(
            list(call.args),
            dict(call.kwargs),
            RequestMetadata(call.request_id, "__call__", call.model, call.session),
        )
        pause = self.user.initial_backoff_s
        event = asyncio.Event()
        self.freed.add(event)
        try:
            while not call.cancelled:
                event.clear()
                slot = await self._try(request)
                if slot is not None:
                    call.go(slot)
                    self.user.on_request_routed(request, self.router.replica_id(slot), call.ref)
                    return
                try:
                    await asyncio.wait_for(event.wait(), pause)
                except (asyncio.TimeoutError, TimeoutError):
                    pause = min(pause * self.user.backoff_multiplier, self.user.max_backoff_s)
        except Exception as error:  # noqa: BLE001 - the user's class; who calls gets it
            call.fail(error)
        finally:
            self.freed.discard(event)
            self.pending -= 1
            self.user._pending = self.pending

    async def _try(self, request: PendingRequest) -> Slot | None:
        ranks = self.user.choose_replicas(list(self.replicas.values()), request)
        if inspect.isawaitable(ranks):
            ranks = await ranks
        for rank in ranks:
            slots = [r._slot for r in rank if r._slot.ongoing < r._slot.limit and not r._slot.dead]
            if slots:
                slot = min(slots, key=lambda s: s.ongoing)
                with self.router.lock:
                    slot.ongoing += 1
                self.user.on_send_request(self.router.replica_id(slot))
                return slot  # type: ignore[no-any-return]
        return None
