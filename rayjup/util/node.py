"""The machine this process is on."""

from __future__ import annotations

import os
import socket


def get_node_ip_address(address: str | None = None) -> str:
    """The address under which other machines reach this one.

    Parameters
    ----------
    address
        ``host`` or ``host:port`` that is to be reached from here, which decides the interface;
        the node's own address in its cluster where None.
    """
    import rayjup as ray

    if address is None and ray.is_initialized():
        node_id = ray.get_runtime_context().get_node_id()
        for node in ray.nodes():
            if node["NodeID"] == node_id and node.get("NodeManagerAddress"):
                return str(node["NodeManagerAddress"])
    host, _, port = (address or "").rpartition(":")
    target = (host or address or "192.0.2.1", int(port) if host and port.isdigit() else 53)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(target)  # of a datagram socket: chooses the interface, sends nothing
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.1"  # there is no network


def get_node_instance_id() -> str:
    """What the cloud calls this machine, from the environment variable RAY_CLOUD_INSTANCE_ID; else ""."""
    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")
