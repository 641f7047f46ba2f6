"""A short run of what ``make chaos`` does for longer: nothing wrong, nothing hangs, nothing is left."""

from __future__ import annotations

import os

import pytest
from chaos.run import run


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [int(os.environ.get("CHAOS_SEED", 11))])
def test_processes_are_killed_at_random(seed):
    outcome = run(seed, 20.0)
    print(outcome.table())
    assert not outcome.wrong
    assert not outcome.hangs
    assert sum(outcome.faults.values()) >= 5, "so few that nothing was tried"
    assert min(outcome.calls[name] for name in ("sums", "shuffle", "bank", "hands", "pipeline")) > 0
