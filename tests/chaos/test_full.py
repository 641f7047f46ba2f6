"""A short run with a full disk and full shared memory."""

from __future__ import annotations

import os
import sys

import pytest
from chaos import full
from support.disks import can_mount


@pytest.mark.timeout(420)
@pytest.mark.parametrize("seed", [int(os.environ.get("CHAOS_SEED", 5))])
def test_disk_and_shared_memory_fill_up(seed, tmp_path):
    if not sys.platform.startswith("linux") or (why := can_mount(tmp_path / "try")):
        pytest.skip(why if sys.platform.startswith("linux") else "small file systems need Linux")
    tally, faults = full.run(seed, 8.0, tmp_path)
    print(tally.calls, faults)
    assert not tally.wrong
    assert not tally.hangs
    assert min(faults[kind] for kind in full.FAULTS) > 0
    assert tally.calls["pipeline"] > 0
    assert tally.calls["refused"] > 0, "there was room all the time: nothing was tried"
