"""Where a cluster listens for other machines, and which address this machine has for them."""

from __future__ import annotations

import ipaddress
import socket

from rayjup.base.exceptions import RaySystemError

DEFAULT_PORT = 6379


def own_ip(towards: str = "192.0.2.1") -> str:
    """The address by which this machine reaches others (nothing is sent for that).

    Raises
    ------
    RaySystemError
        It has no network.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            sock.connect(place)
            return str(sock.getsockname()[0])
    except OSError as error:
        raise RaySystemError(
            f"this machine has no address by which it could reach {towards} ({error}): name the "
            "one that other machines are to use, with --node-ip-address."
        ) from error


def free_port(ip: str, wanted: int | None) -> int:
    """A port on which a cluster may listen: the one that is wanted, or the default, or any.

    Raises
    ------
    RaySystemError
        It is taken, or ``ip`` is not an address of this machine.
    """
    for port in (wanted,) if wanted is not None else (DEFAULT_PORT, 0):
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((ip, port))
                return int(sock.getsockname()[1])
            except OSError as error:
                if wanted is not None or port == 0:
                    raise RaySystemError(
                        f"the cluster cannot listen on {joined(ip, port)}: {error.strerror}. Choose another "
                        "--port, or the right --node-ip-address."
                    ) from error
    raise AssertionError("one of the ports is tried last")


def joined(ip: str, port: int) -> str:
    """Host and port as one text.

    Examples
    --------
    >>> joined("10.0.0.1", 6379), joined("::1", 6379)
    ('10.0.0.1:6379', '[::1]:6379')
    """
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def split(address: str) -> tuple[str, int]:
    """Host and port of an address, with or without a scheme.

    Raises
    ------
    ValueError
        It is none.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not host or not colon or not port.isdigit():
        raise ValueError(f"{address!r} is no address of a cluster: write host:port.")
    return host.strip("[]"), int(port)


def is_loopback(ip: str) -> bool:
    """Whether only this machine can use the address."""
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return ip == "localhost"


def is_own(ip: str) -> bool:
    """Whether an address is one of this machine's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((ip, 0))
    except OSError:
        return False
    return True
