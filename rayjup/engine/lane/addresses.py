"""Where processes listen: a unix socket, and for other hosts the TCP endpoint of their node.

An address is one string, compared as a whole: ``/dir/w-0123456789abcdef.sock`` in a cluster of one host,
``/dir/w-0123456789abcdef.sock|HOST|IP:PORT`` where hosts can reach each other. The sixteen digits
name the process, ``HOST`` the machine on which the unix socket can be used.
"""

from __future__ import annotations

import hashlib

Endpoint = tuple[str, int]
"""IP address and port on which a node listens for other hosts."""


def host_key(host: str) -> str:
    """A short name for a host id, as it stands in addresses."""
    return hashlib.sha256(host.encode()).hexdigest()[:12]


def suffix(host: str, endpoint: Endpoint | None) -> str:
    """What follows the unix path in the addresses of a node's processes."""
    return f"|{host_key(host)}|{endpoint[0]}:{endpoint[1]}" if endpoint is not None else ""


def worker_of(address: str) -> bytes:
    """The first eight bytes of the id of the process that listens there."""
    return bytes.fromhex(address.rsplit("/w-", 1)[1][:16])


def path_of(address: str) -> str:
    """The unix socket's path."""
    return address.partition("|")[0]


def remote_endpoint(address: str, here: str) -> Endpoint | None:
    """The endpoint to use for ``address`` from the host with the key ``here``; None: the unix socket."""
    _, bar, rest = address.partition("|")
    if not bar:
        return None
    host, _, place = rest.partition("|")
    if host == here:
        return None
    ip, _, port = place.rpartition(":")
    return ip, int(port)
