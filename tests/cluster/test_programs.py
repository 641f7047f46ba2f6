"""Programs for clusters that are made elsewhere, started as their users start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import programs

from rayjup.cluster_utils import Cluster

NODES = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    yield made
    made.shutdown()


@pytest.mark.leaks("the cluster of this file")
def test_a_program_waits_for_nodes_that_join_while_it_waits(cluster: Cluster, tmp_path: Path) -> None:
    """Written for today's Ray and for that of 2019, both at once."""
    assert cluster.address is not None
    running = []
    for old in (False, True):
        path = tmp_path / f"{old}.py"
        path.write_text(programs.wait_for_nodes(cluster.address, NODES, old=old, rounds=3))
        command = [sys.executable, "-m", "rayjup.as_ray", str(path)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for program in running:  # they have begun to wait before there are enough
        assert program.stdout is not None
        assert program.stdout.readline() == "1 nodes have joined so far, waiting for 2 more.\n"
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=3)
    for program in running:
        said, errors = program.communicate(timeout=60)
        assert program.returncode == 0, errors
        programs.check(said, NODES)
    assert "driver_object_store_memory" in errors and "has no effect" in errors
