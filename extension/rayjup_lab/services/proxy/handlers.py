"""``/rayjup/clusters/ID/dashboard/…`` and ``…/serve/…``: HTTP, streams and websockets.

Where a request goes follows from the cluster's id alone: no host or port can be asked for.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import allow_unauthenticated, authorized, ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.web import RequestHandler
from tornado.websocket import (
    WebSocketClientConnection,
    WebSocketClosedError,
    WebSocketHandler,
    websocket_connect,
)

from rayjup.observe.topics import deployments
from rayjup_lab.services.contents.manager import ContentsManager
from rayjup_lab.services.errors import NotFound, ServiceError
from rayjup_lab.services.handlers import AUTH_RESOURCE, Operation
from rayjup_lab.services.proxy.exchange import LARGEST, Exchange
from rayjup_lab.services.proxy.upstream import Upstream

_CONNECT_S = 10.0
_WITH_BODY = ("POST", "PUT", "PATCH")
_LARGEST_MESSAGE = 64 << 20


@web.stream_request_body
class ProxyHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """Passes requests on to a server of a cluster."""

    auth_resource = AUTH_RESOURCE
    there: WebSocketClientConnection | None = None
    relaying: asyncio.Task[None] | None = None
    exchange: Exchange | None = None
    begun = False  # the answer of HTTP

    @property
    def contents(self) -> ContentsManager:
        manager: ContentsManager = self.settings["rayjup_contents"]
        return manager

    def check_xsrf_cookie(self) -> None:
        """As everywhere in Jupyter; but a browser's word that the page is of this very site is enough.

        Pages behind the proxy know nothing of Jupyter's XSRF token, and no page can set this header.
        """
        if self.request.headers.get("Sec-Fetch-Site") != "same-origin":
            super().check_xsrf_cookie()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors made for the user are shown as they are."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ServiceError):
            self.set_status(error.status)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(error.message)
        else:
            super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors made for the user are no faults of the server."""
        if not isinstance(value, ServiceError):
            super().log_exception(typ, value, tb)

    async def upstream(self, cluster_id: str, kind: str) -> Upstream:
        """The server that is meant."""
        prefix = f"{self.base_url}rayjup/clusters/{quote(cluster_id, safe='')}/{kind}/"
        if kind == "dashboard":
            server = await self.contents.server(cluster_id)
            return Upstream(server.url, prefix, server.token)
        found = await self.contents.ask(cluster_id, deployments)
        port = found.get("port")
        if not port:
            raise NotFound("This cluster serves nothing over HTTP: serve.run(app) starts an application.")
        host = found.get("host") or "127.0.0.1"
        return Upstream(f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}", prefix)

    # ------------------------------------------------------------ websockets

    @allow_unauthenticated  # both ways it goes from here ask who it is
    async def get(self, cluster_id: str, kind: str, path: str) -> None:
        if self.request.headers.get("Upgrade", "").lower() == "websocket":
            await self.connect(cluster_id, kind, path)
        else:
            answering = self.head(cluster_id, kind, path)
            if answering is not None:  # else the browser is sent to the login
                await answering

    @ws_authenticated
    async def connect(self, cluster_id: str, kind: str, path: str) -> None:
        """Open a websocket there, and then here."""
        allowed = await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "execute", self.auth_resource)
        )
        if not allowed:
            raise web.HTTPError(403, "Not authorized to use rayjup clusters.")
        origin = self.get_origin()
        if origin is not None and not self.check_origin(origin):
            raise web.HTTPError(403, "This page may not open a websocket here.")
        upstream = await self.upstream(cluster_id, kind)
        address = upstream.address(path, self.request.query).replace("http", "ws", 1)
        wanted = [part.strip() for part in self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        request = HTTPRequest(
            address,
            headers=upstream.request_headers(self.request.headers, self.request.protocol),
            connect_timeout=_CONNECT_S,
        )
        try:
            self.there = await websocket_connect(
                request,
                subprotocols=[name for name in wanted if name] or None,
                max_message_size=_LARGEST_MESSAGE,
            )
        except HTTPClientError as error:
            raise web.HTTPError(error.code if error.code < 599 else 502, str(error)) from error
        except OSError as error:
            raise web.HTTPError(502, f"the server of the cluster does not answer: {error}") from error
        await super().get()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return self.there.selected_subprotocol if self.there is not None else None

    def open(self, *args: str, **kwargs: str) -> None:
        super().open(*args, **kwargs)
        self.relaying = asyncio.ensure_future(self._relay())

    async def _relay(self) -> None:
        """What the upstream says, until it ends."""
        assert self.there is not None
        while (message := await self.there.read_message()) is not None:
            try:
                await self.write_message(message, binary=isinstance(message, bytes))
            except WebSocketClosedError:
                return
        self.close(self.there.close_code, self.there.close_reason)

    async def on_message(self, message: str | bytes) -> None:
        if self.there is not None:
            try:
                await self.there.write_message(message, binary=isinstance(message, bytes))
            except WebSocketClosedError:
                self.close()

    def on_close(self) -> None:
        if self.there is not None:
            self.there.close()

    # ------------------------------------------------------------ HTTP

    async def prepare(self) -> None:
        """Requests with a body are begun at once, so that it passes through while it comes in."""
        await ensure_async(super().prepare())
        headers = self.request.headers
        if self._finished or not (
            "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"
        ):
            return
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.set_max_body_size(LARGEST)
        cluster_id, kind, _ = self.path_args
        await self.begin(cluster_id, kind)

    @authorized
    async def begin(self, cluster_id: str, kind: str) -> None:
        """Ask the upstream."""
        upstream = await self.upstream(cluster_id, kind)
        given = self.request.headers
        headers = upstream.request_headers(given, self.request.protocol)
        method = self.request.method or "GET"
        if "Content-Length" in given:
            headers["Content-Length"] = given["Content-Length"]
        elif "Transfer-Encoding" not in given:
            if method in _WITH_BODY:
                headers["Content-Length"] = "0"
        elif method not in _WITH_BODY:
            raise web.HTTPError(411, f"a {method} with a body has to say how long it is")
        # As the browser has written it: what stands for a slash or a space goes there as it is.
        path = self.request.path.removeprefix(self.base_url).split("/", 4)[4]

        def head(start: ResponseStartLine, received: HTTPHeaders) -> None:
            self.begun = True
            self.set_status(start.code, start.reason)
            self.clear_header("Content-Type")
            for name, value in upstream.response_headers(received):
                if name.lower() == "set-cookie":
                    self.add_header(name, value)
                else:
                    self.set_header(name, value)

        async def piece(data: bytes) -> None:
            self.write(data)
            await self.flush()

        address = upstream.address(path, self.request.query)
        try:
            self.exchange = await Exchange.begin(method, address, headers, head, piece)
        except OSError as error:
            raise web.HTTPError(502, f"the server of the cluster does not answer: {error}") from error

    async def data_received(self, chunk: bytes) -> None:
        """A piece of the body; the next one is read when this one has been sent."""
        if self.exchange is not None:
            await self.exchange.write(chunk)

    async def pass_on(self, cluster_id: str, kind: str, path: str) -> None:
        """Hand the answer of the upstream on."""
        if self.exchange is None:
            await self.begin(cluster_id, kind)
        assert self.exchange is not None
        try:
            self.exchange.finish_request()
            await self.exchange.ended
        except OSError as error:
            if not self.begun:
                raise web.HTTPError(502, f"the server of the cluster does not answer: {error}") from error
            # A part of an answer must not look like a whole one.
            connection = self.request.connection
            assert isinstance(connection, HTTP1Connection)
            connection.close()
            return
        finally:
            self.exchange.close()
        await self.finish()

    def on_connection_close(self) -> None:
        """The browser has gone, so nobody waits for the answer."""
        if self.exchange is not None:
            self.exchange.close()
        super().on_connection_close()
        RequestHandler.on_connection_close(self)  # websockets have no body to wait for

    @web.authenticated
    async def head(self, cluster_id: str, kind: str, path: str) -> None:
        await self.pass_on(cluster_id, kind, path)

    @web.authenticated
    async def post(self, cluster_id: str, kind: str, path: str) -> None:
        await self.pass_on(cluster_id, kind, path)

    @web.authenticated
    async def put(self, cluster_id: str, kind: str, path: str) -> None:
        await self.pass_on(cluster_id, kind, path)

    @web.authenticated
    async def patch(self, cluster_id: str, kind: str, path: str) -> None:
        await self.pass_on(cluster_id, kind, path)

    @web.authenticated
    async def delete(self, cluster_id: str, kind: str, path: str) -> None:
        await self.pass_on(cluster_id, kind, path)


for _method in ("get", "head", "post", "put", "patch", "delete"):
    getattr(ProxyHandler, _method).operation = Operation(
        "Pass a request on to the cluster's dashboard, or to what Serve serves", media_type="*/*"
    )

proxy_handlers = [(r"/rayjup/clusters/([^/]+)/(dashboard|serve)/(.*)", ProxyHandler)]
