"""Memory pressure: how much is used, and which process is ended."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayjup.engine.node import memory
from rayjup.engine.node.memory import Candidate, anonymous, choose, usage


def test_the_largest_is_ended():
    rows = [Candidate("a", 100, True, 3.0), Candidate("b", 500, True, 1.0), Candidate("c", 300, True, 2.0)]
    assert choose(rows).key == "b"


def test_the_newest_among_equals_is_ended():
    rows = [Candidate("a", 500, True, 3.0), Candidate("b", 510, True, 1.0), Candidate("c", 300, True, 9.0)]
    assert choose(rows).key == "a"


def test_what_cannot_be_run_again_is_spared_if_possible():
    precious = Candidate("a", 900, False, 1.0)
    assert choose([precious, Candidate("b", 10, True, 0.0)]).key == "b"
    assert choose([precious]).key == "a"
    assert choose([]) is None


@given(st.lists(st.builds(Candidate, st.integers(), st.integers(0, 1000), st.booleans(), st.floats(0, 9))))
def test_the_choice_depends_on_the_candidates_alone(rows):
    chosen = choose(rows)
    if rows:
        assert chosen in rows
        assert chosen.retriable or not any(row.retriable for row in rows)
        assert all(row.nbytes * 0.9 <= chosen.nbytes for row in rows if row.retriable == chosen.retriable)


@pytest.mark.parametrize("version", [1, 2])
def test_a_limited_control_group(tmp_path, version):
    if version == 2:
        files = {"memory.max": "1000000", "memory.current": "700000", "memory.stat": "inactive_file 200000"}
    else:
        files = {
            "memory/memory.limit_in_bytes": "1000000",
            "memory/memory.usage_in_bytes": "700000",
            "memory/memory.stat": "cache 3\ntotal_inactive_file 200000",
        }
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert usage(tmp_path) == (500_000, 1_000_000)


@pytest.mark.parametrize("limit", [None, "max", "9223372036854771712"])
def test_without_a_limit_the_machine_counts(tmp_path, limit):
    if limit is not None:
        for name, text in (("memory.max", limit), ("memory.current", "5"), ("memory.stat", "")):
            (tmp_path / name).write_text(text)
    used, total = usage(tmp_path)
    assert total == psutil.virtual_memory().total
    assert 0 < used < total


def test_memory_of_a_process():
    before = anonymous(os.getpid())
    block = b"x" * 50_000_000
    assert 45e6 < anonymous(os.getpid()) - before < 60e6
    assert len(block) == 50_000_000
    assert anonymous(2**22 + 1) == 0


def test_nobody_else_is_ended_while_the_first_gives_its_memory_back(monkeypatch):
    """A process that was killed still counts for a while: a busy machine, or much memory to be freed."""
    sizes = {11: 700, 12: 600}
    ended = []
    monkeypatch.setattr(memory, "anonymous", lambda pid: sizes.get(pid, 0))
    monkeypatch.setenv("RAYJUP_memory_limit_bytes", "1000")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "10")

    def executor(pid: int) -> SimpleNamespace:
        facts = {
            "token": pid,
            "pid": pid,
            "actor_id": b"a",
            "asker": None,
            "lease_id": None,
            "began": float(pid),
        }
        return SimpleNamespace(**facts, restartable=True, doomed=False, told=True, ended=False)

    class Executors:
        def __init__(self) -> None:
            self.all = {pid: executor(pid) for pid in sizes}

        def kill(self, process: SimpleNamespace, why: str) -> None:
            process.doomed = True
            ended.append(process.pid)
            asyncio.get_running_loop().call_later(0.3, self.over, process)

        def over(self, process: SimpleNamespace) -> None:
            process.ended = True
            del sizes[process.pid], self.all[process.pid]

    async def watched() -> None:
        agent = SimpleNamespace(executors=Executors(), name="n", node_id="n")
        watch = asyncio.ensure_future(memory.MemoryWatch(agent).run())
        while len(sizes) == 2:  # noqa: ASYNC110 - what is watched is no coroutine
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        watch.cancel()

    asyncio.run(watched())
    assert ended == [11]
