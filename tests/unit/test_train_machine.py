"""The state machine of training runs: without workers, clocks or threads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayjup.train.controller import machine as m
from rayjup.train.preemption import PreemptionInfo


def started(size: int = 2, **policy: Any) -> m.TrainMachine:
    rules = {"least": size, "most": size, **policy}
    machine = m.TrainMachine(m.Policy(**rules))
    assert isinstance(machine.handle(m.Begin(0.0))[0], m.StartGroup)
    assert machine.handle(m.GroupReady(1, size, 0.0)) == []
    return machine


def reported(
    rank: int, index: int, checkpoint: Any = None, complete: bool = True, attempt: int = 1
) -> m.Reported:
    return m.Reported(attempt, rank, index, {"rank": rank}, checkpoint, complete, 1.0)


def kinds(actions: list[m.Action]) -> list[type]:
    return [type(action) for action in actions]


def failure(rank: int, at: float = 0.0, **more: Any) -> m.Failure:
    return m.Failure(rank, ValueError(f"rank {rank}"), "text", at, **more)


def test_a_report_is_taken_in_when_all_ranks_have_made_it() -> None:
    machine = started()
    assert machine.handle(reported(1, 0, "c")) == []
    release, commit = machine.handle(reported(0, 0))
    assert release == m.Release(0)
    assert commit == m.Commit(0, ({"rank": 0}, {"rank": 1}), "c")


def test_ranks_go_on_before_an_upload_has_ended_and_commits_stay_in_order() -> None:
    machine = started()
    machine.handle(reported(0, 0, complete=False))
    assert machine.handle(reported(1, 0)) == [m.Release(0)]
    machine.handle(reported(0, 1))
    assert machine.handle(reported(1, 1)) == [m.Release(1)]  # waits for the first upload
    commits = machine.handle(reported(0, 0, "c"))
    assert [c.index for c in commits if isinstance(c, m.Commit)] == [0, 1]


def test_a_rank_that_has_returned_keeps_nobody_waiting_and_is_told_of() -> None:
    machine = started()
    machine.handle(m.RankFinished(1, 1, None, 1.0))
    assert kinds(machine.handle(reported(0, 0))) == [m.Release, m.Commit]
    uneven, stop = machine.handle(m.RankFinished(1, 0, "v", 2.0))
    assert isinstance(uneven, m.Uneven) and uneven.counts == {0: 1, 1: 0}
    assert stop == m.StopGroup(1, clean=True)
    assert machine.handle(m.GroupStopped(1, 3.0)) == [m.End(values=("v", None))]
    assert machine.phase is m.Phase.ENDED


def test_a_failure_is_retried_from_what_was_taken_in() -> None:
    machine = started(max_failures=1)
    machine.handle(reported(0, 0, "c"))
    machine.handle(reported(1, 0))
    assert machine.handle(m.RankFailed(1, failure(1, died=True), 5.0)) == []  # others may tell more
    failed, stop = machine.handle(m.Tick(5.6))
    assert isinstance(failed, m.Failed) and failed.retried and stop == m.StopGroup(1, clean=False)
    assert machine.handle(m.GroupStopped(1, 6.0)) == [m.StartGroup(2, 2, 2, first_index=1)]
    machine.handle(m.GroupReady(2, 2, 7.0))
    machine.handle(m.RankFailed(2, failure(0), 8.0))
    failed, _ = machine.handle(m.RankFailed(2, failure(1), 8.1))
    assert isinstance(failed, m.Failed) and not failed.retried
    (end,) = machine.handle(m.GroupStopped(2, 9.0))
    assert isinstance(end, m.End) and [f.rank for f in end.failures] == [0, 1]


def test_the_cause_comes_before_what_follows_from_it() -> None:
    machine = started(3)
    machine.handle(m.RankFailed(1, failure(0, at=1.0, follows=True), 1.0))
    machine.handle(m.RankFailed(1, failure(2, at=2.0), 1.1))
    failed, _ = machine.handle(m.RankFailed(1, failure(1, at=1.5, follows=True), 1.2))
    assert isinstance(failed, m.Failed) and [f.rank for f in failed.failures] == [2, 0, 1]


def test_ranks_that_keep_others_waiting_are_named_once() -> None:
    machine = started(3, behind_s=10.0)
    machine.handle(m.Reported(1, 0, 0, {}, None, True, 100.0))
    assert machine.handle(m.Tick(109.0)) == []
    assert machine.handle(m.Tick(110.0)) == [m.Behind(0, (1, 2), (0,), 10.0)]
    assert machine.handle(m.Tick(200.0)) == []


def test_more_workers_are_taken_right_after_a_checkpoint_only() -> None:
    machine = m.TrainMachine(m.Policy(least=1, most=4, resize_interval_s=5.0))
    machine.handle(m.Begin(0.0))
    machine.handle(m.GroupReady(1, 2, 0.0))
    machine.handle(m.Capacity(3, 10.0))
    machine.handle(m.Reported(1, 0, 0, {}, None, True, 10.0))
    assert m.Resizing not in kinds(machine.handle(m.Reported(1, 1, 0, {}, None, True, 10.0)))
    machine.handle(m.Reported(1, 0, 1, {}, "c", True, 11.0))
    actions = machine.handle(m.Reported(1, 1, 1, {}, None, True, 11.0))
    assert kinds(actions) == [m.Release, m.Commit, m.Resizing, m.StopGroup]
    assert machine.handle(m.GroupStopped(1, 12.0)) == [m.StartGroup(2, 1, 4, first_index=2)]
    assert machine.failures == 0


def test_preemptions_have_an_account_of_their_own() -> None:
    machine = started(max_failures=0, max_preemptions=1)
    info = PreemptionInfo(None, {"n": [1]})
    assert machine.handle(m.Preempted(1, info, 1.0)) == [m.TellPreempted(info)]
    machine.handle(m.RankFailed(1, failure(1, died=True), 2.0))
    failed, _ = machine.handle(m.RankFailed(1, failure(0, follows=True), 2.1))
    assert isinstance(failed, m.Failed) and failed.retried
    assert (machine.failures, machine.preemptions) == (0, 1)


def test_a_group_that_cannot_start_ends_the_run_when_that_is_final() -> None:
    machine = m.TrainMachine(m.Policy())
    machine.handle(m.Begin(0.0))
    assert machine.handle(m.StartFailed(1, "why", False, 1.0)) == [m.StopGroup(1, clean=False)]
    assert kinds(machine.handle(m.GroupStopped(1, 1.0))) == [m.StartGroup]
    machine.handle(m.StartFailed(2, "why", True, 2.0))
    assert machine.handle(m.GroupStopped(2, 3.0)) == [m.End(start_error="why")]


def test_aborting_stops_the_group_whatever_it_does() -> None:
    machine = started()
    assert machine.handle(m.Abort(1.0)) == [m.StopGroup(1, clean=False)]
    assert machine.handle(m.Abort(1.0)) == []
    assert machine.handle(m.GroupStopped(1, 2.0)) == [m.End(aborted=True)]


def test_news_of_an_earlier_group_are_passed_over() -> None:
    machine = started(max_failures=3)
    machine.handle(m.RankFailed(1, failure(0), 1.0))
    machine.handle(m.RankFailed(1, failure(1), 1.0))
    machine.handle(m.GroupStopped(1, 2.0))
    machine.handle(m.GroupReady(2, 2, 3.0))
    assert machine.handle(m.RankFinished(1, 0, None, 4.0)) == []
    assert machine.handle(reported(0, 0, attempt=1)) == []


def test_a_group_needs_workers() -> None:
    with pytest.raises(ValueError, match="0 < least <= most"):
        m.TrainMachine(m.Policy(least=0, most=2))


@settings(max_examples=50, deadline=None)
@given(data=st.data(), size=st.integers(1, 4), retries=st.integers(0, 3))
def test_whatever_happens_reports_are_taken_in_once_in_order_and_the_run_ends(
    data: st.DataObject, size: int, retries: int
) -> None:
    """A world of workers that report, return and fail at random, led by the machine's actions."""
    machine = m.TrainMachine(m.Policy(least=size, most=size, max_failures=retries, grace_s=0.5))
    goal = 3
    commits: list[int] = []
    ends: list[m.End] = []
    next_report: dict[int, int] = {}
    released: set[int] = set()
    alive: set[int] = set()
    attempt = 0
    now = 0.0
    todo: list[m.Event] = [m.Begin(now)]
    failures_seen = 0

    def act(actions: list[m.Action]) -> None:
        nonlocal attempt, failures_seen, now
        for action in actions:
            if isinstance(action, m.StartGroup):
                assert not alive, "a group is started while another one runs"
                attempt = action.attempt
                assert action.first_index == len(commits)
                alive.update(range(size))
                next_report.clear()
                next_report.update(dict.fromkeys(range(size), action.first_index))
                released.clear()
                todo.append(m.GroupReady(attempt, size, now))
            elif isinstance(action, m.StopGroup):
                alive.clear()
                todo.append(m.GroupStopped(attempt, now))
            elif isinstance(action, m.Commit):
                commits.append(action.index)
            elif isinstance(action, m.Release):
                released.add(action.index)
            elif isinstance(action, m.Failed):
                failures_seen += 1
                assert action.retried == (failures_seen <= retries)
            elif isinstance(action, m.End):
                ends.append(action)

    for _ in range(200):
        now += 0.1
        if todo:
            act(machine.handle(todo.pop(0)))
        elif ends:
            break
        elif not alive:
            act(machine.handle(m.Tick(now)))
        else:
            rank = data.draw(st.sampled_from(sorted(alive)))
            index = next_report[rank]
            waits = size > 1 and index > 0 and index - 1 not in released and index > len(commits)
            if data.draw(st.integers(0, 15)) == 0:
                alive.discard(rank)
                act(machine.handle(m.RankFailed(attempt, failure(rank, now), now)))
            elif index >= goal and not waits:
                alive.discard(rank)
                act(machine.handle(m.RankFinished(attempt, rank, rank, now)))
            elif not waits:
                next_report[rank] += 1
                act(machine.handle(m.Reported(attempt, rank, index, {}, None, True, now)))
            else:
                act(machine.handle(m.Tick(now)))
    assert commits == list(range(len(commits)))
    assert len(ends) == 1
    if ends[0].values is not None:
        assert ends[0].values == tuple(range(size)) and commits == list(range(goal))
    else:
        assert ends[0].failures and failures_seen == retries + 1
