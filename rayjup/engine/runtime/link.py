"""The connection of a process to its node's agent: the control plane, never on a call's path."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.base.exceptions import RaySystemError
from rayjup.engine.lane.frames import FrameReader, encode
from rayjup.engine.lane.peer import Message, Peer, connect_unix
from rayjup.engine.runtime.repeating import could_repeat
from rayjup.engine.runtime.resume import head_back

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime

_STATS_S = 0.5


class AgentLink:
    """Requests to the agent, and its messages to us.

    ``on`` maps the name of a message to the function called with its fields.
    """

    def __init__(self, runtime: Runtime, path: str) -> None:
        self.runtime = runtime
        self.path = path
        self.lost = False
        self._answers: dict[int, tuple[bool, Any] | None] = {}
        self._last_stats: Any = None
        self._next_stats = 0.0
        self._reported = 0
        self.peer: Peer
        self.on: dict[str, Callable[..., None]] = {
            "answer": self._on_answer,
            "grant": lambda *fields: runtime.tasks.on_grant(*fields),
            "reclaim": lambda *fields: runtime.tasks.on_reclaim(*fields),
            "revoke": lambda *fields: runtime.tasks.on_revoke(*fields),
            "unschedulable": lambda *fields: runtime.tasks.on_unschedulable(*fields),
            "group": lambda *fields: runtime.groups.on_state(*fields),
            "actor": lambda *fields: runtime.actors.on_state(*fields),
            "could_repeat": lambda *fields: could_repeat(runtime, *fields),
            "head_back": lambda: head_back(runtime),
            "gate": lambda gate: runtime.hosts.renew(gate),
        }
        self.on_lost: Callable[[], None] = self._fail_everything

    def hello(self, kind: str, worker_id: bytes, job_id: bytes, job: dict[str, Any] | None) -> dict[str, Any]:
        """Connect and introduce this process; what the agent says of the node."""
        sock = connect_unix(self.path)
        reader = FrameReader()
        try:
            sock.sendall(encode([("hello", kind, worker_id, job_id, self.runtime.pid, job)]))
            messages: list[Message] = []
            while not messages:
                data = sock.recv(65536)
                if not data:
                    raise RaySystemError(
                        f"the node agent at {self.path} closed the connection. "
                        "Its log is in the session directory."
                    )
                messages = reader.feed(memoryview(data))
        except (OSError, RaySystemError):
            sock.close()
            raise
        answer = messages[0]
        self._start(sock, messages[1:])
        info: dict[str, Any] = answer[1]
        return info

    def _start(self, sock: socket.socket, early: list[Message]) -> None:
        self.peer = Peer(self.runtime.reactor, sock, self._on_messages, self._on_close)
        self.runtime.reactor.add(self.peer)
        self.early = early  # what the agent said before we were ready to hear it

    def hear_early(self) -> None:
        """Handle messages that came with the agent's welcome."""
        early, self.early = self.early, []
        if early:
            self._on_messages(self.peer, early)

    def post(self, message: Message) -> None:
        """Queue a message; it goes with the next tick or request. Safe inside destructors."""
        self.peer.outbox.append(message)
        self.runtime.wake()

    def send(self, message: Message) -> None:
        """Send a message now."""
        self.peer.send(message)

    def request(self, op: str, *payload: Any, timeout: float | None = 60.0) -> Any:
        """Ask the agent (or through it the head) and wait for the answer; raises what it raises."""
        if self.lost:
            raise self.error()
        request = self.runtime.next_request()
        self._answers[request] = None
        self.peer.send(("request", request, op, payload))
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            if not self.runtime.reactor.lead(lambda: self._answers[request] is not None, deadline):
                raise RaySystemError(f"the node agent did not answer the request {op!r} within {timeout} s")
        finally:
            answer = self._answers.pop(request)
        assert answer is not None
        ok, value = answer
        if not ok:
            raise pickle.loads(value)
        return value

    def error(self) -> RaySystemError:
        """What is said once the connection is lost."""
        return RaySystemError(
            "the connection to the cluster was lost: its node agent is gone. Call rayjup.shutdown(), then "
            "rayjup.init() to start or join another one."
        )

    def _on_messages(self, peer: Peer, messages: list[Message]) -> None:
        for message in messages:
            self.on[message[0]](*message[1:])
        if self.runtime.reactor._waiters:
            self.runtime.reactor.kick()

    def _on_answer(self, request: int, ok: bool, value: Any) -> None:
        if request in self._answers:
            self._answers[request] = (ok, value)

    def _on_close(self, peer: Peer) -> None:
        self.lost = True
        if not self.runtime.closed:
            self.on_lost()

    def _fail_everything(self) -> None:
        error = self.error()
        packed = pickle.dumps(error)
        for request, answer in list(self._answers.items()):
            if answer is None:
                self._answers[request] = (False, packed)
        self.runtime.tasks.fail_all(error)
        self.runtime.actors.fail_all(error)
        self.runtime.groups.fail_all(error)
        self.runtime.pulls.fail_all()
        self.runtime.reactor.kick()

    @property
    def behind(self) -> bool:
        """True while calls have ended that the agent hasn't been told of."""
        return self._reported != self.runtime.completions and not self.lost

    def tick(self, now: float) -> None:
        """Send what was posted and, when it changed, how many calls are where."""
        if now >= self._next_stats and not self.lost:
            self._next_stats = now + _STATS_S
            # Before counting, so that what ends meanwhile is told of the next time.
            self._reported = self.runtime.completions
            stats = (self.runtime.tasks.counts(), self.runtime.actors.pending())
            if stats != self._last_stats:
                self._last_stats = stats
                self.peer.outbox.append(("stats", *stats))
        self.peer.flush()

    def close(self) -> None:
        """End the connection; the agent takes it as the end of this process's part."""
        try:
            self.peer.flush()
            self.peer.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the agent was faster
        self.peer.sock.close()
