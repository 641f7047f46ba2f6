"""A short run of what ``make chaos`` does for longer: nothing wrong, nothing hangs, nothing is left."""

from __future__ import annotations

import os

import pytest
from chaos import network
from chaos.run import run
from support.machines import why_not


@pytest.mark.timeout(420)
@pytest.mark.parametrize("seed", [int(os.environ.get("CHAOS_SEED", 11))])
def test_processes_are_killed_at_random(seed):
    outcome = run(seed, 20.0)
    print(outcome.table())
    assert not outcome.wrong
    assert not outcome.hangs
    assert sum(outcome.faults.values()) >= 5, "so few that nothing was tried"
    assert min(outcome.calls[name] for name in ("sums", "shuffle", "bank", "hands", "pipeline")) > 0


@pytest.mark.timeout(420)
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "machines can be made")
def test_cables_are_pulled_and_machines_switched_off_at_random():
    tally, faults = network.run(int(os.environ.get("CHAOS_SEED", 11)), 15.0)
    print(faults, tally.calls)
    assert not tally.wrong
    assert not tally.hangs
    assert sum(faults.values()) >= 3, "so few that nothing was tried"
    assert min(tally.calls.values()) > 0
