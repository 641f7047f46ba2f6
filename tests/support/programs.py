"""Programs as people wrote them for Ray, with what tests have to know in their last line."""

from __future__ import annotations

_WAIT_FOR_NODES = """
import sys
import time
from collections import Counter
{imports}
import ray

NODES = {nodes}


@ray.remote
def get_host_name(x):
    {local}
    time.sleep(0.01)
    return x + (({name}, ray.get_runtime_context().get_node_id()),)


def wait_for_nodes(expected):
    while True:
        joined = len(ray.nodes())
        if joined >= expected:
            break
        print(f"{{joined}} nodes have joined so far, waiting for {{expected - joined}} more.")
        sys.stdout.flush()
        time.sleep(0.05)


def main():
    wait_for_nodes(NODES)
    seen = set()
    i = 0
    while i < {rounds} or (len(seen) < NODES and i < 200):  # a node that has just joined may take a while
        results = [get_host_name.remote(get_host_name.remote(())) for _ in range(100)]
        counted = Counter(ray.get(results))
        for pair in counted:
            seen.update(node for _, node in pair)
        print("Iteration", i, len(counted))
        sys.stdout.flush()
        i += 1
    print("Success!")
    print(sum(counted.values()), len(seen))


if __name__ == "__main__":
    ray.init(address={address!r}{more})
    main()
"""


def wait_for_nodes(address: str, nodes: int, *, old: bool = False, rounds: int = 10) -> str:
    """A program that waits until a cluster has so many nodes, and then runs calls of calls on them.

    Its last line has how many results the last round had, and on how many nodes calls were run.

    Parameters
    ----------
    old
        As it was written at first, for Ray below 1.0.
    rounds
        Of a hundred calls of calls each; more of them as long as there is a node that has run none.
    """
    now = {"imports": "import platform", "local": "", "name": "platform.node()", "more": ""}
    then = {
        "imports": "import socket",
        "local": "import socket, time",
        "name": "socket.gethostname()",
        "more": ", driver_object_store_memory=100 * 1024 * 1024",
    }
    return _WAIT_FOR_NODES.format(address=address, nodes=nodes, rounds=rounds, **(then if old else now))


def check(said: str, nodes: int) -> None:
    """Fail unless the program has run whole, on all nodes."""
    lines = said.splitlines()
    assert lines[-2:] == ["Success!", f"100 {nodes}"], said
