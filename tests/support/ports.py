"""Ports that are chosen first and listened on later, by another process."""

from __future__ import annotations

import os
import random
import socket

# Below those that the system gives to whoever asks for any, so nobody takes one by chance meanwhile.
_LOWEST, _HIGHEST = 20_000, 32_000
_order = random.Random(os.getpid())  # two test processes do not try the same ones


def quiet_port(host: str = "") -> int:
    """A port that is free, and will be until somebody asks for this very one."""
    while True:
        port = _order.randrange(_LOWEST, _HIGHEST)
        try:
            with socket.create_server((host, port)):
                return port
        except OSError:  # it is in use
            continue
