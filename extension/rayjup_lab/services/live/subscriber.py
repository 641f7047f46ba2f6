"""What one browser tab wants to see, and what it was told last."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from rayjup.observe.topics import TOPICS
from rayjup_lab.services.errors import BadRequest
from rayjup_lab.services.live.documents import Documents, Key

MAX_SUBSCRIPTIONS = 64
SNAPSHOT = "snapshot"
OF_CLUSTER = (SNAPSHOT, *TOPICS)
"""Topics that are watched per cluster."""


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
        self.versions: dict[Key, int | None] = {}
        self.paused = False
        self._write = write
        self._unsent: list[Pending] = []
        self._last_clusters = ""
        self._clusters_sent_at = 0.0
        self._troubles: dict[Key, str] = {}

    @property
    def active(self) -> bool:
        return not self.paused and (self.wants_clusters or bool(self.versions))

    @property
    def watched(self) -> set[Key]:
        """Topics and clusters."""
        return set(self.versions)

    def handle(self, text: str | bytes) -> None:
        """Take in a message of the client.

        ``{"type": "subscribe" | "unsubscribe", "topic": "clusters"}``, the same with another topic and
        ``"cluster": id``, ``{"type": "pause"}``, ``{"type": "resume"}``.

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

    def send_document(self, key: Key, documents: Documents) -> None:
        """Send what is new of a document."""
        found = documents.message(key, self.versions.get(key))
        self._troubles.pop(key, None)
        if found is not None:
            text, version = found
            self._send_text(text)
            self.versions[key] = version

    def send_trouble(self, key: Key, reason: str) -> None:
        """Say once why there is no news of a document."""
        if self._troubles.get(key) != reason:
            self._troubles[key] = reason
            self.versions[key] = None
            self.send({"type": "unreachable", "topic": key[0], "cluster": key[1], "reason": reason})

    def send_gone(self, cluster: str) -> None:
        """Say that a cluster is no more, and forget what was wanted of it."""
        for key in [key for key in self.versions if key[1] == cluster]:
            del self.versions[key]
            self._troubles.pop(key, None)
        self.send({"type": "gone", "cluster": cluster})

    def send(self, message: dict[str, Any]) -> bool:
        """Send a message; False when the connection is closed."""
        return self._send_text(json.dumps(message))

    def _send_text(self, text: str) -> bool:
        sent = self._write(text)
        if sent is not None:
            self._unsent.append(sent)
        return sent is not None

    def _subscribe(self, message: dict[str, Any], *, wanted: bool) -> None:
        topic = message.get("topic")
        if topic == "clusters":
            self.wants_clusters = wanted
            self._last_clusters = ""
            return
        if topic not in OF_CLUSTER:
            raise BadRequest(
                f"topic must be clusters, {', '.join(OF_CLUSTER[:-1])} or {OF_CLUSTER[-1]}; "
                f"got {str(topic)[:40]!r}.",
                field="topic",
            )
        cluster = message.get("cluster")
        if not isinstance(cluster, str) or not cluster:
            raise BadRequest("cluster must be the id of a cluster.", field="cluster")
        key = (str(topic), cluster)
        if not wanted:
            self.versions.pop(key, None)
            self._troubles.pop(key, None)
        elif len(self.versions) >= MAX_SUBSCRIPTIONS and key not in self.versions:
            raise BadRequest(
                f"One connection may watch at most {MAX_SUBSCRIPTIONS} things; unsubscribe from one.",
                field="cluster",
            )
        else:
            self.versions[key] = None


def _decode(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"The message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadRequest("A message must be a JSON object with a type.", field="type")
    return message
