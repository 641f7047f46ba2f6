"""What one browser tab wants to see, and what it was told last."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from rayjup_lab.services.errors import BadRequest

MAX_SUBSCRIPTIONS = 16


class Pending(Protocol):
    """The part of a future that tells whether a message has left the server."""

    def done(self) -> bool: ...

    def exception(self) -> BaseException | None: ...


class Subscriber:
    """Subscriptions of one websocket connection.

    Parameters
    ----------
    write : callable
        Sends one text message; returns a future that is done once it has been written out, or
        None when the connection is closed.
    """

    def __init__(self, write: Callable[[str], Pending | None]) -> None:
        self.wants_clusters = False
        self.snapshots: set[str] = set()
        self.paused = False
        self._write = write
        self._unsent: list[Pending] = []
        self._last_clusters = ""
        self._clusters_sent_at = 0.0

    @property
    def active(self) -> bool:
        return not self.paused and (self.wants_clusters or bool(self.snapshots))

    def handle(self, text: str | bytes) -> None:
        """Take in a message of the client.

        ``{"type": "subscribe" | "unsubscribe", "topic": "clusters"}``, the same with
        ``"topic": "snapshot", "cluster": id``, ``{"type": "pause"}``, ``{"type": "resume"}``.

        Raises
        ------
        BadRequest
            Naming the field and the rule it breaks.
        """
        message = _decode(text)
        kind = message.get("type")
        if kind == "pause":
            self.paused = True
        elif kind == "resume":
            self.paused = False
            self._last_clusters = ""
        elif kind in ("subscribe", "unsubscribe"):
            self._subscribe(message, wanted=kind == "subscribe")
        else:
            raise BadRequest(
                f"type must be subscribe, unsubscribe, pause or resume; got {str(kind)[:40]!r}.", field="type"
            )

    def ready(self) -> bool:
        """True when everything sent before has left the server (a slow line skips updates)."""
        # Asking a future for its exception also tells asyncio that somebody has looked: a tab
        # closed in the middle of a message is no news.
        self._unsent = [sent for sent in self._unsent if not (sent.done() and (sent.exception() or True))]
        return not self._unsent

    def send_clusters(self, body: dict[str, Any], now: float, resend_after_s: float) -> None:
        """Send the list if it changed, or if nothing was said for so long that one may wonder."""
        text = json.dumps(body)
        if text == self._last_clusters and now - self._clusters_sent_at < resend_after_s:
            return
        if self.send({**body, "time": now}):
            self._last_clusters, self._clusters_sent_at = text, now

    def send(self, message: dict[str, Any]) -> bool:
        """Send a message; False when the connection is closed."""
        sent = self._write(json.dumps(message))
        if sent is not None:
            self._unsent.append(sent)
        return sent is not None

    def _subscribe(self, message: dict[str, Any], *, wanted: bool) -> None:
        topic = message.get("topic")
        if topic == "clusters":
            self.wants_clusters = wanted
            self._last_clusters = ""
        elif topic == "snapshot":
            cluster = message.get("cluster")
            if not isinstance(cluster, str) or not cluster:
                raise BadRequest("cluster must be the id of a cluster.", field="cluster")
            if not wanted:
                self.snapshots.discard(cluster)
            elif len(self.snapshots) >= MAX_SUBSCRIPTIONS and cluster not in self.snapshots:
                raise BadRequest(
                    f"One connection may watch at most {MAX_SUBSCRIPTIONS} clusters; unsubscribe from one.",
                    field="cluster",
                )
            else:
                self.snapshots.add(cluster)
        else:
            raise BadRequest(f"topic must be clusters or snapshot; got {str(topic)[:40]!r}.", field="topic")


def _decode(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"The message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadRequest("A message must be a JSON object with a type.", field="type")
    return message
