"""The one TCP port of a node, for processes and nodes of other hosts.

Who connects says in twelve plain bytes what it wants: a process of this node, to which the connection is
then handed over as it is, or objects (:mod:`rayjup.engine.transfer.serving`). Nothing else is read
here: encryption and the cluster's token are checked by whoever gets the connection.
"""

from __future__ import annotations

import array
import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from rayjup.engine.lane import secure
from rayjup.engine.lane.addresses import Endpoint as Place
from rayjup.engine.lane.remote import hand_over_path

logger = logging.getLogger(__name__)

_PREAMBLE_S = 5.0
_NEW_S = 3.0  # a process listens so soon after its agent has told others of it
_MOST_SILENT = 256  # connections that have not said yet what they want


class Endpoint:
    """Listens on ``ip``, on a free port.

    Parameters
    ----------
    ip
        Where other hosts find this node.
    process_at
        ``process_at(client)`` gives the unix socket of a process of this node; None: there is none.
    on_pull
        Called with each connection that asks for objects (a blocking socket).
    """

    def __init__(
        self, ip: str, process_at: Callable[[str], str | None], on_pull: Callable[[socket.socket], None]
    ) -> None:
        self._process_at = process_at
        self._on_pull = on_pull
        self._silent: set[asyncio.Task[None]] = set()
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._sock.bind((ip, 0))
            self._sock.listen(256)
        except OSError:
            self._sock.close()
            raise
        self._sock.setblocking(False)
        self.place: Place = (ip, int(self._sock.getsockname()[1]))
        self._hand = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._hand.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptors left, or it is gone again
                logger.warning("a connection from another host could not be taken: %s", error)
                return
            if len(self._silent) >= _MOST_SILENT:
                sock.close()
                continue
            task = self._loop.create_task(self._welcome(sock))
            self._silent.add(task)
            task.add_done_callback(self._silent.discard)

    async def _welcome(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            wish = secure.read_preamble(await asyncio.wait_for(self._first_bytes(sock), _PREAMBLE_S))
            if wish is None:
                return
            if wish[0] == secure.PULL:
                sock.setblocking(True)
                taken, sock = sock, None  # type: ignore[assignment]  # it is not ours any more
                self._on_pull(taken)
            else:
                await self._give(sock, wish[1].hex())
        except (OSError, TimeoutError, asyncio.TimeoutError):
            pass  # whoever it was is gone, or says nothing
        finally:
            if sock is not None:
                sock.close()

    async def _first_bytes(self, sock: socket.socket) -> bytes:
        data = b""
        while len(data) < secure.PREAMBLE:
            part = await self._loop.sock_recv(sock, secure.PREAMBLE - len(data))
            if not part:
                break
            data += part
        return data

    async def _give(self, sock: socket.socket, client: str) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))]
        deadline = self._loop.time() + _NEW_S
        while (path := self._process_at(client)) is not None:  # else the end of the connection says so
            try:
                self._hand.sendmsg([b"c"], rights, 0, hand_over_path(path))
                return
            except (FileNotFoundError, BlockingIOError):  # it is about to listen, or has much to take
                if self._loop.time() > deadline:
                    raise
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._hand.close()
        for task in list(self._silent):
            task.cancel()


def usable_files(directory: str, ca: str, cert: str, key: str) -> tuple[str, str, str]:
    """Paths of certificates that Dask may have been given as text: then they are written to ``directory``."""
    paths = []
    for name, value in (("ca", ca), ("cert", cert), ("key", key)):
        if "\n" in value:
            path = Path(directory, f"{name}.pem")
            path.touch(mode=0o600)
            path.write_text(value, encoding="ascii")
            value = str(path)
        paths.append(os.path.abspath(value) if value else "")
    return paths[0], paths[1], paths[2]
