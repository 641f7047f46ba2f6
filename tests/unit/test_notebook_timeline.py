"""The picture of a timeline: bounded however many events there are, readable without a kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rayjup.notebook.timeline import MAX_BARS, MAX_LANES, TimelineDisplay, lanes_svg, summary_text


def event(name: str, begin_s: float, took_s: float, lane: int = 0) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "ts": begin_s * 1e6,
        "dur": took_s * 1e6,
        "pid": "node",
        "tid": f"worker:{lane}",
    }


def bars(svg: str) -> int:
    return svg.count("<rect")


def test_one_bar_per_event_in_the_lane_of_its_process() -> None:
    events = [event("load", 0, 1), event("train", 1, 2), event("train", 0.5, 1, lane=1)]
    svg = lanes_svg(events)
    assert bars(svg) == 3 and svg.count(">worker ") == 2
    assert "<title>train</title>" in svg and "3.00 s</text>" in svg
    # The same name has the same colour in both lanes.
    train = set(re.findall(r'fill="(hsl[^"]+)"><title>train', svg))
    load = set(re.findall(r'fill="(hsl[^"]+)"><title>load', svg))
    assert len(train) == 1 and train != load
    text = summary_text(events)
    assert text.startswith("3 events in 2 lanes over 3.00 s") and "train" in text and "3.00 s" in text


def test_phases_of_a_call_are_left_out_and_ids_are_short() -> None:
    worker = "worker:" + "376fd8ff" * 7
    events = [event("train", 0, 1), event("task:execute", 0, 1), event("submit_task", 0, 0.1)]
    events = [{**one, "tid": worker} for one in events]
    shown = TimelineDisplay(events)
    assert len(shown.bars) == 1 and ">worker 376fd8<" in shown._repr_mimebundle_()["text/html"]
    two = [events[0], {**events[0], "pid": "other"}]
    assert ">other worker 376fd8<" in lanes_svg(two)


def test_nothing_has_happened_yet() -> None:
    assert "nothing on the timeline" in repr(TimelineDisplay([]))
    # Other phases (names of processes) are no bars.
    assert "nothing on the timeline" in lanes_svg(TimelineDisplay([{"ph": "M", "name": "x"}]).bars)


def test_many_short_events_become_few_bars() -> None:
    events = [event(f"f{i % 3}", i * 1e-4, 5e-5, lane=i % 8) for i in range(100_000)]
    svg = lanes_svg(events)
    assert bars(svg) <= MAX_BARS and len(svg) < 500_000
    assert " × " in svg
    assert summary_text(events).startswith("100,000 events in 8 lanes")


def test_many_lanes_and_events_on_top_of_each_other() -> None:
    svg = lanes_svg([event("f", 0, 1, lane=i) for i in range(500)])
    assert bars(svg) == MAX_LANES and "… and 460 more lanes" in svg
    assert bars(lanes_svg([event("f", 0, 1) for _ in range(5000)])) <= MAX_BARS


def test_names_are_escaped_and_the_file_is_named(tmp_path: Path) -> None:
    shown = TimelineDisplay([event("<script>", 0, 1)], tmp_path / "trace.json")
    bundle = shown._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"] and "trace.json" in bundle["text/html"]
    assert "trace.json" in bundle["text/plain"]
    json.dumps(bundle)
