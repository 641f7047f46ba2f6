"""What an agent says to the head, also when that ends and another one takes over.

Some messages must not be lost: they are kept until a head says that it has them (in its journal);
requests are kept until they are answered. While there is no head, the rest of what is said is
dropped: the next head is told how things stand instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.node.connection import Message

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent

_MUST_ARRIVE = {
    "actor_create",
    "actor_ended",
    "actor_exiting",
    "actor_failed",
    "actor_out_of_scope",
    "actor_start_failed",
    "group_create",
    "group_remove",
}
_WAITS = {"log", "store_freed", "store_unlink"}  # said later, where there is no head now
_MOST_WAITING = 1000


class HeadLink:
    """Belongs to one agent; called with a message, it sends it.

    Attributes
    ----------
    send
        Of the stream to the head; None while there is none.
    number
        How many messages have been kept so far.
    """

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent
        self.send: Callable[[Message], None] | None = None
        self.number = 0
        self._kept: deque[tuple[int, Message]] = deque()
        self._requests: dict[tuple[str, int], Message] = {}
        self._waiting: deque[Message] = deque(maxlen=_MOST_WAITING)

    def __call__(self, message: Message) -> None:
        op = message[0]
        if op == "request":
            self._requests[message[1], message[2]] = message
        elif op in _MUST_ARRIVE:
            self.number += 1
            self._kept.append((self.number, message))
        if self.send is not None:
            self.send(message)
        elif op in _WAITS:
            self._waiting.append(message)

    def arrived(self, number: int) -> None:
        """The head has written down the kept messages up to this one."""
        while self._kept and self._kept[0][0] <= number:
            self._kept.popleft()

    @property
    def unconfirmed(self) -> int:
        """The number of the last kept message that the head has not confirmed; 0 if there is none."""
        return self._kept[-1][0] if self._kept else 0

    def answered(self, client: str, request: int) -> None:
        """A request has its answer."""
        self._requests.pop((client, request), None)

    def forget(self, client: str) -> None:
        """Nobody waits for answers to this process any more."""
        for key in [key for key in self._requests if key[0] == client]:
            del self._requests[key]

    def lost(self) -> None:
        """The connection to the head has ended."""
        self.send = None

    def again(self) -> None:
        """Another head has taken this node: ask it what was asked, and have processes say what they hold."""
        send, agent = self.send, self.agent
        assert send is not None
        while self._waiting:
            send(self._waiting.popleft())
        for connection in agent.clients.values():
            if connection.kind == "driver" and not connection.job_id:  # it was not welcomed yet
                send(("driver", connection.client, connection.pid, connection.job))
            else:
                connection.post(("head_back",))
        for message in list(self._requests.values()):
            send(message)

    def report(self) -> dict[str, Any]:
        """How things stand on this node, for a head that does not know it."""
        agent = self.agent
        clients, leases, actors = [], [], []
        for client, connection in agent.clients.items():
            if connection.job_id and connection.kind in ("driver", "executor"):
                clients.append((client, connection.kind, connection.pid, connection.job_id))
        for lease_id, process in agent.leases.items():
            blocked = process.connection is not None and process.connection.blocked
            if process.held is None:
                continue
            shape, gpus, cpus = process.held
            if process.actor_id is not None:
                row = {"actor_id": process.actor_id, "lease_id": lease_id, "shape": shape, "gpus": gpus}
                placed = process.told and not process.ended
                row |= {"cpus": cpus, "blocked": blocked, "ready": process.actor_ready}
                row |= {"pid": process.pid if placed else 0, "address": process.address if placed else ""}
                actors.append(row)
            elif process.asker is not None:
                leases.append((lease_id, *process.asker, shape, gpus, process.told, blocked))
        return {
            "clients": clients,
            "leases": leases,
            "actors": actors,
            "jobs": list(agent.executors.jobs),
            "environments": agent.environments.rows(),
            "kept": [message for _, message in self._kept],
        }
