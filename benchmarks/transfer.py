"""Calls and objects between hosts, beside what a plain socket gives in the same run.

    python benchmarks/transfer.py [--json out/transfer.json] [--quick]

The nodes are on one machine and declared to be on hosts of their own: calls go by TCP on loopback, objects
are copied from the shared memory of one node to that of the other. ``bare: sendfile`` is one process that
sends a file in /dev/shm with ``os.sendfile`` and another that receives it, into a new file in /dev/shm (as a
node has to) or into memory that it has used before.
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np

MB = 1_000_000
SIZE = 256 * MB
BARE_NEW = "bare: sendfile into a new file"
BARE_USED = "bare: sendfile into used memory"
PULL = "node to node, 256 MB"


def bare(size: int, new: bool) -> float:
    """Seconds of one ``sendfile`` of ``size`` bytes from /dev/shm to another process."""
    with tempfile.TemporaryFile(dir="/dev/shm") as source, socket.create_server(("127.0.0.1", 0)) as server:
        source.write(b"x" * size)
        source.flush()
        ready, done = multiprocessing.Pipe(False)
        context = multiprocessing.get_context("fork")
        receiver = context.Process(target=_receive, args=(server.getsockname(), size, new, done))
        receiver.start()
        sock, _ = server.accept()
        with sock:
            ready.recv()
            began = time.perf_counter()
            offset = 0
            while offset < size:
                offset += os.sendfile(sock.fileno(), source.fileno(), offset, size - offset)
            sock.recv(1)
            took = time.perf_counter() - began
        receiver.join()
    return took


def _receive(address: Any, size: int, new: bool, done: Any) -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as target, socket.create_connection(address) as sock:
        target.truncate(size)
        with mmap.mmap(target.fileno(), size) as mapped, memoryview(mapped) as view:
            if not new:
                view[:] = bytes(size)
            done.send(True)
            filled = 0
            while filled < size:
                with view[filled:] as rest:
                    filled += sock.recv_into(rest, min(size - filled, 4 << 20), socket.MSG_WAITALL)
            sock.send(b"x")


def lines(record: harness.Recorder, repeats: int) -> None:
    """Measure everything, on a cluster of four hosts."""
    import rayjup as ray
    from rayjup.cluster_utils import Cluster

    store = {"object_store_memory": 2000 * MB, "num_cpus": 2}
    cluster = Cluster(initialize_head=True, head_node_args={"host": "a", **store})
    for name in "bcd":
        cluster.add_node(host=name, resources={name: 100}, **store)
    ray.init(address=cluster.address)

    @ray.remote
    def nothing(*values: Any) -> int:
        return len(values)

    @ray.remote
    def make(size: int) -> Any:
        return np.ones(size, np.uint8)

    def on(name: str) -> Any:
        return nothing.options(resources={name: 1})

    try:
        for name in "bcd":
            ray.get(on(name).remote())

        def pulls(size: int, count: int = repeats) -> Callable[[Any], list[float]]:
            def sample(line: Any) -> list[float]:
                return [
                    _timed(lambda ref: ray.get(on("b").remote(ref)), ray.put(np.ones(size, np.uint8)))
                    for _ in range(count)
                ]

            return sample

        def broadcast(line: harness.Line) -> list[float]:
            def to_all(ref: Any) -> None:
                ray.get([on(name).remote(ref) for name in "bcd"])

            return [_timed(to_all, ray.put(np.ones(SIZE, np.uint8))) for _ in range(repeats)]

        def back(line: harness.Line) -> list[float]:
            def brought() -> float:
                ref = make.options(resources={"b": 1}).remote(SIZE)
                ray.wait([ref])
                return _timed(ray.get, ref)

            return [brought() for _ in range(repeats)]

        # In turn, so that whatever else the machine does meanwhile is the same for all.
        rounds = [(bare(SIZE, True), bare(SIZE, False), pulls(SIZE, 1)(None)[0]) for _ in range(repeats)]
        for index, name in enumerate((BARE_NEW, BARE_USED, PULL)):
            record.times(name, "s", lambda line, index=index: [times[index] for times in rounds])
        record.times("node to driver, 256 MB", "s", back)
        record.times("node to node, 1 MB", "s", pulls(MB))
        record.times("256 MB to three nodes", "s", broadcast)
        far, near = on("b"), nothing
        record.rate("calls to another host, one at a time", "/s", lambda: (lambda: ray.get(far.remote()), 1))
        record.rate("calls on this host, one at a time", "/s", lambda: (lambda: ray.get(near.remote()), 1))
        record.rate(
            *("calls to another host, 1000 in flight", "/s"),
            lambda: (lambda: ray.get([far.remote() for _ in range(1000)]), 1000),
        )
    finally:
        ray.shutdown()
        cluster.shutdown()


def _timed(call: Callable[[Any], Any], ref: Any) -> float:
    began = time.perf_counter()
    call(ref)
    took = time.perf_counter() - began
    time.sleep(0.1)
    return took


def main() -> int:
    """Measure, print, and say which part of a plain sendfile a transfer is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    harness.add_arguments(parser)
    arguments = parser.parse_args()
    record = harness.recorder(arguments)
    repeats = 1 if arguments.quick else 7
    lines(record, repeats)
    found = {line.name: line.values for line in record.lines}
    for name in (BARE_NEW, BARE_USED):
        shares = [
            theirs / ours for theirs, ours in zip(found.get(name, ()), found.get(PULL, ()), strict=True)
        ]
        if shares:
            text = f"{statistics.median(shares):.0%}, from {min(shares):.0%} to {max(shares):.0%}"
            print(f"{PULL}: {text} of {name!r} (median of {len(shares)})")
    from rayjup import __version__

    return harness.finish(record, arguments, "rayjup", __version__)


if __name__ == "__main__":
    sys.exit(main())
