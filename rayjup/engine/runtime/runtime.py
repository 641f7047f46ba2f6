"""The runtime of one process: its objects, its connections, and how it waits.

There is one per process, in drivers as in executors. Threads of the process use it freely; the
messages of other processes are handled by whichever thread leads the reactor.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle

from rayjup import exceptions  # the public name, under which pickles refer to errors
from rayjup.base import notebook
from rayjup.base.serialization import Packed, is_plain, pack, unpack
from rayjup.engine.lane import messages as m
from rayjup.engine.lane import reactor
from rayjup.engine.lane.addresses import path_of, worker_of
from rayjup.engine.lane.peer import Listener, Message, Peer
from rayjup.engine.lane.reactor import Reactor
from rayjup.engine.objects import copies, on_device
from rayjup.engine.objects.spilling import Disk, move_all
from rayjup.engine.objects.store import Segment, Store
from rayjup.engine.ownership import object_ref
from rayjup.engine.ownership.exports import Exports
from rayjup.engine.ownership.object_ref import PENDING, ObjectRef
from rayjup.engine.runtime import forks
from rayjup.engine.runtime.actor_calls import ActorCalls
from rayjup.engine.runtime.arguments import DependencyLost
from rayjup.engine.runtime.groups import GroupCalls
from rayjup.engine.runtime.hosts import Hosts
from rayjup.engine.runtime.lineage import Lineage
from rayjup.engine.runtime.link import AgentLink
from rayjup.engine.runtime.pulls import Pulls
from rayjup.engine.runtime.reports import Reports
from rayjup.engine.runtime.tasks import Tasks

_NEVER = float("inf")
_PUT = b"\x00\x00\x00\x80"  # index of objects made by put, as far from returns as can be
_LAST_LINES_S = 1.0  # so long the end of a driver waits for what its calls have printed


class Runtime:
    """Objects and connections of this process.

    Parameters
    ----------
    kind
        ``"driver"`` or ``"executor"``.
    agent_path
        Unix socket of the node's agent.
    job_id
        Four bytes naming the job.
    job
        Configuration of the job that executors need (driver only).
    """

    def __init__(self, kind: str, agent_path: str, job_id: bytes, job: dict[str, Any] | None = None) -> None:
        self.pid = os.getpid()
        self.worker_id = os.urandom(28)
        self.job_id = job_id
        self.prefix = self.worker_id[:12] + job_id
        self.lock = threading.RLock()
        self.peers: dict[str, Peer] = {}
        self.closed = False
        self.completions = 0
        self.block_hook: Any = None  # an executor lends its CPU while its main thread waits
        self.tick_hook: Callable[[], None] | None = None
        self.has_lines: Callable[[], bool] | None = None  # in an executor: calls have printed something
        self.on_calls: Callable[[Peer, list[Message]], None] = _refuse_calls
        self._local = threading.local()  # refs completed while others are
        self._requests = itertools.count(1)
        self._puts = itertools.count(1)
        self._next_slow_tick = 0.0
        self.exports = Exports(self)
        self.lineage = Lineage(self)
        self.tasks = Tasks(self)
        self.actors = ActorCalls(self)
        self.groups = GroupCalls(self)
        # In an executor: (id, captures children) of the placement group in which the call runs.
        self.group: tuple[bytes, bool] | None = None
        self.reactor = Reactor(self._tick, self._busy)
        # Listen before the agent knows us: it may send callers here at once.
        self.address: str = f"{os.path.dirname(agent_path)}/w-{self.worker_id[:8].hex()}.sock"
        self._listener = Listener(self.reactor, self.address, self._accept)
        self.link = AgentLink(self, agent_path)
        self.reports = Reports(self)
        node = self.link.hello(kind, self.worker_id, job_id, job)
        self.hosts = Hosts(self, node)
        self.node_id: str = node["node_id"]
        self.session_dir: str = node["session_dir"]
        if kind == "driver":
            self.job_id = node["job_id"]
            self.prefix = self.worker_id[:12] + self.job_id
        self.store = Store(
            node["store_dir"],
            self.worker_id[:8].hex(),
            node["host"],
            self._reserve_room,
            lambda nbytes: self.link.post(("store_give_back", nbytes)),
            lambda node, nbytes: self.link.post(("store_freed", node, nbytes)),
            Disk(*node["disk"]) if node["disk"] else None,
            lambda nbytes: self.link.post(("store_held", nbytes)),
        )
        self.store.on_posted = self._flush_soon
        self.pulls = Pulls(self)
        self.store.bring = self.pulls.bring
        self.store.tell_elsewhere = self.hosts.tell
        self.link.on["store_trim"] = self._on_store_trim
        self.link.on["store_spill"] = self._on_store_spill
        # By writer: files that may have got lost with it, and their host.
        self._orphans: dict[bytes, tuple[list[str], str]] = {}
        self.link.on["store_orphans"] = self._on_orphans
        object_ref.set_runtime(self)
        on_device.connect(self)
        forks.watch(self)

    # -- connections

    def peer_at(self, address: str, connect: bool = True) -> Peer | None:
        """The connection to the process listening at ``address``; None when it can't be reached."""
        peer = self.peers.get(address)
        if peer is not None or not connect:
            return peer
        with self.lock:
            peer = self.peers.get(address)
            if peer is not None:
                return peer
            try:
                peer = self.hosts.connect(address)
            except OSError:
                return None
            peer.address = address
            peer.worker_id = worker_of(address)
            self.peers[address] = peer
            peer.send((m.HELLO, self.worker_id[:8], self.prefix, self.address))
            self.reactor.add(peer)
            peer.start()
        return peer

    def _accept(self, sock: Any) -> None:
        peer = Peer(self.reactor, sock, self._on_messages, self._on_peer_closed)
        self.reactor.add(peer)

    def _on_messages(self, peer: Peer, messages: list[Message]) -> None:
        kind = messages[0][0]
        if kind == m.REPLY and messages[-1][0] == m.REPLY:
            self.tasks.on_replies(peer, messages)
        elif kind == m.CALL and messages[-1][0] == m.CALL:
            self.on_calls(peer, messages)
        else:
            for message in messages:
                self.on_message(peer, message)
        if self.reactor._waiters:
            self.reactor.kick()

    def on_message(self, peer: Peer, message: Message) -> None:
        """Handle one message, of whatever kind."""
        kind = message[0]
        if kind == m.REPLY:
            self.tasks.on_replies(peer, [message])
        elif kind in (m.CALL, m.DEFINE, m.CANCEL, m.CONSUMED):
            self.on_calls(peer, [message])
        elif kind == m.ITEM:
            self.tasks.on_item(peer, message)
        elif kind == m.BOUNCE:
            self.tasks.on_bounce(peer, message[1])
        elif kind == m.RETIRED:
            self.tasks.on_retired(peer)
        elif kind == m.FETCH:
            self.exports.on_fetch(peer, *message[1:])
        elif kind == m.VALUE:
            self.exports.on_value(message[1], message[2], message[3])
        elif kind == m.BORROW:
            self.exports.on_borrow(peer, message[1])
        elif kind == m.RECYCLE:
            self.store.taken_back(message[1], message[2])
        elif kind == m.SYNC:
            peer.send((m.BORROW_ACK, message[1]))
        elif kind == m.BORROW_ACK:
            self.exports.syncs[message[1]] = True
        elif kind == m.HELLO:
            _, peer.worker_id, peer.prefix, peer.address = message
            self.peers.setdefault(peer.address, peer)

    def _on_peer_closed(self, peer: Peer) -> None:
        if self.peers.get(peer.address) is peer:
            del self.peers[peer.address]
        if self.closed:
            return
        self.tasks.on_peer_closed(peer)
        self.actors.on_peer_closed(peer)
        self.exports.on_peer_closed(peer)
        if peer.worker_id in self._orphans:
            self.store.writer_died(*self._orphans.pop(peer.worker_id))
        self.reactor.kick()

    def next_request(self) -> int:
        """A number for a request, unique in this process."""
        return next(self._requests)

    # -- values

    def complete(self, ref: ObjectRef, kind: int, data: Any, inner: Any) -> None:
        """Give ``ref`` its value and run what waits for it."""
        with self.lock:
            ref._data = data
            ref._inner = inner
            ref._kind = kind
            self.completions += 1
            waiters, ref._waiters = ref._waiters, None
        if waiters:
            self.run_waiters(ref, waiters)
        if self.reactor._waiters:
            self.reactor.kick()

    def run_waiters(self, ref: ObjectRef, waiters: list[Callable[[ObjectRef], object]]) -> None:
        """Tell those who wait for ``ref``; not on top of each other where they complete more refs."""
        queue = getattr(self._local, "queue", None)
        if queue is not None:
            queue.append((ref, waiters))
            return
        queue = self._local.queue = deque([(ref, waiters)])
        try:
            while queue:
                ref, waiters = queue.popleft()
                for waiter in waiters:
                    waiter(ref)
        finally:
            self._local.queue = None

    def complete_wire(
        self, ref: ObjectRef, status: int, value: Any, own: bool = True, writer: Peer | None = None
    ) -> None:
        """:meth:`complete` with a value as it came over the wire."""
        inner = None
        data = value
        if status == m.BLOB:
            if type(value) is not bytes:
                data, wires, buffers = value
                inner = self.exports.adopt_all(wires)
                if buffers:
                    data = (data, buffers)
        elif status == m.SHM:
            data, wires = value
            inner = self.exports.adopt_all(wires)
            if own:
                data = self.store.own(data, writer)
        elif status == m.ERROR:
            data = self.load_error(value)
        self.complete(ref, status, data, inner)

    def encode_value(self, ref: ObjectRef, receiver: Peer | None = None, lost: str = "") -> tuple[int, Any]:
        """The value of a resolved ref for the wire; not at the path ``lost``, if there is a copy elsewhere.

        With ``receiver`` the refs inside are counted for it (a fetched value); without, they stay
        pinned by the caller until the reply (a dependency of a call).
        """
        kind, data = ref._kind, ref._data
        if kind == m.PLAIN:
            return kind, data
        if kind == m.ERROR:
            return kind, self.pack_error(data, receiver)
        if kind == m.DEVICE:
            kind, data = data.host
        inner = ref._inner
        wires: list[Any] = []
        if inner:
            wires = (
                self.exports.wire_for(inner, receiver)
                if receiver is not None
                else [self.exports.wire(r) for r in inner]
            )
        if kind == m.BLOB:
            if type(data) is bytes:
                return kind, (data, wires, ()) if wires else data
            return kind, (data[0], wires, data[1])
        if kind == PENDING or data is None:
            return m.LOST, None  # it is being made again; the receiver will say that it misses it
        if isinstance(data, Segment):
            data.shared = True
            data = (copies.other(data, lost) if lost and data.copies else None) or data.descriptor
        return kind, (data, wires)

    def decode_value(self, status: int, value: Any, fresh: list[Any]) -> Any:
        """The Python value of a dependency received with a call."""
        if status == m.PLAIN:
            return value
        if status == m.BLOB:
            if type(value) is bytes:
                return unpack(value)
            data, wires, buffers = value
            return unpack(data, buffers, self.exports.adopt_all(wires, fresh))
        if status == m.SHM:
            descriptor, wires = value
            try:
                head, buffers = self.store.buffers(descriptor)
            except exceptions.ObjectLostError as error:
                if self.store.has(descriptor):
                    raise  # it lies on another machine
                raise DependencyLost.of(descriptor[0], str(error)) from None
            return unpack(head, buffers, self.exports.adopt_all(wires, fresh))
        if status == m.LOST:
            raise DependencyLost.from_text("an argument is being made again")
        raise raised(self.load_error(value))

    def value_of(
        self,
        ref: ObjectRef,
        deadline: float | None = None,
        then: Callable[[ObjectRef], object] | None = None,
        others: Sequence[ObjectRef] = (),
    ) -> Any:
        """The Python value of a resolved ref; raises the error it resolved to.

        A value that was lost is made again, and so are those of ``others`` that are lost. That is waited for
        until ``deadline``, or not at all with ``then``: see :meth:`.lineage.Lineage.read_again`.
        """
        kind, data = ref._kind, ref._data
        if kind == m.PLAIN:
            return data
        if kind == m.BLOB:
            if type(data) is bytes:
                return unpack(data, (), ref._inner or ())
            return unpack(data[0], data[1], ref._inner or ())
        if kind == m.SHM:
            try:
                if self.hosts.gate is not None:
                    self.pulls.ensure(ref, deadline, then)
                return self.read_segment(ref)
            except exceptions.ObjectLostError as error:
                for other in others:
                    self.lineage.check(other)
                return self.lineage.read_again(ref, error, deadline, then)
        if kind == PENDING:  # lost, and being made again, since it was looked at
            return self.lineage.read_again(ref, exceptions.ObjectLostError(ref.hex(), "", ""), deadline, then)
        raise raised(data)

    def read_segment(self, ref: ObjectRef) -> Any:
        """The Python value of a ref whose value lies in shared memory."""
        data, inner = ref._data, ref._inner
        if data is None:
            raise exceptions.ObjectLostError(ref.hex(), "", "")
        try:
            head, buffers = (
                self.store.views_of(data) if isinstance(data, Segment) else self.store.buffers(data)
            )
        except exceptions.ObjectLostError as error:  # the store knows files, not refs
            raise exceptions.ObjectLostError.from_text(str(error), ref.hex()) from error
        return unpack(head, buffers, inner or ())

    def pack_error(self, error: BaseException, receiver: Peer | None = None) -> Any:
        """An exception for the wire: bytes, or ``(bytes, refs inside, buffers)``.

        Refs inside are counted for ``receiver``; where it is not known they stay pinned for good.
        """
        try:
            packed = pack(error)
            if packed.refs and receiver is None:
                return cloudpickle.dumps(error)
        except Exception as reason:  # noqa: BLE001 - any error of any user's __reduce__
            return pickle.dumps(
                exceptions.RaySystemError(f"{type(error).__name__} could not be pickled ({reason}): {error}")
            )
        if not packed.refs and not packed.buffers:
            return packed.data
        wires = self.exports.wire_for(packed.refs, receiver) if receiver is not None else []
        return packed.data, wires, [bytes(b) for b in packed.buffers]

    def load_error(self, value: Any) -> BaseException:
        """The exception that :meth:`pack_error` packed."""
        try:
            if type(value) is bytes:
                error = pickle.loads(value)
            else:
                data, wires, buffers = value
                error = unpack(data, buffers, self.exports.adopt_all(wires))
        except Exception as reason:  # noqa: BLE001 - the code of its class may be missing or wrong here
            return exceptions.RaySystemError(
                f"a call raised an exception that could not be loaded here ({type(reason).__name__}: "
                f"{reason}). Its class has to be importable in this process, too."
            )
        return error  # type: ignore[no-any-return]

    def explain_unserializable(
        self, error: Exception, what: str, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> TypeError:
        """A TypeError that names the argument which cannot be pickled."""
        for name, value in [*((f"argument {i}", a) for i, a in enumerate(args)), *kwargs.items()]:
            try:
                pack(value)
            except Exception as inner:  # noqa: BLE001 - whatever its pickling raises is the explanation
                return TypeError(
                    f"Could not serialize {name} (of type {type(value).__name__}) for {what}: {inner}. "
                    "Arguments travel to another process: pass data, not open files, locks or connections; "
                    "rayjup.util.inspect_serializability(obj) shows what inside it cannot be pickled."
                )
        return TypeError(f"Could not serialize the arguments of {what}: {error}")

    # -- put, get, wait

    def new_ref(self) -> ObjectRef:
        """A ref for an object made by this process itself."""
        return ObjectRef(self.prefix + next(self._puts).to_bytes(8, "little") + _PUT)

    def put(self, value: Any, transport: str | None = None) -> ObjectRef:
        """Store ``value``; see :func:`rayjup.put`."""
        ref = self.new_ref()
        if is_plain(value):
            ref._data = value
            ref._kind = m.PLAIN
            return ref
        try:
            packed = on_device.pack_apart(self, value, transport)
        except Exception as error:  # whatever pickling raises is explained
            raise self.explain_unserializable(error, "put()", (value,), {}) from error
        ref._kind, ref._data = self.store_packed(packed)
        ref._inner = packed.refs or None
        return ref

    def transport_of(self, ref: ObjectRef) -> str | None:
        """The tensor transport of the call or the put that makes ``ref``."""
        given = getattr(ref._task, "options", None) if ref._kind == PENDING else None
        return given.get("transport") if given else on_device.transport_in(ref._inner)

    def free(self, refs: Sequence[ObjectRef]) -> None:
        """Drop the values of refs that have one; see :func:`rayjup._private.internal_api.free`."""
        for ref in refs:
            if ref._kind != PENDING:
                error = exceptions.ObjectFreedError(ref.hex(), ref._owner or self.address, "")
                with self.lock:
                    ref._kind, ref._data, ref._inner = m.ERROR, error, None

    def store_packed(self, packed: Packed) -> tuple[int, Any]:
        """Keep a packed value: (kind, data) for a ref of ours."""
        if packed.size > m.INLINE_LIMIT:
            return m.SHM, self.store.write(packed)
        if packed.buffers:
            return m.BLOB, (packed.data, [bytes(b) for b in packed.buffers])
        return m.BLOB, packed.data

    def wait_until(self, done: Callable[[], bool], deadline: float | None = None) -> bool:
        """Block the calling thread until ``done()``; False when the deadline passed first."""
        if done():
            return True
        self.flush()
        hook = self.block_hook
        if hook is None or not hook.applies():
            return self.reactor.lead(done, deadline)
        if not self.tasks.waits_for_leases():
            # What is under way may be there in a moment: lending the CPU would cost more.
            soon = time.monotonic() + 0.001
            if self.reactor.lead(done, soon if deadline is None else min(soon, deadline)):
                return True
        hook.enter()
        try:
            return self.reactor.lead(done, deadline)
        finally:
            hook.leave()

    def _wait_for(self, refs: Sequence[ObjectRef], done: Callable[[], bool], deadline: float | None) -> bool:
        """:meth:`wait_until`, where a notebook can see it."""
        waits = notebook.waits
        if waits is None:
            return self.wait_until(done, deadline)
        me = threading.get_ident()
        waits[me] = refs
        try:
            return self.wait_until(done, deadline)
        finally:
            waits.pop(me, None)

    def get(self, ref: ObjectRef, timeout: float | None = None) -> Any:
        """The value of one ref."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if ref._kind == PENDING:
            if ref._owner is not None:
                self.exports.fetch(ref)
            if not self._wait_for((ref,), lambda: ref._kind != PENDING, deadline):
                raise exceptions.GetTimeoutError(
                    f"get timed out: the value of {ref} was not there after {timeout} s."
                )
        if ref._kind == m.PLAIN:
            return ref._data
        return self.value_of(ref, deadline)

    def get_many(self, refs: Sequence[ObjectRef], timeout: float | None = None) -> list[Any]:
        """The values of several refs, in order."""
        for ref in refs:
            if ref._kind == PENDING and ref._owner is not None:
                self.exports.fetch(ref)
        position = 0
        total = len(refs)
        failed = None

        def done() -> bool:
            nonlocal position, failed
            while position < total:
                kind = refs[position]._kind
                if kind == PENDING:
                    return False
                if kind == m.ERROR:
                    failed = refs[position]
                    return True
                position += 1
            return True

        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._wait_for(refs, done, deadline):
            ready = sum(r._kind != PENDING for r in refs)
            raise exceptions.GetTimeoutError(
                f"get timed out: {ready} of {total} values were there after {timeout} s."
            )
        if failed is not None:
            raise raised(failed._data)
        if self.hosts.gate is not None:
            self.pulls.ahead_of(refs)
        value_of = self.value_of
        return [r._data if r._kind == m.PLAIN else value_of(r, deadline, None, refs) for r in refs]

    def wait(
        self, refs: list[ObjectRef], num_returns: int, timeout: float | None
    ) -> tuple[list[ObjectRef], list[ObjectRef]]:
        """Split refs into ready ones (at most ``num_returns``) and the others, both in order."""
        split = _split(refs, num_returns)
        if len(split[0]) == num_returns:
            return split
        pending = [r for r in refs if r._kind == PENDING]
        for ref in pending:
            if ref._owner is not None:
                self.exports.fetch(ref)
        needed = len(pending) - (len(refs) - num_returns)  # so many of the pending ones must come
        if needed > 0:
            seen = -1
            allowed = len(pending) - needed

            def done() -> bool:
                nonlocal pending, seen
                if self.completions != seen:
                    seen = self.completions
                    pending = [r for r in pending if r._kind == PENDING]
                return len(pending) <= allowed

            self._wait_for(pending, done, None if timeout is None else time.monotonic() + timeout)
        return _split(refs, num_returns)

    def add_waiter(self, ref: ObjectRef, waiter: Callable[[ObjectRef], object]) -> bool:
        """Call ``waiter(ref)`` when the value comes; False when it is there already."""
        with self.lock:
            if ref._kind != PENDING:
                return False
            if ref._waiters is None:
                ref._waiters = [waiter]
            else:
                ref._waiters.append(waiter)
        if ref._owner is not None:
            self.exports.fetch(ref)
        self.tasks.wake_background()
        return True

    # -- housekeeping

    def flush(self) -> None:
        """Send what is queued for other processes."""
        self.tasks.flush()

    def _on_orphans(self, writer: str, paths: list[str], host: str) -> None:
        """A process has died that wrote these for us; what it told us before may still be unread."""
        worker_id = bytes.fromhex(writer)
        if any(peer.worker_id == worker_id for peer in list(self.peers.values())):
            self._orphans[worker_id] = paths, host
        else:
            self.store.writer_died(paths, host)

    def wake(self) -> None:
        """Let the background thread see to something soon. Safe inside destructors."""
        self.tasks.wake_background()

    def _reserve_room(self, nbytes: int, urgent: bool) -> int:
        if urgent:
            self.flush()  # what we freed may be room that its writers keep
        granted: int = self.link.request("store_reserve", nbytes, urgent)
        return granted

    def _on_store_trim(self, trim: int) -> None:
        self.link.send(
            (
                "store_trimmed",
                trim,
                self.store.give_back_room(),
                [os.path.basename(p) for p in self.store.shown()],
            )
        )

    def _on_store_spill(self, node: str, directory: str, disk: tuple[str, float], names: list[str]) -> None:
        """The node ``node`` needs the memory of these objects of ours."""

        def report(path: str, freed: int, written: int) -> None:
            self.link.send(("store_spilled", node, os.path.basename(path), freed, written))

        move_all(self.store, Disk(*disk), [f"{directory}/{name}" for name in names], report)

    def _flush_soon(self, peer: Peer) -> None:
        self.tasks.dirty_peers.add(peer)
        self.tasks.wake_background()

    def _busy(self) -> bool:
        link = self.link
        if reactor.postponed or link.behind or link.peer.outbox or self.store.has_spares:
            return True
        if self.reports.events is not None and self.reports.events.behind:
            return True
        if self.has_lines is not None and self.has_lines():
            return True
        return self.tasks.busy() or bool(self.exports.ended or self.actors.ended or self.hosts.pending)

    def _tick(self) -> None:
        if self.closed:
            return
        if reactor.postponed:
            self.reactor.deliver_postponed()
        if self.tick_hook is not None:
            self.tick_hook()
        self.tasks.log.tick()
        self.tasks.flush()
        now = time.monotonic()
        if now >= self._next_slow_tick:
            self._next_slow_tick = now + 0.05
            self.tasks.tick(now)
            self.actors.end_unreferenced()
            self.exports.release_ended()
            self.store.tick()
            self.link.tick(now)
            self.hosts.tick(now)

    def settle_logs(self, *longest_s: float) -> None:
        """Wait shortly for lines that calls have printed: they come in the order of our requests.

        A process that does not answer is waited for ``longest_s`` seconds at most (or half a second).
        """
        if not self.closed and not self.link.lost and self.tasks.functions:
            try:
                self.link.request("last_lines", *longest_s, timeout=_LAST_LINES_S)
            except exceptions.RaySystemError:
                pass  # the cluster is ending: so it is with its lines

    def close(self) -> None:
        """Leave: no thread, socket or segment of this process remains."""
        if self.closed:
            return
        self.closed = True
        self._fail_what_is_pending()
        object_ref.set_runtime(None)
        self.reactor.close()
        self.store.close()
        self.link.close()
        for item in self.reactor.watched():  # two processes may have called each other at the same time
            if isinstance(item, Peer):
                item.sock.close()
        self._listener.sock.close()
        self.hosts.close()
        try:
            os.unlink(path_of(self.address))
        except FileNotFoundError:
            pass

    def _fail_what_is_pending(self) -> None:
        """Refs that outlive the connection must not be waited for."""
        error = exceptions.RaySystemError(
            "this process has disconnected (rayjup.shutdown()) before the value was there; "
            "submit the call again."
        )
        self.tasks.fail_all(error)
        self.actors.fail_all(error)
        self.exports.fail_all(error)
        self.reactor.kick()


def raised(error: BaseException) -> BaseException:
    """The exception to raise for an error value: also an instance of the user's own class.

    Never the value itself: raised, it would refer to the frames it passes, and these to its ref.
    """
    if isinstance(error, exceptions.RayTaskError):
        dual = error.as_instanceof_cause()
        if dual is not error:
            return dual
    return copy.copy(error)


def _split(refs: list[ObjectRef], limit: int) -> tuple[list[ObjectRef], list[ObjectRef]]:
    """The first ``limit`` refs that are ready, and all others."""
    ready: list[ObjectRef] = []
    others: list[ObjectRef] = []
    for position, ref in enumerate(refs):
        if ref._kind == PENDING:
            others.append(ref)
        else:
            ready.append(ref)
            if len(ready) == limit:
                others += refs[position + 1 :]
                break
    return ready, others


def _refuse_calls(peer: Peer, messages: list[Message]) -> None:
    """A driver runs no calls: whoever sends one is told by the end of the connection."""
    peer.close()
