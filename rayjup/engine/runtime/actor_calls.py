"""Calls to actors: in order per caller, straight to the actor's process."""

from __future__ import annotations

import pickle
from collections import deque
from typing import TYPE_CHECKING, Any

from rayjup.base import exceptions
from rayjup.engine.lane import messages as m
from rayjup.engine.lane.peer import Peer
from rayjup.engine.ownership.object_ref import ObjectRef
from rayjup.engine.runtime.arguments import Arguments, encode
from rayjup.engine.runtime.functions import Function
from rayjup.engine.runtime.pools import Task
from rayjup.engine.runtime.tasks import _FRAME_CALLS, ASK

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

PENDING_CREATION = "PENDING_CREATION"
ALIVE = "ALIVE"
RESTARTING = "RESTARTING"
DEAD = "DEAD"


class ActorScope:
    """Lives in the ref that stands for the actor; its end means that no handle is left."""

    __slots__ = ("actor_id", "calls")

    def __init__(self, calls: ActorCalls, actor_id: bytes) -> None:
        self.calls = calls
        self.actor_id = actor_id

    def __del__(self) -> None:
        self.calls.ended.append(self.actor_id)
        self.calls.runtime.wake()


class ActorClient:
    """What one process knows of one actor, and its calls there."""

    __slots__ = ("actor_id", "creation", "error", "inflight", "late", "peer", "queue", "state")

    def __init__(self, actor_id: bytes) -> None:
        self.actor_id = actor_id
        self.state = PENDING_CREATION
        self.peer: Peer | None = None
        self.queue: deque[Task] = deque()  # not sent yet, in order
        self.inflight: dict[int, Task] = {}
        self.late: dict[int, Task] = {}  # wait for arguments and hold nothing back; answered ones, too
        self.error: BaseException | None = None
        self.creation: Any = None  # keeps the constructor's arguments alive

    def open(self) -> int:
        """How many calls are not answered."""
        for seq in [seq for seq, task in self.late.items() if task.refs is None]:
            del self.late[seq]  # cancelled
        return len(self.queue) + len(self.inflight) + len(self.late)

    def on_progress(self, tasks: Any) -> None:
        """Some calls were answered: send what has gathered meanwhile."""
        if self.peer is not None:
            self.peer.flush()


