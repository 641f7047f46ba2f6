"""What a process knows of other hosts: how to reach their processes, and how these reach it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import addresses
from rayjup.engine.lane.peer import Peer, connect_unix
from rayjup.engine.lane.remote import HandOver, Pending, RemotePeer, connect, hand_over_path
from rayjup.engine.lane.secure import Gate

if TYPE_CHECKING:
    from rayjup.engine.runtime.runtime import Runtime


_MOST_PENDING = 512  # connections that have not shown the token yet


class Hosts:
    """Belongs to one runtime.

    Parameters
    ----------
    welcome
        What the agent has said of the node: ``host``, ``suffix`` of addresses and ``gate``, the fields of
        :class:`.secure.Gate`; None where the cluster has one host only.
    """

    def __init__(self, runtime: Runtime, welcome: dict[str, Any]) -> None:
        self._runtime = runtime
        self._here = addresses.host_key(welcome["host"])
        self.pending = Pending()
        self._hand_over: HandOver | None = None
        self.why_not: str = welcome.get("why_not", "")
        gate = welcome.get("gate")
        self.gate: Gate | None = Gate(**gate) if gate is not None else None
        if self.gate is not None:
            self._hand_over = HandOver(runtime.reactor, hand_over_path(runtime.address), self._accept)
            runtime.address += welcome["suffix"]

    def connect(self, address: str) -> Peer:
        """A connection to the process at ``address``, made or being made.

        Raises
        ------
        OSError
            It can't be reached.
        """
        runtime = self._runtime
        endpoint = addresses.remote_endpoint(address, self._here)
        if endpoint is None:
            sock = connect_unix(addresses.path_of(address))
            return Peer(runtime.reactor, sock, runtime._on_messages, runtime._on_peer_closed)
        if self.gate is None:
            raise ConnectionError("this node does not speak with other hosts")
        worker = addresses.worker_of(address)
        peer = connect(
            runtime.reactor, self.gate, endpoint, worker, runtime._on_messages, runtime._on_peer_closed
        )
        self.pending.add(peer)
        return peer

    def renew(self, gate: dict[str, Any]) -> None:
        """The cluster has other secrets from now on; connections that are there stay."""
        if self.gate is not None:
            self.gate = Gate(**gate)
            self.pending.renew(self.gate)

    def _accept(self, sock: socket.socket) -> None:
        runtime = self._runtime
        assert self.gate is not None
        if len(self.pending) >= _MOST_PENDING:  # strangers
            sock.close()
            return
        try:
            peer = RemotePeer(runtime.reactor, sock, self.gate, runtime._on_messages, runtime._on_peer_closed)
        except OSError:  # gone again
            sock.close()
            return
        self.pending.add(peer)
        runtime.reactor.add(peer)
        peer.start()
        runtime.tasks.wake_background()

    def tell(self, op: str, node: str, name: str) -> None:
        """Have a node see to a file of ours; safe inside destructors."""
        if op == "store_unlink":
            self._runtime.link.post((op, [(node, name)]))
        else:
            self._runtime.link.post((op, node, name))

    def tick(self, now: float) -> None:
        """Give up connections that do not come about."""
        if self.pending:
            self.pending.tick(now)

    def close(self) -> None:
        """Take no more connections."""
        if self._hand_over is not None:
            self._hand_over.close()
