"""Printed lines on their way to the driver, and what it shows of them."""

from __future__ import annotations

import io

from rayjup.core.driver_logs import Deduplicator, ProgramOutput
from rayjup.engine.executor.logs import _MAX_LINE, _MAX_WAITING, LineBuffer


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def texts(shown):
    return [line for _, _, line in shown]


# ---------------------------------------------------------------- gathering


def test_lines_of_one_origin_are_gathered():
    lines = LineBuffer(None)
    lines.add("stdout", "f pid=1", None, ["a"])
    lines.add("stdout", "f pid=1", None, ["b", "c"])
    lines.add("stderr", "f pid=1", None, ["d"])
    lines.add("stdout", "f pid=1", 7, ["e"])
    assert lines.take() == [
        ("stdout", "f pid=1", None, ["a", "b", "c"], 0),
        ("stderr", "f pid=1", None, ["d"], 0),
        ("stdout", "f pid=1", 7, ["e"], 0),
    ]
    assert not lines.waits() and lines.take() == []


def test_too_many_waiting_lines_are_counted_and_left_out():
    lines = LineBuffer(None)
    lines.add("stdout", "f", None, ["x"] * (_MAX_WAITING + 5))
    lines.add("stdout", "f", None, ["y"])
    first, last = lines.take()
    assert len(first[3]) == _MAX_WAITING and first[4] == 0
    assert last == ("stdout", "f", None, [], 6)
    lines.add("stdout", "f", None, ["z"])
    assert lines.take() == [("stdout", "f", None, ["z"], 0)]


def test_a_rate_lets_two_seconds_worth_through_at_once_and_refills():
    clock = Clock()
    lines = LineBuffer(10, clock)
    lines.add("stdout", "f", None, ["x"] * 100)
    assert [(len(c[3]), c[4]) for c in lines.take()] == [(20, 0), (0, 80)]
    clock.now += 0.5
    lines.add("stdout", "f", None, ["x"] * 3)
    lines.add("stdout", "f", None, ["y"] * 4)
    chunks = lines.take()
    assert sum(len(c[3]) for c in chunks) == 5 and sum(c[4] for c in chunks) == 2


def test_a_line_without_end_is_cut():
    lines = LineBuffer(None)
    lines.add("stdout", "f", None, ["x" * (2 * _MAX_LINE)])
    assert len(lines.take()[0][3][0]) == _MAX_LINE


# ---------------------------------------------------------------- the same line of many processes


def test_the_same_line_of_other_processes_is_shown_once_with_their_number():
    seen = Deduplicator(5.0)
    assert texts(seen.add(0, "stdout", "f pid=1", ["step 1 of 10"])) == ["step 1 of 10"]
    for pid in range(2, 6):
        assert seen.add(1, "stdout", f"f pid={pid}", [f"step {pid} of 10"]) == []
    assert seen.next_due == 5.0
    (shown,) = seen.due(5.0)
    assert shown[1] == "f pid=5" and shown[2].startswith("step 5 of 10 [repeated 4x across cluster] (")
    assert seen.due(20.0) == [] and seen.next_due is None
    assert texts(seen.add(30, "stdout", "f pid=2", ["step 2 of 10"])) == ["step 2 of 10"]


def test_what_one_process_repeats_is_shown():
    seen = Deduplicator(5.0)
    shown = [texts(seen.add(t, "stdout", "f pid=1", [f"loss {t / 10}"])) for t in range(4)]
    assert shown == [["loss 0.0"], ["loss 0.1"], ["loss 0.2"], ["loss 0.3"]]


def test_a_single_repetition_has_no_note_and_the_explanation_comes_once():
    seen = Deduplicator(5.0)
    seen.add(0, "stdout", "a", ["x"])
    seen.add(0, "stdout", "b", ["x"])
    assert texts(seen.due(5)) == ["x"]
    for start in (10, 20):
        seen.add(start, "stdout", "a", ["y"])
        seen.add(start, "stdout", "b", ["y", "y"])
        last = texts(seen.due(start + 5))
        assert len(last) == 1 and ("RAY_DEDUP_LOGS" in last[0]) == (start == 10)
        seen.due(start + 10)


def test_empty_lines_and_patterns():
    seen = Deduplicator(5.0, never="^keep", drop="noise")
    for title in ("a", "b"):
        assert texts(seen.add(0, "stdout", title, ["", "keep me", "noise"])) == ["", "keep me"]


def test_output_of_a_program(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    shown = ProgramOutput()
    for pid in (1, 2, 3):
        shown(("stdout", f"f pid={pid}", None, ["hello"], 0))
    shown(("stderr", "g pid=4", None, ["oh"], 1234))
    shown.close()
    assert out.getvalue().splitlines()[0] == "(f pid=1) hello"
    assert out.getvalue().splitlines()[1].startswith("(f pid=3) hello [repeated 2x across cluster]")
    assert err.getvalue().splitlines()[0].startswith("(g pid=4) … 1,234 lines left out")
    assert err.getvalue().splitlines()[1] == "(g pid=4) oh"
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    out.truncate(0)
    shown = ProgramOutput()
    for pid in (1, 2):
        shown(("stdout", f"f pid={pid}", None, ["hello"], 0))
    assert out.getvalue().count("hello") == 2
