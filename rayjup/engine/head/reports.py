"""What the head tells of the cluster: rows of its own tables, and answers gathered from the nodes.

Requests ``state_rows`` (a table of the head) are answered at once; ``state_ask`` goes to the nodes,
and the answer is sent when all have said theirs or the time is over. Answers pass through packed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rayjup.engine.head import state_rows

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

_KEPT_EVENTS = 1000
_GRACE_S = 0.5  # nodes are given so much longer than they give their processes


@dataclass
class _Gathering:
    """A question to the nodes, and their answers."""

    node_id: str  # through which the asker is connected
    client: str
    request: int
    waiting: set[str]
    answers: list[dict[str, Any]] = field(default_factory=list)
    timer: Any = None


class HeadReports:
    """The head's part in answering questions.

    Parameters
    ----------
    head
        Whose tables these are.
    """

    def __init__(self, head: Head) -> None:
        self.head = head
        self.events: deque[dict[str, Any]] = deque(maxlen=_KEPT_EVENTS)
        self.ops = {"state_rows": self.rows}
        self._tickets = itertools.count(1)
        self._under_way: dict[int, _Gathering] = {}

    def rows(self, client: str, table: str) -> list[dict[str, Any]]:
        """All rows of one of the head's tables."""
        if table == "cluster_events":
            return list(self.events)
        return state_rows.TABLES[table](self.head)

    def event(self, severity: str, source: str, message: str, **fields: Any) -> None:
        """Something happened that people may want to know of later."""
        self.events.append(
            {
                "severity": severity,
                "time": time.time(),
                "source_type": source,
                "message": message,
                "event_id": uuid.uuid4().hex,
                "custom_fields": fields,
            }
        )

    # -- questions to nodes

    def ask(
        self,
        node_id: str,
        client: str,
        request: int,
        topic: str,
        options: dict[str, Any],
        within_s: float,
        only: str | None = None,
    ) -> None:
        """Have all nodes (or ``only`` one) asked; ``request`` of ``client`` is answered later."""
        wanted = {n for n in self.head.nodes if only is None or n == only}
        ticket = next(self._tickets)
        gathering = self._under_way[ticket] = _Gathering(node_id, client, request, wanted)
        for other in wanted:
            self.head.to_node(other, ("collect", ticket, topic, options, within_s))
        if wanted:
            loop = asyncio.get_running_loop()
            gathering.timer = loop.call_later(within_s + _GRACE_S, self._finish, ticket)
        else:
            self._finish(ticket)

    def on_collected(self, node_id: str, ticket: int, answer: dict[str, Any]) -> None:
        """A node's answer."""
        gathering = self._under_way.get(ticket)
        if gathering is None or node_id not in gathering.waiting:
            return
        gathering.waiting.discard(node_id)
        gathering.answers.append(answer)
        if not gathering.waiting:
            self._finish(ticket)

    def node_left(self, node_id: str) -> None:
        """A node is gone: nobody waits for it."""
        for ticket, gathering in list(self._under_way.items()):
            gathering.waiting.discard(node_id)
            if not gathering.waiting:
                self._finish(ticket)

    def _finish(self, ticket: int) -> None:
        gathering = self._under_way.pop(ticket, None)
        if gathering is None:
            return
        if gathering.timer is not None:
            gathering.timer.cancel()
        value = {"nodes": gathering.answers, "silent": sorted(gathering.waiting)}
        answer = ("answer", gathering.request, True, value)
        self.head.to_node(gathering.node_id, ("to_client", gathering.client, answer))
