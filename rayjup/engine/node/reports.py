"""The agent's part in answering questions about the cluster: it asks the processes of its node.

Those that do not answer in time are named, and what they last handed over is used instead. What
processes that are gone have handed over is kept for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.node import log_files

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent
    from rayjup.engine.node.connection import Connection
    from rayjup.engine.node.executors import ExecutorProcess

_KEPT_PARTS = 50  # of one process
_KEPT_GONE = 200  # processes that are gone
_KEPT_BYTES = 32 << 20


class _Question:
    """A question that is under way, and who has not answered it."""

    def __init__(self, ticket: int, topic: str, asked: set[Connection]) -> None:
        self.ticket = ticket
        self.topic = topic
        self.waiting = asked
        self.answers: list[bytes] = []
        self.timer: asyncio.TimerHandle | None = None


class NodeReports:
    """Asks, gathers and keeps.

    Parameters
    ----------
    agent
        Of this node.
    """

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent
        self.handlers: dict[str, Callable[..., None]] = {
            "collected": self._on_collected,
            "events": self._on_events,
        }
        self._questions: dict[int, _Question] = {}
        self._parts: dict[str, deque[bytes]] = {}  # handed over, by process
        self._gone: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._gone_bytes = 0
        self._ended: deque[dict[str, Any]] = deque(maxlen=1000)  # rows of processes that are gone

    # -- questions

    def ask(self, ticket: int, topic: str, options: dict[str, Any], within_s: float) -> None:
        """The head wants to know something of this node; it is answered once."""
        agent = self.agent
        if topic == "workers":
            self._answer(ticket, {"rows": self.workers()})
            return
        if topic == "load":
            rows = [{"node_id": agent.node_id, "leases": len(agent.leases), "objects": agent.own_objects()}]
            self._answer(ticket, {"rows": rows})
            return
        if topic.startswith("package_"):
            self._answer(ticket, agent.packages.answer(topic, options))
            return
        if topic.startswith("log_"):
            self._answer(ticket, log_files.answer(agent.log_dir, topic, options))
            return
        asked = {c for c in agent.clients.values() if c.kind in ("driver", "executor") and c.job_id}
        question = self._questions[ticket] = _Question(ticket, topic, asked)
        for connection in asked:
            connection.post(("collect", ticket, topic, options))
        if not asked:
            self._finish(question)
        else:
            loop = asyncio.get_running_loop()
            question.timer = loop.call_later(within_s, self._finish, question)

    def _on_collected(self, connection: Connection, ticket: int, answer: bytes) -> None:
        question = self._questions.get(ticket)
        if question is None or connection not in question.waiting:
            return
        question.waiting.discard(connection)
        question.answers.append(answer)
        if not question.waiting:
            self._finish(question)

    def _finish(self, question: _Question) -> None:
        if self._questions.pop(question.ticket, None) is None:
            return
        if question.timer is not None:
            question.timer.cancel()
        handed: list[bytes] = []
        if question.topic == "tasks":
            for parts in self._gone.values():
                handed += parts
            for connection in question.waiting:
                handed += self._parts.get(connection.client, ())
        self._answer(
            question.ticket,
            {
                "answers": question.answers,
                "handed": handed,
                "silent": [(c.client, c.pid, c.kind) for c in question.waiting],
                "past": dict(self.agent.past_tasks) if question.topic == "tasks" else {},
            },
        )

    def _answer(self, ticket: int, answer: dict[str, Any]) -> None:
        agent = self.agent
        self.agent.to_head(("collected", ticket, {"node_id": agent.node_id, "ip": "127.0.0.1", **answer}))

    # -- what processes hand over, and their ends

    def _on_events(self, connection: Connection, part: bytes) -> None:
        self._parts.setdefault(connection.client, deque(maxlen=_KEPT_PARTS)).append(part)

    def closed(self, connection: Connection) -> None:
        """The connection to a process ended: it is gone, or about to be."""
        for question in list(self._questions.values()):
            question.waiting.discard(connection)
            if not question.waiting:
                self._finish(question)
        parts = self._parts.pop(connection.client, None)
        if parts:
            self._gone[connection.client] = tuple(parts)
            self._gone_bytes += sum(map(len, parts))
            while len(self._gone) > _KEPT_GONE or (self._gone_bytes > _KEPT_BYTES and len(self._gone) > 1):
                _, oldest = self._gone.popitem(last=False)
                self._gone_bytes -= sum(map(len, oldest))
        if connection.kind == "driver":
            row = self._driver_row(connection)
            self._ended.append(
                {**row, "is_alive": False, "exit_type": "INTENDED_USER_EXIT", "end": time.time()}
            )

    def ended(self, process: ExecutorProcess, code: int | None) -> None:
        """An executor's process is gone."""
        why = process.expected
        if why:
            kind, detail = "INTENDED_SYSTEM_EXIT", why
        elif code == 0:
            kind, detail = ("INTENDED_USER_EXIT" if process.actor_id else "INTENDED_SYSTEM_EXIT"), "it ended"
        elif code is None or code < 0:
            kind, detail = "SYSTEM_ERROR", f"killed by signal {-code}" if code else "its connection ended"
        else:
            kind, detail = "USER_ERROR", f"exit code {code}"
        row = self._executor_row(process)
        row |= {"is_alive": False, "exit_type": kind, "exit_detail": detail, "end": time.time()}
        self._ended.append(row)

    # -- workers

    def workers(self) -> list[dict[str, Any]]:
        """The node's drivers and executors, those that are gone last."""
        agent = self.agent
        rows = [self._driver_row(c) for c in agent.clients.values() if c.kind == "driver"]
        rows += [self._executor_row(p) for p in agent.executors.all.values() if p.connection is not None]
        return rows + list(self._ended)

    def _driver_row(self, connection: Connection) -> dict[str, Any]:
        return {
            "worker_id": connection.worker_id.hex(),
            "is_alive": True,
            "worker_type": "DRIVER",
            "exit_type": None,
            "node_id": self.agent.node_id,
            "ip": "127.0.0.1",
            "pid": connection.pid,
            "job_id": connection.job_id.hex(),
            "start": connection.since,
            "end": 0,
        }

    def _executor_row(self, process: ExecutorProcess) -> dict[str, Any]:
        connection = process.connection
        return {
            "worker_id": connection.worker_id.hex() if connection is not None else "",
            "is_alive": True,
            "worker_type": "WORKER",
            "exit_type": None,
            "node_id": self.agent.node_id,
            "ip": "127.0.0.1",
            "pid": process.pid,
            "job_id": process.key[0].hex(),
            "actor_id": process.actor_id.hex() if process.actor_id else None,
            "log": log_files.name_of(process.token),
            "launch": process.forked,
            "start": connection.since if connection is not None else 0,
            "end": 0,
        }
