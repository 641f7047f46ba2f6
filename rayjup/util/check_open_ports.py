"""Which ports of the cluster can be reached from other machines (mirrors ``ray.util.check_open_ports``)."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

import psutil


def check_open_ports(*args: Any, **kwargs: Any) -> list[tuple[int, str, int]]:
    """Print and return the TCP ports of rayjup on this machine that are not on the loopback interface.

    It looks at the sockets themselves; nothing is sent to a service outside, so what Ray's command
    takes (``yes``, ``service_url``) has no effect. On one machine there is none: rayjup uses unix sockets.

    Returns
    -------
    list of tuple
        Process id, address and port of each.
    """
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if not any("rayjup" in part for part in process.info["cmdline"] or ()):
            continue
        try:
            connections = process.net_connections(kind="tcp")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # ended meanwhile, or somebody else's
        for connection in connections:
            if connection.status == psutil.CONN_LISTEN:
                address = connection.laddr.ip
                if not ipaddress.ip_address(address).is_loopback:
                    found.append((process.pid, address, connection.laddr.port))
    lines = [f"process {pid} listens on {address}:{port}" for pid, address, port in found]
    sys.stdout.write("\n".join(lines or ["no port of rayjup can be reached from other machines"]) + "\n")
    return found


def main() -> None:
    """``python -m rayjup.util.check_open_ports``: ends with 1 when there is an open port."""
    raise SystemExit(1 if check_open_ports() else 0)


if __name__ == "__main__":
    main()