class ActorCalls:
    """All actors that this process calls."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.lock = runtime.lock
        self.clients: dict[bytes, ActorClient] = {}
        self.methods: dict[str, Function] = {}
        self.ended: deque[bytes] = deque()

    # -- creating

    def create(
        self, actor_id: bytes, spec: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> ObjectRef:
        """Have an actor made from ``spec``; the ref that stands for its handles."""
        arguments = encode(self.runtime, args, kwargs, f"{spec['class_name']}.__init__()")
        client = self.clients[actor_id] = ActorClient(actor_id)
        client.creation = arguments
        tasks = self.runtime.tasks
        if tasks.cell is not None:  # what it prints outside of calls belongs to the cell that makes it
            spec["cell"] = tasks.cell_of_caller() if tasks.cell == ASK else tasks.cell
        scope = self.runtime.new_ref()
        scope._kind = m.PLAIN
        scope._scope = ActorScope(self, actor_id)
        unresolved = arguments.unresolved() if type(arguments) is Arguments else []
        if unresolved:
            holder = Task(
                next(self.runtime.tasks.sequence),
                self._method(spec["class_name"], "__init__"),
                arguments,
                None,
            )
            holder.lease = client  # by which it is known whose constructor it stands for
            self.runtime.tasks.wait_for(holder, unresolved, lambda task: self._send_create(client, spec))
        else:
            self._send_create(client, spec)
        return scope

    def _send_create(self, client: ActorClient, spec: dict[str, Any]) -> None:
        arguments = client.creation
        if type(arguments) is Arguments:
            error = arguments.failed()
            if error is not None:
                self.on_state(client.actor_id, DEAD, "", {"error": exceptions.ActorDiedError(error)})
                return
            payload: Any = arguments.wire(self.runtime)
        else:
            payload = arguments
        self.runtime.link.send(("actor_create", client.actor_id, spec, pickle.dumps(payload, 5)))

    def client(self, actor_id: bytes) -> ActorClient:
        """The client of an actor made elsewhere; starts watching it the first time."""
        client = self.clients.get(actor_id)
        if client is None:
            with self.lock:
                client = self.clients.get(actor_id)
                if client is None:
                    client = self.clients[actor_id] = ActorClient(actor_id)
                    self.runtime.link.send(("actor_watch", actor_id))
        return client

    def _method(self, class_name: str, method: str) -> Function:
        key = f"{class_name}.{method}"
        function = self.methods.get(key)
        if function is None:
            function = self.methods[key] = Function(key, b"")
            self.runtime.tasks.functions.append(function)
        return function

    # -- calling

    def submit(
        self,
        actor_id: bytes,
        meta: dict[str, Any],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        n_returns: int,
        retries: int,
        retry_exceptions: Any = False,
        options: dict[str, Any] | None = None,
    ) -> list[ObjectRef]:
        """Call a method; the refs of what it returns. ``meta`` is what the actor's handles know."""
        client = self.clients.get(actor_id) or self.client(actor_id)
        class_name = meta["class_name"]
        function = self.methods.get(f"{class_name}.{method}") or self._method(class_name, method)
        max_pending = meta["max_pending_calls"]
        if max_pending > 0 and client.open() >= max_pending:
            raise exceptions.PendingCallsLimitExceeded(
                f"the actor {class_name} has {max_pending} unfinished calls from this process, "
                "as many as its max_pending_calls allows. Wait for some of them first."
            )
        arguments = encode(self.runtime, args, kwargs, f"{class_name}.{method}()")
        tasks = self.runtime.tasks
        task = Task(next(tasks.sequence), function, arguments, None)
        task.retries = retries
        task.retry_exceptions = retry_exceptions
        task.parent = tasks.parent
        task.options = options if tasks.cell is None else tasks.with_cell(options)
        task.lease = client  # it is with the actor from the start, also while it cannot be sent
        if tasks.parent != tasks.noted:
            tasks.log.under(task.seq, tasks.parent)
        refs = tasks.new_refs(task, n_returns)
        function.submitted += 1
        if type(arguments) is Arguments and arguments.dependencies:
            unresolved = arguments.unresolved()
            if unresolved:
                self._submit_waiting(client, task, unresolved, meta["out_of_order"])
                return refs
        self._dispatch(client, task)
        return refs

    def _submit_waiting(
        self, client: ActorClient, task: Task, unresolved: list[ObjectRef], out_of_order: bool
    ) -> None:
        """Call once the arguments are there; later calls wait with it where order is kept."""
        tasks = self.runtime.tasks

        def arrived(task: Task) -> None:
            client.late.pop(task.seq, None)
            self._dispatch(client, task)

        if out_of_order:
            with self.lock:
                client.late[task.seq] = task
            tasks.wait_for(task, unresolved, arrived)
            if client.state == DEAD:
                self._pump(client)
            return
        with self.lock:
            tasks.waiting[task.seq] = task  # before others can find it in the queue
            client.queue.append(task)
        tasks.wait_for(task, unresolved, lambda task: self._pump(client))

    def _dispatch(self, client: ActorClient, task: Task) -> None:
        """Send a call whose arguments are there, or queue it behind those that wait."""
        with self.lock:
            peer = client.peer
            if client.queue or peer is None:
                client.queue.append(task)
                late = client.state == DEAD
            else:
                late = False
                self._send(client, peer, task)
        if late:
            self._pump(client)

    def again(self, task: Task) -> None:
        """Make a call once more whose method raised."""
        self._dispatch(task.lease, task)

    def _send(self, client: ActorClient, peer: Peer, task: Task) -> None:
        arguments = task.arguments
        if type(arguments) is tuple:
            payload: Any = arguments
        else:
            error = arguments.failed() if arguments.dependencies else None
            if error is not None:
                self.runtime.tasks.fail(task, error)
                return
            payload = arguments.wire(self.runtime)
        tasks = self.runtime.tasks
        tasks.inflight[task.seq] = client.inflight[task.seq] = task
        peer.outbox.append(
            (m.CALL, task.seq, task.function.name.rsplit(".", 1)[1], payload, task.n_returns, task.options)
        )
        if len(client.inflight) == 1 or len(peer.outbox) >= _FRAME_CALLS:
            peer.flush()
        else:
            tasks.dirty_peers.add(peer)
            tasks.wake_background()

    def pump_all(self) -> None:
        """Send queued calls whose turn has come because another was withdrawn."""
        for client in list(self.clients.values()):
            if client.queue:
                self._pump(client)

    def _pump(self, client: ActorClient) -> None:
        """Send queued calls whose turn it is; all of them fail when the actor is dead."""
        failed: list[Task] = []
        with self.lock:
            if client.state == DEAD:
                failed = [*client.queue, *client.late.values()]
                client.queue.clear()
                client.late.clear()
                for task in failed:
                    self.runtime.tasks.waiting.pop(task.seq, None)
            while client.queue and client.peer is not None:
                task = client.queue[0]
                if task.seq in self.runtime.tasks.waiting:
                    break  # later calls of this caller wait with it: order is kept
                client.queue.popleft()
                if task.refs is None:
                    continue  # cancelled
                self._send(client, client.peer, task)
        for task in failed:
            if task.refs is not None:
                self.runtime.tasks.fail(task, client.error or exceptions.ActorDiedError())

    # -- what becomes of actors

    def on_state(self, actor_id: bytes, state: str, address: str, error: dict[str, Any] | None) -> None:
        """The head says in which state an actor is now."""
        client = self.clients.get(actor_id)
        if client is None:
            return
        peer = self.runtime.peer_at(address) if state == ALIVE else None
        lost: list[Task] = []
        with self.lock:
            if state == ALIVE and peer is None:
                return  # it died meanwhile; the next state says so
            client.state = state
            if peer is not None:
                peer.state = client
            client.peer = peer
            if error is not None:
                client.error = _death(error)
            if state in (DEAD, RESTARTING):
                lost = list(client.inflight.values())
                client.inflight.clear()
                for task in lost:
                    self.runtime.tasks.inflight.pop(task.seq, None)
                again = [t for t in lost if state == RESTARTING and t.retries]
                for task in reversed(again):
                    self.runtime.tasks.log.failed(
                        task,
                        exceptions.ActorUnavailableError(
                            f"The actor died while it ran {task.function.name}()", actor_id
                        ),
                        attempt_only=True,
                    )
                    if task.retries > 0:
                        task.retries -= 1
                    client.queue.appendleft(task)
                lost = [t for t in lost if t not in again]
            if state == DEAD:
                client.creation = None
        for task in lost:
            if state == DEAD:
                self.runtime.tasks.fail(task, client.error or exceptions.ActorDiedError())
            else:
                self.runtime.tasks.fail(
                    task,
                    exceptions.ActorUnavailableError(
                        f"The actor died while it ran {task.function.name}() and is being restarted; "
                        "max_task_retries=… makes such calls run again",
                        actor_id,
                    ),
                )
        self._pump(client)

    def on_peer_closed(self, peer: Peer) -> None:
        """The connection to an actor ended; its calls wait for what the head has to say."""
        client = peer.state
        if isinstance(client, ActorClient) and client.peer is peer:
            client.peer = None

    def fail_all(self, error: BaseException) -> None:
        """The cluster is lost."""
        for client in list(self.clients.values()):
            self.on_state(client.actor_id, DEAD, "", {"error": error})

    def kill(self, actor_id: bytes, no_restart: bool) -> None:
        """End an actor at once."""
        client = self.clients.get(actor_id)
        if client is not None and client.peer is not None:
            client.peer.flush()
        self.runtime.link.request("actor_kill", actor_id, no_restart)

    def end_unreferenced(self) -> None:
        """Actors without handles end once their calls are answered."""
        again = []
        while self.ended:
            actor_id = self.ended.popleft()
            client = self.clients.get(actor_id)
            if client is not None and client.state != DEAD and client.open():
                again.append(actor_id)
            else:
                if client is not None and client.state == DEAD:
                    self.clients.pop(actor_id, None)
                self.runtime.link.post(("actor_out_of_scope", actor_id))
        self.ended.extend(again)

    def pending(self) -> dict[bytes, int]:
        """Unfinished calls of this process by actor."""
        return {
            client.actor_id: client.open()
            for client in list(self.clients.values())
            if client.queue or client.inflight or client.late
        }


def _death(info: dict[str, Any]) -> BaseException:
    """The error of calls to an actor that died as ``info`` says."""
    if "error" in info:
        error: BaseException = info["error"]
        return error
    if "unschedulable" in info:
        return exceptions.ActorUnschedulableError(info["unschedulable"])
    if "environment" in info:
        return exceptions.RuntimeEnvSetupError(info["environment"])
    fields = dict(info)
    cause = fields.pop("cause")
    if cause is not None:
        return exceptions.ActorDiedError(pickle.loads(cause))
    return exceptions.ActorDiedError(exceptions.ActorDiedErrorContext(**fields))
