"""Connections over HTTP: uvicorn's protocol on a listening socket that several processes share."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
from email.utils import formatdate
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

_PAUSE_S = 0.05
_HELD_BODY = 32 * 1024  # a request whose body is longer is begun before it is complete (uvicorn pauses at 64)


class Runs(Protocol):
    """Answers requests with one coroutine each, in place of the application."""

    async def run(self, connection: Connection, cycle: Any) -> None:
        """Answer one request."""


class Hands(Protocol):
    """Hands complete requests on, without a task for each."""

    def take(self, connection: Connection, cycle: Any) -> bool:
        """Take a request; False where the application is to have it."""


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
    runs, hands
        Shorter ways than the application's, for requests of HTTP.
    """

    def __init__(
        self,
        listening: socket.socket,
        app: Any,
        options: dict[str, Any],
        runs: Runs | None = None,
        hands: Hands | None = None,
    ) -> None:
        self.listening = listening
        self.runs = runs
        self.hands = hands
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
        self.top = b"date: %b\r\nserver: rayjup\r\n" % date
        self.top_of_200 = STATUS_LINE[200] + self.top
        self.now = self.loop.time()
        self._tick_handle = self.loop.call_later(1.0, self._tick)
        before = self.now - self.config.timeout_keep_alive
        for connection in [c for c in self.state.connections if 0 < getattr(c, "idle", 0) < before]:
            connection.timeout_keep_alive_handler()  # type: ignore[union-attr]

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

    def _protocol(self) -> Connection:
        return Connection(self)


class Connection(HttpToolsProtocol):
    """One connection. A request whose client is gone is cancelled.

    Parsing, flow control, answers in pieces and pipelining are uvicorn's. What differs is how often
    something is done: a complete answer is written at once, and idle connections are looked for once a
    second rather than having a timer each.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__(
            config=listener.config, server_state=listener.state, app_state={}, _loop=listener.loop
        )
        self.listener = listener
        self.access_log = False
        self.idle = listener.now  # since when nobody is asked for anything; 0: somebody is
        self.held: Any = None  # a request that waits for its body
        self.handed: Any = None  # what gives up a request that was handed on
        self.task: asyncio.Task[None] | None = None

    def answer(self, cycle: Any, status: int, head: bytes, body: bytes, close: bool = False) -> None:
        """Answer a request in full.

        Parameters
        ----------
        head
            Lines of headers that say how long the body is and what is in it, each with its end.
        """
        if cycle.disconnected or cycle.response_started:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        listener = self.listener
        top = listener.top_of_200 if status == 200 else STATUS_LINE[status] + listener.top
        if close or not cycle.keep_alive:
            cycle.keep_alive = False
            head = head + b"connection: close\r\n"
        if cycle.scope["method"] == "HEAD":
            body = b""
        self.transport.write(b"%b%b\r\n%b" % (top, head, body))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    # -- in place of uvicorn's

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self.listener.draining:
            cycle.keep_alive = False
        if self.listener.hands is None or cycle.waiting_for_100_continue:
            self._run(cycle)
        elif cycle.more_body:
            self.held = cycle
        elif not self.listener.hands.take(self, cycle):
            self._run(cycle)

    def _run(self, cycle: Any) -> None:
        self.held = None
        before = self.task
        if before is not None and not before.done():
            self._keep(before)
        runs = self.listener.runs
        work = runs.run(self, cycle) if runs is not None else cycle.run_asgi(self.app)
        self.task = self.loop.create_task(work)

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Nobody else may hold it."""
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        held = self.held
        if held is not None and len(held.body) > _HELD_BODY:
            self._run(held)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        held = self.held
        if held is not None and not held.more_body:
            self.held = None
            hands = self.listener.hands
            if hands is None or not hands.take(self, held):
                self._run(held)

    def _unset_keepalive_if_required(self) -> None:
        self.idle = 0.0

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.idle = self.listener.now

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.held = None
        handed, self.handed = self.handed, None
        if handed is not None:
            handed()
        task, self.task = self.task, None
        if task is not None and not task.done():
            self._keep(task)
            if not self.cycle.response_complete or self.pipeline:
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
