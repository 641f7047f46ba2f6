"""What the machine gives without any engine: the yardstick beside the lines of an engine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import numpy as np

ECHO = "bare: unix-socket echo between two processes"
COPY = "bare: copy of memory, several threads"
MESSAGE = b"x" * 64
COPY_BYTES = 100 * 1024 * 1024 * 8
COPY_GB = 0.8  # counted as the lines "put gigabytes" count it

ECHO_SERVER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
print("ready", flush=True)
peer, _ = listener.accept()
while data := peer.recv(4096):
    peer.sendall(data)
"""


@contextmanager
def echo_peer() -> Iterator[socket.socket]:
    """A socket to another Python process that sends back what it gets."""
    with tempfile.TemporaryDirectory(prefix="echo-") as directory:
        path = str(Path(directory) / "s")
        server = subprocess.Popen([sys.executable, "-c", ECHO_SERVER, path], stdout=subprocess.PIPE)
        try:
            assert server.stdout is not None
            server.stdout.readline()
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(path)
                yield peer
        finally:
            server.terminate()
            server.communicate()


def copy_call() -> tuple[Callable[[], Any], float]:
    """Copy between two arrays whose pages exist, split among up to four threads."""
    source = np.ones(COPY_BYTES, dtype=np.uint8)
    target = np.ones(COPY_BYTES, dtype=np.uint8)
    threads = min(4, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))

    def call() -> None:
        for done in [pool.submit(np.copyto, *part) for part in parts]:
            done.result()

    return call, COPY_GB


def run(record: harness.Recorder) -> None:
    if record.wants(ECHO):
        with echo_peer() as peer:

            def round_trip() -> None:
                peer.sendall(MESSAGE)
                peer.recv(4096)

            record.rate(ECHO, "/s", lambda: (round_trip, 1))
    record.rate(COPY, "GB/s", copy_call)
