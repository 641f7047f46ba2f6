"""Connections over HTTP: uvicorn's protocol on a listening socket that several processes share."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_PAUSE_S = 0.05


class Listener:
    """Accepts connections and runs an application on them.

    Parameters
    ----------
    listening
        The socket; other processes may accept from it, too.
    app
        Called for every request, as ASGI says.
    options
        ``keep_alive_timeout_s``, ``root_path``, and of TLS ``ssl_keyfile``, ``ssl_certfile``,
        ``ssl_keyfile_password``, ``ssl_ca_certs``.
    """

    def __init__(self, listening: socket.socket, app: Any, options: dict[str, Any]) -> None:
        self.listening = listening
        self.loop = asyncio.get_running_loop()
        self.accepting = False
        self.draining = False
        self.state = ServerState()
        self._tick_handle: asyncio.TimerHandle | None = None
        self.config = Config(
            app,
            http="httptools",
            ws=_websocket_protocol(),
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=options.get("keep_alive_timeout_s") or 90,
            root_path=options.get("root_path") or "",
        )
        self.config.load()
        self.tls = _tls(options)
        self._pending: set[asyncio.Task[Any]] = set()
        self._tick()

    def _tick(self) -> None:
        date = formatdate(usegmt=True).encode()
        self.state.default_headers = [(b"date", date), (b"server", b"rayjup")]
        self._tick_handle = self.loop.call_later(1.0, self._tick)

    def start(self) -> None:
        """Accept connections from now on."""
        if not self.accepting:
            self.accepting = True
            self.loop.add_reader(self.listening.fileno(), self._accept)

    def pause(self) -> None:
        """Accept no more; what is connected stays so."""
        if self.accepting:
            self.accepting = False
            self.loop.remove_reader(self.listening.fileno())

    def drain(self) -> None:
        """Accept no more, and part from clients with the answer to their next request."""
        self.pause()
        self.draining = True
        for connection in list(self.state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_started:
                cycle.keep_alive = False

    def resume(self) -> None:
        """Take everything back that :meth:`drain` has begun."""
        self.draining = False
        self.start()

    def busy(self) -> int:
        """How many connections are open."""
        return len(self.state.connections)

    async def close(self) -> None:
        """Close all connections."""
        self.pause()
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        for connection in list(self.state.connections):
            connection.shutdown()
        for task in list(self._pending):
            task.cancel()

    def _accept(self) -> None:
        # One at a time: what else waits is left to the other processes that listen here, if they are
        # quicker. Whoever is busy is slower, so new connections go to those that have time.
        try:
            connection, _ = self.listening.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:  # too many open files: try again a little later, without spinning
            self.pause()
            self.loop.call_later(_PAUSE_S, self.start)
            return
        connection.setblocking(False)
        task = self.loop.create_task(self._connect(connection))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(self._protocol, connection, ssl=self.tls)
        except (OSError, ssl.SSLError):
            connection.close()  # gone already, or not speaking TLS

    def _protocol(self) -> _Connection:
        return _Connection(self)


class _Connection(HttpToolsProtocol):
    """One connection. A request whose client is gone is cancelled."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(
            config=listener.config, server_state=listener.state, app_state={}, _loop=listener.loop
        )
        self.listener = listener
        self.access_log = False

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self.listener.draining:
            cycle.keep_alive = False
        task = self.loop.create_task(cycle.run_asgi(app))
        cycle.task = task
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycles = [self.cycle, *(cycle for cycle, _ in self.pipeline)]
        for cycle in cycles:
            task = getattr(cycle, "task", None)
            if task is not None and not cycle.response_complete and not task.done():
                # A turn later: whoever reads the request hears of the end first.
                self.loop.call_soon(task.cancel)


def _websocket_protocol() -> str:
    if importlib.util.find_spec("websockets") is not None:
        return "websockets-sansio"
    return "wsproto" if importlib.util.find_spec("wsproto") is not None else "none"


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    if not options.get("ssl_certfile"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_keyfile_password")
    )
    if options.get("ssl_ca_certs"):
        context.load_verify_locations(options["ssl_ca_certs"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def new_loop() -> asyncio.AbstractEventLoop:
    """The event loop of processes that serve: uvloop's where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()  # type: ignore[no-any-return]
