"""``/rayjup/live``: the websocket of live state. No logic here; see ``hub`` and ``subscriber``."""

from __future__ import annotations

from typing import Any

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from rayjup_lab.services.errors import BadRequest
from rayjup_lab.services.handlers import AUTH_RESOURCE, Operation
from rayjup_lab.services.live.hub import LiveHub
from rayjup_lab.services.live.subscriber import Pending, Subscriber


class LiveHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One connection of one browser tab; everything shown there is multiplexed over it."""

    auth_resource = AUTH_RESOURCE
    subscriber: Subscriber | None = None

    @property
    def hub(self) -> LiveHub:
        hub: LiveHub = self.settings["rayjup_live"]
        return hub

    def set_default_headers(self) -> None:
        """A websocket has no use for the headers JupyterHandler would add."""

    def get_compression_options(self) -> dict[str, Any]:
        # A snapshot of many tasks is repetitive text and shrinks tenfold.
        return {"compression_level": 1, "mem_level": 5}

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", self.auth_resource)
        )
        if not allowed:
            raise web.HTTPError(403, "Not authorized to watch rayjup clusters.")
        await super().get(*args, **kwargs)

    def open(self, *args: str, **kwargs: str) -> None:
        super().open(*args, **kwargs)
        self.subscriber = Subscriber(self._write)
        self.hub.add(self.subscriber)

    def on_message(self, message: str | bytes) -> None:
        if self.subscriber is None:
            return
        try:
            self.subscriber.handle(message)
        except BadRequest as error:
            self._write_json({"type": "error", **error.to_json()})
            return
        self.hub.wake()

    def on_close(self) -> None:
        if self.subscriber is not None:
            self.hub.remove(self.subscriber)
            self.subscriber = None

    def _write_json(self, body: dict[str, str]) -> None:
        if self.ws_connection is not None:
            self.write_message(body)

    def _write(self, text: str) -> Pending | None:
        try:
            return self.write_message(text)
        except WebSocketClosedError:
            return None


LiveHandler.get.operation = Operation(  # type: ignore[attr-defined]
    "A websocket of live state: subscribe to topics, get whole documents and then changes", status=101
)

live_handlers = [(r"/rayjup/live", LiveHandler)]
