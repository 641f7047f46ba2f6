"""Submitting tasks: leases by shape, calls pushed straight to executors.

A :class:`Pool` holds the leases for one shape (resources, strategy, environment) and the calls
that wait for one. Calls are pipelined to an executor as deep as fills a few milliseconds of its
time; an executor that meets a long call gives back (*bounces*) what it has not started.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.base import exceptions
from rayjup.base.serialization import pack
from rayjup.engine.lane import messages as m
from rayjup.engine.lane.peer import Message, Peer
from rayjup.engine.objects.store import Segment, node_of
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef
from rayjup.engine.runtime.arguments import Arguments, encode
from rayjup.engine.runtime.functions import Function
from rayjup.engine.runtime.pools import Lease, Pool, Task
from rayjup.engine.runtime.streams import (
    DYNAMIC,
    DynamicObjectRefGenerator,
    ObjectRefGenerator,
    Replay,
    Stream,
    Streams,
)
from rayjup.engine.runtime.submitted import Submitted

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_FRAME_CALLS = 64  # calls that are sent without waiting for more
_LINGER_S = 0.25  # an idle lease is kept this long
_CONTENDED_S = 0.5  # so long after others have asked, idle leases are not kept at all
_MIN_HOLD_S = 0.05  # a lease somebody else waits for is kept at least this long
_MAX_WANTED = 4096
_MOST_CELLED = 1000  # options with a cell that are kept
ASK = -1  # for Tasks.cell: it depends on the thread or coroutine
_INDEX = [i.to_bytes(4, "little") for i in range(256)]


class Tasks:
    """Submission of tasks from this process."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.lock = runtime.lock
        self.sequence = itertools.count(1)
        self.inflight: dict[int, Task] = {}  # calls with executors, of tasks and actors alike
        self.waiting: dict[int, Task] = {}  # calls whose dependencies are not there yet
        self._answered: set[int] = set()  # calls whose answer is being read just now
        self.pools: dict[Any, Pool] = {}
        self._pools_by_id: dict[int, Pool] = {}
        self._pool_numbers = itertools.count(1)
        self._dirty_pools: list[Pool] = []
        self.dirty_peers: set[Peer] = set()
        self.functions: list[Function] = []
        self.streams = Streams(runtime)
        self.parent = 0  # in an executor: the call that its main thread runs (-1: it runs several)
        self.own_lease = ""  # in an executor of tasks: the lease under which they run
        self.cell: int | None = None  # the notebook cell from which calls come now, or ASK
        self.cell_of_caller: Callable[[], int | None] = lambda: None
        self._celled: dict[tuple[int, int], tuple[Any, dict[str, Any]]] = {}
        self.noted = 0  # the parent of the last call, as it was then
        self.log = Submitted(runtime)

    # -- submitting

    def pool(self, key: Any, shape: dict[str, Any]) -> Pool:
        """The pool for calls of this shape (``key`` is its hashable form)."""
        pool = self.pools.get(key)
        if pool is None:
            with self.lock:
                pool = self.pools.get(key)
                if pool is None:
                    pool = Pool(next(self._pool_numbers), key, shape)
                    self._pools_by_id[pool.id] = pool
                    self.pools[key] = pool
        return pool

    def new_refs(self, task: Task, count: int) -> list[ObjectRef]:
        """The refs of a call's returns."""
        base = self.runtime.prefix + task.seq.to_bytes(8, "little")
        if count < 0:  # a generator: one ref for the call, the items' refs come with them
            task.stream = Stream(task.seq)
            ref = ObjectRef(base + _INDEX[1])
            ref._task = task
            task.refs = [ref]
            task.n_returns = count
            return task.refs
        if count == 1:
            ref = ObjectRef(base + _INDEX[1])
            ref._task = task
            refs = [ref]
        else:
            refs = []
            for index in range(1, count + 1):
                ref = ObjectRef(base + index.to_bytes(4, "little"))
                ref._task = task
                refs.append(ref)
        task.refs = refs
        task.n_returns = count
        return refs

    def submit(
        self,
        function: Function,
        pool: Pool,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        n_returns: int,
        retries: int,
        retry_exceptions: Any = False,
        options: dict[str, Any] | None = None,
    ) -> list[ObjectRef]:
        """Run ``function`` on some executor of ``pool``; the refs of what it returns."""
        if self.cell is not None:
            options = self.with_cell(options)
        arguments = encode(self.runtime, args, kwargs, f"{function.name}()")
        task = Task(next(self.sequence), function, arguments, pool)
        task.retries = retries
        parent = task.parent = self.parent
        if parent != self.noted:
            self.log.under(task.seq, parent)
        task.retry_exceptions = retry_exceptions
        if options:
            task.options = options
            task.name = options.get("name") or function.name
        refs = self.new_refs(task, n_returns)
        if not function.submitted:
            self.functions.append(function)
        function.submitted += 1
        if type(arguments) is Arguments and arguments.dependencies:
            unresolved = arguments.unresolved()
            if unresolved:
                self.wait_for(task, unresolved, self.dispatch)
                return refs
        self.dispatch(task)
        return refs

    def with_cell(self, options: dict[str, Any] | None) -> dict[str, Any] | None:
        """Options that also name the notebook cell from which the call comes.

        All calls with the same options from one cell get the same dict: it is pickled once per frame.
        """
        cell = self.cell_of_caller() if self.cell == ASK else self.cell
        if cell is None:
            return options
        original, celled = self._celled.get((cell, id(options)), (None, None))
        if celled is None or original is not options:
            if len(self._celled) > _MOST_CELLED:
                self._celled.clear()
            celled = {**(options or {}), "cell": cell}
            self._celled[(cell, id(options))] = (options, celled)
        return celled

    def of_cell(self, cell: int) -> list[Task]:
        """The unfinished calls that a notebook cell has made."""
        return [task for task in self._all() if (task.options or {}).get("cell") == cell]

    def _all(self) -> list[Task]:
        """All unfinished calls of this process."""
        with self.lock:
            tasks = {**self.inflight, **self.waiting}  # one may be in two places
            for pool in self.pools.values():
                tasks.update((task.seq, task) for task in pool.backlog)
            for client in self.runtime.actors.clients.values():
                tasks.update((task.seq, task) for task in client.queue)
        return list(tasks.values())

    def generator(self, ref: ObjectRef, options: dict[str, Any] | None) -> ObjectRefGenerator:
        """What iterates over the items of the generator call that ``ref`` stands for."""
        stream: Stream = ref._task.stream
        stream.limit = (options or {}).get("backpressure") or 0
        return ObjectRefGenerator(self.runtime, stream, ref)

    def wait_for(self, task: Task, refs: list[ObjectRef], then: Any) -> None:
        """Call ``then(task)`` once all ``refs`` are resolved."""
        left = len(refs)
        self.waiting[task.seq] = task
        lock = self.lock

        def resolved(ref: ObjectRef) -> None:
            nonlocal left
            with lock:
                left -= 1
                ready = left == 0 and self.waiting.pop(task.seq, None) is not None
            if ready:
                then(task)

        for ref in refs:
            if not self.runtime.add_waiter(ref, resolved):
                resolved(ref)

    def dispatch(self, task: Task) -> None:
        """Send a call whose dependencies are resolved, or queue it for a lease."""
        arguments = task.arguments
        if type(arguments) is Arguments and arguments.dependencies:
            error = arguments.failed()
            if error is not None:
                self.fail(task, error)
                return
        pool = task.pool
        with self.lock:
            if not pool.backlog:
                lease = pool.free_lease(task.function.depth)
                if lease is not None:
                    self._push(lease, task)
                    return
            error = self.runtime.link.error() if self.runtime.link.lost else pool.error
            if error is None:
                pool.backlog.append(task)
                if not pool.dirty:
                    pool.dirty = True
                    self._dirty_pools.append(pool)
                    if not pool.wanted:
                        self._ask_for_leases()
                    self.wake_background()
        if error is not None:
            self.fail(task, error)

    def _push(self, lease: Lease, task: Task) -> None:
        lease.inflight[task.seq] = task
        self.send_call(lease.peer, lease, task)
        if len(lease.inflight) == 1 or len(lease.peer.outbox) >= _FRAME_CALLS:
            lease.peer.flush()
        else:
            self.dirty_peers.add(lease.peer)
            self.wake_background()

    def send_call(self, peer: Peer, lease: Any, task: Task) -> None:
        """Queue the messages of a call on ``peer`` (with the function, the first time)."""
        task.lease = lease
        self.inflight[task.seq] = task
        function = task.function
        if function.id not in peer.defined:
            peer.defined.add(function.id)
            peer.outbox.append((m.DEFINE, function.id, function.blob, function.name, function.max_calls))
        arguments = task.arguments
        payload = arguments if type(arguments) is tuple else arguments.wire(self.runtime)
        peer.outbox.append((m.CALL, task.seq, function.id, payload, task.n_returns, task.options))

    def wake_background(self) -> None:
        """The background thread may sleep without end; something wants its ticks."""
        reactor = self.runtime.reactor
        if reactor.endless:
            reactor.kick_leader()
        elif reactor._parked:
            reactor.unpark()

    # -- leases

    def _ask_for_leases(self) -> None:
        pools, self._dirty_pools = self._dirty_pools, []
        for pool in pools:
            pool.dirty = False
            backlog = pool.backlog
            if backlog:
                depth = max(1, backlog[0].function.depth)
                wanted = min((len(backlog) + depth - 1) // depth, _MAX_WANTED)
            else:
                wanted = 0
            if wanted > pool.wanted or (wanted == 0 and pool.wanted):
                pool.wanted = wanted
                locality = self._locality(backlog[0]) if backlog else None
                wish = ("lease", pool.id, pool.shape, wanted, locality, pool.received, self.own_lease)
                self.runtime.link.send(wish)

    def _locality(self, task: Task) -> dict[str, int] | None:
        """Bytes of the call's dependencies in shared memory, by the nodes on which they lie."""
        arguments = task.arguments
        if type(arguments) is not Arguments:
            return None
        out: dict[str, int] = {}
        for _, ref in arguments.dependencies:
            if ref._kind == m.SHM:
                data: Any = ref._data.descriptor if isinstance(ref._data, Segment) else ref._data
                copies = ref._data.copies if isinstance(ref._data, Segment) else None
                for node in (node_of(data[0]), *(copy[0] for copy in copies or ())):
                    out[node] = out.get(node, 0) + data[1]
        return out or None

    def on_grant(self, pool_id: int, lease_id: str, address: str) -> None:
        """The node granted a lease on the executor listening at ``address``."""
        pool = self._pools_by_id.get(pool_id)
        if pool is None:
            self.runtime.link.send(("release", lease_id))
            return
        peer = self.runtime.peer_at(address)
        with self.lock:
            pool.received += 1
            pool.wanted = max(0, pool.wanted - 1)
            if peer is None:  # the executor died meanwhile
                self.runtime.link.send(("release", lease_id))
                if pool.backlog and not pool.dirty:
                    pool.dirty = True
                    self._dirty_pools.append(pool)
                    self._ask_for_leases()
                return
            lease = Lease(lease_id, pool, peer)
            peer.state = lease
            pool.leases.append(lease)
            self._refill(lease)
            self.wake_background()

    def on_reclaim(self, pool_id: int, wanted: int) -> None:
        """Others wait for what our leases of this pool hold."""
        pool = self._pools_by_id.get(pool_id)
        if pool is None:
            return
        now = time.monotonic()
        with self.lock:
            pool.contended_until = now + _CONTENDED_S
            for lease in sorted(pool.leases, key=lambda held: len(held.inflight))[:wanted]:
                if not lease.inflight:
                    self._release(lease)
                else:
                    lease.drain_at = max(now, lease.granted + _MIN_HOLD_S)

    def on_revoke(self, lease_id: str, reason: str) -> None:
        """The executor behind a lease is gone or will be; its connection's end does the rest."""
        with self.lock:
            for pool in self.pools.values():
                for lease in pool.leases:
                    if lease.id == lease_id:
                        lease.doomed = reason
                        lease.drain = True

    def on_unschedulable(self, pool_id: int, kind: str, why: str) -> None:
        """What waits for leases of this pool can never run; with kind "group" nor can what comes later."""
        pool = self._pools_by_id.get(pool_id)
        if pool is None:
            return
        error: BaseException = _UNSCHEDULABLE.get(kind, exceptions.TaskUnschedulableError)(why)
        with self.lock:
            pool.wanted = 0
            tasks = list(pool.backlog)
            pool.backlog.clear()
            if kind == "group":
                error = pool.error = exceptions.TaskPlacementGroupRemoved()
                # Nobody finds it any more: programs make and remove groups without end.
                self.pools.pop(pool.key, None)
                del self._pools_by_id[pool_id]
        for task in tasks:
            if task.refs is not None:
                self.fail(task, error)

    def _refill(self, lease: Lease) -> None:
        pool = lease.pool
        backlog = pool.backlog
        if backlog and not lease.drain and not lease.stuck:
            inflight = lease.inflight
            send = self.send_call
            peer = lease.peer
            while backlog and len(inflight) < backlog[0].function.depth:
                task = backlog.popleft()
                inflight[task.seq] = task
                send(peer, lease, task)
            peer.flush()
            if not backlog and pool.wanted and not pool.dirty:
                pool.dirty = True
                self._dirty_pools.append(pool)
        if not lease.inflight:
            lease.idle_since = time.monotonic()
            if lease.drain or lease.drain_at or lease.idle_since < pool.contended_until:
                self._release(lease)
                if backlog and not pool.dirty:
                    pool.dirty = True
                    self._dirty_pools.append(pool)

    def _release(self, lease: Lease) -> None:
        lease.pool.leases.remove(lease)
        lease.peer.state = None
        self.runtime.link.send(("release", lease.id))

    def release_idle(self, group: bytes | None = None) -> None:
        """Give back all idle leases now (or those in one placement group), so that what is free shows."""
        with self.lock:
            for pool in self.pools.values():
                if group is not None and pool.shape.get("group") != group:
                    continue
                for lease in [held for held in pool.leases if not held.inflight]:
                    self._release(lease)

    # -- answers

    def on_replies(self, peer: Peer, messages: list[Message]) -> None:
        """Executors answered calls."""
        runtime = self.runtime
        done: list[Any] = []
        leases: set[Any] = set()
        others: list[tuple[Task, Message]] = []
        strays: list[Message] = []
        with self.lock:
            pop = self.inflight.pop
            for message in messages:
                if message[0] == m.ITEM:  # before the reply that ends its stream, as it came
                    self.on_item(peer, message)
                    continue
                if message[0] != m.REPLY:  # a frame may hold other messages between replies
                    strays.append(message)
                    continue
                _, seq, status, value, micros, held = message
                task = pop(seq, None)
                if task is None:
                    continue
                lease = task.lease
                lease.inflight.pop(seq, None)
                leases.add(lease)
                if held:
                    for id in held:
                        if id:
                            runtime.exports.count(id, peer.worker_id, 1)
                        else:
                            task.arguments.unseen()
                if status == m.PLAIN and task.n_returns == 1:
                    function = task.function
                    function.finished += 1
                    if micros >= 0:
                        function.observe(micros)
                    ref = task.refs[0]  # type: ignore[index]
                    ref._data = value
                    ref._kind = m.PLAIN
                    ref._task = None
                    task.refs = None
                    if ref._waiters is not None:
                        done.append(ref)
                else:
                    others.append((task, message))
                    self._answered.add(seq)
            runtime.completions += len(messages)
        for task, message in others:
            try:
                self._finish(peer, task, message)
            finally:
                self._answered.discard(task.seq)
        for ref in done:
            waiters, ref._waiters = ref._waiters, None
            if waiters:
                runtime.run_waiters(ref, waiters)
        for message in strays:
            runtime.on_message(peer, message)
        for lease in leases:
            lease.on_progress(self) if type(lease) is not Lease else self._progress(lease)

    def _progress(self, lease: Lease) -> None:
        with self.lock:
            lease.stuck = False
            if lease.peer.state is lease:  # a tick may have given it back meanwhile
                self._refill(lease)

    def _finish(self, peer: Peer, task: Task, message: Message) -> None:
        _, _, status, value, micros, _ = message
        function = task.function
        if micros >= 0:
            function.observe(micros)
        if status == m.LOST:
            self.runtime.lineage.on_arguments_lost(task, value or "")
            return
        refs = task.refs or []
        if task.stream is not None and refs:
            self._finish_stream(task, refs[0], status, value)
            return
        if status == m.ERROR:
            if self._retry_after_error(task, value):
                return
            function.failed += 1
            task.refs = None
            for ref in refs:
                ref._task = None
                self.runtime.complete_wire(ref, m.ERROR, value)
            return
        function.finished += 1
        parts = value if status == m.MANY else [(status, value)]
        arguments = task.arguments  # what the value holds is known before they go
        with self.lock:  # other results of the call may be found lost just now
            refs, task.refs = task.refs or refs, None
            for ref in refs:
                ref._task = None
            if task.retries or hasattr(task, "recipe"):
                self.runtime.lineage.keep(task, refs, parts)
        for ref, (part_status, part) in zip(refs, parts, strict=True):
            self.runtime.complete_wire(ref, part_status, part, writer=peer)
        del arguments

    def _finish_stream(self, task: Task, ref: ObjectRef, status: int, value: Any) -> None:
        stream = task.stream
        assert stream is not None
        if status == m.ERROR:  # it did not get so far as to yield anything
            self.fail(task, self.runtime.load_error(value))
            return
        task.function.finished += 1
        ref._task = None
        with self.lock:
            task.refs = None
            if stream.made:
                self.runtime.lineage.keep_items(task, stream)
        self.streams.finish(task)
        if task.n_returns == DYNAMIC and type(stream) is not Replay:
            packed = pack(DynamicObjectRefGenerator(stream.items))
            kind, data = self.runtime.store_packed(packed)
            self.runtime.complete(ref, kind, data, packed.refs)
        else:
            self.runtime.complete(ref, m.PLAIN, None, None)

    def on_item(self, peer: Peer, message: Message) -> None:
        """A generator has yielded."""
        _, seq, index, status, value = message
        task = self.inflight.get(seq)
        if task is not None and task.stream is not None:
            self.streams.on_item(peer, task, index, status, value)
            self.runtime.completions += 1

    def _retry_after_error(self, task: Task, value: Any) -> bool:
        if not task.retry_exceptions or not task.retries or task.cancelled:
            return False
        error = self.runtime.load_error(value)
        if isinstance(error, exceptions.TaskCancelledError):
            return False
        cause = getattr(error, "cause", error)
        if task.retry_exceptions is not True and not isinstance(cause, tuple(task.retry_exceptions)):
            return False
        if task.retries > 0:
            task.retries -= 1
        if task.pool is None:
            self.runtime.actors.again(task)
        else:
            self.dispatch(task)
        return True

    def fail(self, task: Task, error: BaseException) -> None:
        """Resolve a call's refs to ``error``."""
        task.function.failed += 1
        self.log.failed(task, error)
        with self.lock:
            refs, task.refs = task.refs or [], None
        if task.stream is not None:
            self.streams.finish(task, error)
        for ref in refs:
            ref._task = None
            self.runtime.complete(ref, m.ERROR, error, None)

    def on_bounce(self, peer: Peer, seqs: list[int]) -> None:
        """An executor gives back calls it has not started: they go elsewhere."""
        with self.lock:
            tasks: list[Task] = []
            cancelled: list[Task] = []
            for seq in seqs:
                task = self.inflight.pop(seq, None)
                if task is not None:
                    task.lease.inflight.pop(seq, None)
                    task.lease.stuck = True
                    (cancelled if task.cancelled else tasks).append(task)
            for task in reversed(tasks):
                pool = task.pool
                pool.backlog.appendleft(task)
                task.lease = None
            for pool in {task.pool for task in tasks}:
                for lease in list(pool.leases):  # an idle one may be given back
                    self._refill(lease)
                if pool.backlog and not pool.dirty:
                    pool.dirty = True
                    self._dirty_pools.append(pool)
            self._ask_for_leases()
        for task in cancelled:
            self.fail(task, _cancelled_early(task))

    def on_retired(self, peer: Peer) -> None:
        """An executor runs nothing any more: what it has not answered goes elsewhere."""
        lease = peer.state
        if isinstance(lease, Lease):
            with self.lock:
                if lease in lease.pool.leases:
                    self._release(lease)
                if lease.pool.backlog and not lease.pool.dirty:
                    lease.pool.dirty = True
                    self._dirty_pools.append(lease.pool)
                self.on_bounce(peer, list(lease.inflight))

    def on_peer_closed(self, peer: Peer) -> None:
        """An executor is gone: its calls are retried or fail."""
        self.dirty_peers.discard(peer)
        lease = peer.state
        if not isinstance(lease, Lease):
            return
        with self.lock:
            if lease in lease.pool.leases:
                lease.pool.leases.remove(lease)
                self.runtime.link.send(("release", lease.id, True))
            unseen = {msg[1] for msg in (*peer.undelivered, *peer.outbox) if msg[0] == m.CALL}
            if not peer.reached and lease.pool.gives_up(time.monotonic()):  # it may be so for ever
                unseen = set()
                lease.doomed = lease.doomed or "its host could not be reached"
            lost = list(lease.inflight.values())
            lease.inflight.clear()
            for task in lost:
                self.inflight.pop(task.seq, None)
        for task in lost:
            if task.cancelled:
                self.fail(
                    task, exceptions.TaskCancelledError(error_message=f"{task.name} was cancelled by force.")
                )
            elif task.retries or task.seq in unseen:
                if task.seq not in unseen:
                    self.log.failed(task, _crashed(task, lease), attempt_only=True)
                    task.retries -= task.retries > 0
                    task.recipe = None
                self.dispatch(task)
            else:
                self.fail(task, _crashed(task, lease))

    def fail_all(self, error: BaseException) -> None:
        """The cluster is lost: nothing that waits will be answered."""
        with self.lock:
            tasks = list(self.inflight.values()) + list(self.waiting.values())
            self.inflight.clear()
            self.waiting.clear()
            for pool in self.pools.values():
                tasks += pool.backlog
                pool.backlog.clear()
                pool.leases.clear()
        for task in tasks:
            if task.refs is not None:
                self.fail(task, error)

    # -- cancelling

    def cancel(self, ref: ObjectRef, force: bool, recursive: bool) -> None:
        """Cancel the call that makes ``ref``; nothing happens when it is already answered."""
        task: Task | None = ref._task
        if task is None or ref._kind != PENDING:
            return
        with self.lock:
            if task.refs is None:
                return  # answered meanwhile
            task.cancelled = True
            if task.seq in self._answered:
                return
            lease = task.lease if task.seq in self.inflight else None
            peer: Any = lease.peer if lease is not None else None
            if lease is not None and peer is None:  # its actor is gone, what becomes of it is not known yet
                del self.inflight[task.seq]
                del lease.inflight[task.seq]
                lease = None
            elif lease is None and self.waiting.pop(task.seq, None) is None and task.pool is not None:
                try:
                    task.pool.backlog.remove(task)
                except ValueError:
                    return  # answered meanwhile
                if not task.pool.dirty:  # fewer leases are wanted now
                    task.pool.dirty = True
                    self._dirty_pools.append(task.pool)
        if lease is None:
            self.fail(task, _cancelled_early(task))
            if task.pool is None:
                self.runtime.actors.pump_all()  # calls of its actor may have waited behind it
            self.runtime.reactor.kick()
            return
        peer.send((m.CANCEL, task.seq, recursive))
        if force and isinstance(lease, Lease):
            self.runtime.link.send(("kill_executor", peer.address))

    def cancel_children(self, parent: int) -> None:
        """Cancel what the call ``parent`` of this process submitted and is not answered."""
        for task in self._all():
            if task.parent == parent and task.refs:
                self.cancel(task.refs[0], False, True)

    # -- housekeeping

    def flush(self) -> None:
        """Send queued calls and ask for the leases that are missing."""
        dirty = self.dirty_peers
        while dirty:
            try:
                dirty.pop().flush()
            except KeyError:
                break
        if self._dirty_pools:
            with self.lock:
                self._ask_for_leases()

    def unfinished(self) -> bool:
        """Whether a call of this process is not answered yet."""
        return bool(self.inflight or self.waiting or any(pool.backlog for pool in self.pools.values()))

    def waits_for_leases(self) -> bool:
        """Whether calls of this process have no executor yet."""
        return any(pool.backlog for pool in list(self.pools.values()))

    def busy(self) -> bool:
        """Whether the background thread's ticks are needed."""
        if self.inflight or self.waiting or self.dirty_peers or self._dirty_pools:
            return True
        return any(pool.leases for pool in self.pools.values())

    def tick(self, now: float) -> None:
        """Give back leases that are idle for long, or that others wait for."""
        with self.lock:
            for pool in self.pools.values():
                for lease in list(pool.leases):
                    if lease.inflight:
                        if lease.drain_at and now >= lease.drain_at:
                            lease.drain = True
                    elif lease.drain or lease.drain_at or now - lease.idle_since >= _LINGER_S:
                        self._release(lease)
                        if pool.backlog and not pool.dirty:
                            pool.dirty = True
                            self._dirty_pools.append(pool)

    def counts(self) -> dict[str, list[int]]:
        """By name: calls pending, running, finished, failed (running: first on its executor)."""
        out: dict[str, list[int]] = {}
        for function in self.functions:
            row = out.setdefault(function.name, [0, 0, 0, 0])
            row[0] += function.submitted - function.finished - function.failed
            row[2] += function.finished
            row[3] += function.failed
        with self.lock:
            heads = [
                next(iter(lease.inflight.values()))
                for pool in self.pools.values()
                for lease in pool.leases
                if lease.inflight
            ]
        for task in heads:
            row = out.get(task.function.name, [0, 0, 0, 0])
            row[0] -= 1
            row[1] += 1
        return out


def _crashed(task: Task, lease: Lease) -> exceptions.RayError:
    if lease.doomed.startswith(m.OUT_OF_MEMORY):
        text = lease.doomed[len(m.OUT_OF_MEMORY) :]
        return exceptions.OutOfMemoryError(f"{task.name}() was ended while it ran: {text}.")
    reason = lease.doomed or "it was killed or crashed"
    return exceptions.WorkerCrashedError(
        f"The worker process that ran {task.name}() died: {reason}. "
        "Its log is in the session directory; max_retries=… makes such calls run again."
    )


_UNSCHEDULABLE: dict[str, Any] = {
    "env": exceptions.RuntimeEnvSetupError,
    "start": exceptions.WorkerCrashedError,
}


def _cancelled_early(task: Task) -> exceptions.TaskCancelledError:
    return exceptions.TaskCancelledError(error_message=f"{task.name} was cancelled before it started.")
