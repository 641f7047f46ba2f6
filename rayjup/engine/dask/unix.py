"""Unix sockets as a Dask comm backend: ``unix:///path``.

A local cluster listens on sockets inside a directory of mode 0700, so that nobody else on the
machine can reach it and no certificates are needed. Registered under the entry point group
``distributed.comm.backends``; a plain Dask client can use the address as well.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import weakref
from typing import Any

from distributed.comm import tcp
from distributed.comm.core import Comm, CommClosedError
from distributed.comm.registry import Backend, backends
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpserver import TCPServer

_numbers = itertools.count()


def _path(loc: str) -> str:
    """The socket's path; Dask appends a port to addresses that have none."""
    path, colon, port = loc.rpartition(":")
    return path if colon and port.isdigit() else loc


class UnixComm(tcp.TCP):
    """A Dask comm over a unix stream socket."""

    def __init__(self, stream: IOStream, local: str, peer: str, deserialize: bool = True) -> None:
        Comm.__init__(self, deserialize=deserialize)
        self._closed = False
        self._local_addr = local
        self._peer_addr = peer
        self.stream = stream
        self._finalizer = weakref.finalize(self, self._get_finalizer())
        self._finalizer.atexit = False
        self._extra: dict[str, Any] = {}
        stream.set_close_callback(functools.partial(tcp._close_comm, weakref.ref(self)))


class UnixConnector(tcp.BaseTCPConnector):
    """Connects to ``unix:///path``."""

    prefix = "unix://"
    comm_class = UnixComm
    encrypted = True  # nobody but the owner of the directory can listen in

    async def connect(self, address: str, deserialize: bool = True, **connection_args: Any) -> UnixComm:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream = IOStream(sock, max_buffer_size=tcp.MAX_BUFFER_SIZE)
        try:
            await stream.connect(_path(address))
        except (StreamClosedError, OSError) as error:
            raise CommClosedError(f"no scheduler or worker listens at unix://{address}: {error}") from error
        return UnixComm(stream, f"unix://{address}#{next(_numbers)}", f"unix://{address}", deserialize)


class UnixListener(tcp.BaseTCPListener):
    """Listens at ``unix:///path``."""

    prefix = "unix://"
    comm_class = UnixComm
    encrypted = True

    def __init__(
        self,
        address: str,
        comm_handler: Any,
        deserialize: bool = True,
        allow_offload: bool = True,
        **connection_args: Any,
    ) -> None:
        self.path = _path(address)
        super().__init__(
            "0.0.0.0:0", comm_handler, deserialize=deserialize, allow_offload=allow_offload, **connection_args
        )

    def _get_server_args(self, **connection_args: Any) -> dict[str, Any]:
        return {}

    async def start(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.bind(self.path)
        os.chmod(self.path, 0o600)
        sock.listen(512)
        self.tcp_server = TCPServer(max_buffer_size=tcp.MAX_BUFFER_SIZE)
        self.tcp_server.handle_stream = self._handle_stream  # type: ignore[method-assign]  # Dask's own way
        self.tcp_server.add_sockets([sock])

    def stop(self) -> None:
        super().stop()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    async def _handle_stream(self, stream: IOStream, address: Any) -> None:
        if self.tcp_server is None:
            stream.close()
            return
        comm = UnixComm(
            stream, f"unix://{self.path}", f"unix://{self.path}#in{next(_numbers)}", self.deserialize
        )
        comm.allow_offload = self.allow_offload
        try:
            await self.on_connection(comm)
        except CommClosedError:
            return
        await self.comm_handler(comm)

    @property
    def listen_address(self) -> str:
        return f"unix://{self.path}"

    @property
    def contact_address(self) -> str:
        return f"unix://{self.path}"


class UnixBackend(Backend):
    """The ``unix`` scheme."""

    def get_connector(self) -> UnixConnector:
        return UnixConnector()

    def get_listener(
        self, loc: str, handle_comm: Any, deserialize: bool, **connection_args: Any
    ) -> UnixListener:
        return UnixListener(loc, handle_comm, deserialize, **connection_args)

    def get_address_host(self, loc: str) -> str:
        return "127.0.0.1"  # always this machine

    def get_address_host_port(self, loc: str) -> tuple[str, int]:
        return "127.0.0.1", 0

    def resolve_address(self, loc: str) -> str:
        return _path(loc)

    def get_local_address_for(self, loc: str) -> str:
        return f"{os.path.dirname(loc)}/{os.getpid()}-{next(_numbers)}.sock"


def register() -> None:
    """Make the scheme known to Dask in this process (also where the entry point is not installed)."""
    backends.setdefault("unix", UnixBackend())
