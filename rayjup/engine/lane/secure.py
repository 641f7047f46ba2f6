"""Between hosts: what is encrypted, who is let in, and on what a node may listen.

A node listens for other hosts with the cluster's TLS, where both sides show certificates; without TLS only
on loopback, or where whoever runs the cluster has declared its network to be safe. In every case who
connects has to send the cluster's token before anything else is read.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

INSECURE_VARIABLE = "RAYJUP_INSECURE_NETWORK"
"""Set to 1 where nodes may talk to each other unencrypted on a network that is no loopback."""

PREAMBLE = 12
LANE, PULL = b"L", b"P"
TOKEN = 32


@dataclass(frozen=True)
class Gate:
    """How processes of different hosts connect: the same in all processes of a cluster.

    Parameters
    ----------
    token
        Secret of the cluster, 32 bytes; empty while it is not known.
    also
        Another one that is taken from others, while the two are being exchanged.
    ca, cert, key
        Paths of PEM files; empty where the cluster is not encrypted.
    timeout_s
        So long a host may be silent before a connection to it is given up.
    """

    token: bytes = b""
    ca: str = ""
    cert: str = ""
    key: str = ""
    timeout_s: float = 10.0
    also: bytes = b""

    @property
    def encrypted(self) -> bool:
        """Whether connections are encrypted."""
        return bool(self.ca)

    def context(self, server: bool) -> ssl.SSLContext | None:
        """The TLS side of a connection; None where it is not encrypted. Both sides check certificates."""
        if not self.encrypted:
            return None
        import ssl  # only processes that speak with other hosts pay for it

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # the cluster's own authority signs for its nodes, wherever they are
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.ca)
        context.load_cert_chain(self.cert, self.key or None)
        return context

    def admits(self, token: bytes) -> bool:
        """Whether whoever sent ``token`` belongs to the cluster."""
        taken = [own for own in (self.token, self.also) if len(own) == TOKEN]
        return any([hmac.compare_digest(token, own) for own in taken])  # noqa: C419 - in one time for all

    def __repr__(self) -> str:  # the token must not get into any log
        return f"Gate(encrypted={self.encrypted})"


def preamble(kind: bytes, worker: bytes = bytes(8)) -> bytes:
    """The first bytes of a connection to a node: what for, and to which of its processes. No secret."""
    return b"RJ1" + kind + worker


def read_preamble(data: bytes) -> tuple[bytes, bytes] | None:
    """Kind and process; None for bytes that are no preamble."""
    if len(data) != PREAMBLE or data[:3] != b"RJ1" or data[3:4] not in (LANE, PULL):
        return None
    return data[3:4], data[4:]


def may_listen(scheme: str, ip: str, insecure: bool) -> str:
    """Why a node must not listen for other hosts; empty where it may.

    Parameters
    ----------
    scheme
        Of the node's Dask address: ``tls``, ``tcp`` or ``unix``.
    ip
        On which it would listen.
    insecure
        Whether the network was declared to be safe.
    """
    if scheme == "tls":
        return ""
    try:
        loopback = ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return f"{ip!r} is no IP address"
    if loopback or insecure:
        return ""
    return (
        f"the cluster is not encrypted, and others can reach {ip}. Start its scheduler and "
        "workers with TLS (dask scheduler --tls-ca-file …), or, on a network that is safe, with "
        f"{INSECURE_VARIABLE}=1"
    )


def is_declared_insecure() -> bool:
    """Whether whoever started this process says that the network is safe."""
    return os.environ.get(INSECURE_VARIABLE, "").lower() in ("1", "true", "yes")


def tune(sock: socket.socket, timeout_s: float) -> None:
    """No waiting for more to send, and a peer that is gone without a word is noticed in time."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_USER_TIMEOUT", int(timeout_s * 1000)),
        ("TCP_KEEPIDLE", max(1, int(timeout_s / 4))),
        ("TCP_KEEPINTVL", max(1, int(timeout_s / 4))),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def limit_waits(sock: Any, timeout_s: float) -> None:
    """End waits of a blocking socket: by the kernel, since Python's timeouts cut long transfers in bits."""
    if type(sock) is not socket.socket:  # TLS would try again what the kernel has ended
        sock.settimeout(timeout_s)
        return
    sock.settimeout(None)
    limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def receive_exactly(sock: Any, count: int) -> bytes:
    """So many bytes of a blocking socket.

    Raises
    ------
    ConnectionError
        It ended before.
    """
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("the connection ended")
        data += part
    return data
