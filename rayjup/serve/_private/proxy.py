"""The proxy: holds the listening socket, and answers where no replica listens itself.

Requests for an application whose replicas listen are none of its business: it only keeps the socket
alive. It takes the others, and hands them to replicas over the lane.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import rayjup
from rayjup.serve._private import sockets, tracing
from rayjup.serve._private import table as tables
from rayjup.serve._private.access import AccessLog
from rayjup.serve._private.awaiting import set_serving_thread
from rayjup.serve._private.front import Front
from rayjup.serve._private.handing import Hand
from rayjup.serve._private.listener import Listener, new_loop
from rayjup.serve._private.measures import Measures
from rayjup.serve._private.packing import loads
from rayjup.serve._private.reporting import Reporter


class Proxy:
    """Takes requests over HTTP for all applications."""

    __rayjup_event_loop__ = staticmethod(new_loop)

    def __init__(self, options: dict[str, Any], logs_dir: str | None) -> None:
        self.options = options
        sys.path += [entry for entry in options.get("sys_path") or () if entry not in sys.path]
        self.measures = Measures()
        path = os.path.join(logs_dir, f"proxy_{os.getpid()}.log") if logs_dir else None
        self.log = AccessLog("proxy", path, self.measures)
        self.reporter = Reporter(self)
        self.listener: Listener | None = None
        self.sharing: sockets.Sharing | None = None
        self.grpc: Any = None
        set_serving_thread()
        tables.table().pushed = True

    async def start(self, directory: str, table: dict[str, Any]) -> dict[str, Any]:
        """Listen, on the socket that is shared in ``directory`` or else on a new one.

        Raises
        ------
        OSError
            Another program has the port.
        """
        tables.table().take(table)
        shared = sockets.fetch(directory)
        if shared is None:
            shared = sockets.listen(self.options["host"] or "127.0.0.1", self.options["port"])
        shared.setblocking(False)
        front = Front(tables.table(), self.log, None, self.options.get("request_timeout_s"))
        app: Any = front
        for middleware in loads(self.options["middlewares"]) if self.options.get("middlewares") else ():
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        tracing.set_up("proxy")
        hands = Hand(front) if app is front and tracing.tracer is None else None
        self.listener = Listener(shared, app, self.options, hands=hands)
        self.sharing = sockets.Sharing(shared, directory)
        self.reporter.start()
        port = shared.getsockname()[1]
        runtime = rayjup.get_runtime_context()
        return {
            "port": port,
            "pid": os.getpid(),
            "node": runtime.get_node_id(),
            "actor_id": runtime.get_actor_id(),
            "worker_id": runtime.get_worker_id(),
            "host": socket.gethostname(),
            "log": self.log.path,
        }

    async def start_grpc(self, options: dict[str, Any]) -> int:
        """Serve gRPC, too; the port."""
        from rayjup.serve._private.grpc_proxy import GrpcProxy  # needs grpcio

        self.grpc = GrpcProxy(tables.table(), options)
        return int(await self.grpc.start())

    async def listen(self, on: bool) -> None:
        """Accept connections, or leave them to replicas."""
        assert self.listener is not None
        if on:
            self.listener.resume()
        else:
            self.listener.drain()

    async def routes(self, table: dict[str, Any]) -> None:
        """The controller says where replicas are."""
        tables.table().take(table)

    async def poll(self) -> dict[str, Any]:
        """How it is going, for the controller."""
        return {
            "queued": [
                ((r.id.app_name, r.id.name), r.waiting()) for r in self.reporter.routers() if r.waiting()
            ],
            "measures": self.measures.snapshot(),
            "connections": self.listener.busy() if self.listener is not None else 0,
        }

    async def close(self) -> None:
        """Stop listening."""
        if self.grpc is not None:
            await self.grpc.close()
        if self.listener is not None:
            await self.listener.close()
        if self.sharing is not None:
            self.sharing.close()
            self.sharing.listening.close()
        self.reporter.stop()
