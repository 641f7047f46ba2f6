"""Trials as parallel coordinates."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from rayjup.runs.parallel import parallel_coordinates


def lines(drawing: str) -> list[list[tuple[float, float]]]:
    svg = ElementTree.fromstring(drawing)
    found = [line.attrib["points"].split() for line in svg.iter("polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in points)] for points in found]


def test_axes_and_lines_lie_where_the_values_say() -> None:
    trials = [
        ({"lr": 0.001, "act": "relu"}, 3.0),
        ({"lr": 0.1, "act": "tanh"}, 1.0),
        ({"lr": 0.01, "act": "tanh"}, 2.0),
    ]
    worst, middle, best = lines(parallel_coordinates(trials, "loss"))
    bottom, top = 188.0, 34.0
    assert [y for _, y in worst] == [bottom, bottom, top], "the least rate, 'relu', the largest loss"
    assert [y for _, y in best] == [top, top, bottom]
    assert [y for _, y in middle] == [(bottom + top) / 2, top, (bottom + top) / 2], (
        "rates lie on a logarithmic axis"
    )
    assert len({x for x, _ in worst}) == 3


def test_the_best_is_drawn_last_and_strongest() -> None:
    trials = [({"x": i}, float(i)) for i in range(4)]
    for mode, best in (("min", 0), ("max", 3)):
        drawn = re.findall(
            r'stroke-opacity="(.*?)" stroke-width="(\d)"><title>x=(\d)',
            parallel_coordinates(trials, "y", mode),
        )
        assert drawn[-1] == ("1.00", "2", str(best))
        assert drawn[0][:2] == ("0.12", "1")


def test_what_says_nothing_is_left_out() -> None:
    assert parallel_coordinates([({"x": 1}, 1.0)], "y") == "", "one trial"
    assert parallel_coordinates([({"x": 1}, 1.0), ({"x": 1}, 2.0)], "y") == "", "no parameter that differs"
    assert parallel_coordinates([({"x": 1}, float("nan")), ({"x": 2}, 2.0)], "y") == ""
    names = re.findall(
        r"bold\">(.*?)<",
        parallel_coordinates([({"x": i, "same": 0, "id": f"n{i}"}, i) for i in range(20)], "y"),
    )
    assert names == ["x", "y"], "texts that are all different have no axis"


def test_missing_values_and_long_or_dangerous_names() -> None:
    trials = [
        ({"x": 1, "<b>only some have this one</b>": 4.0}, 1.0),
        ({"x": 2}, 2.0),
        ({"x": 3, "<b>only some have this one</b>": 5.0}, 2.0),
    ]
    drawing = parallel_coordinates(trials, "y")
    assert "<b>" not in drawing and "&lt;b&gt;only some ha…" in drawing
    assert sorted(len(line) for line in lines(drawing)) == [2, 3, 3]
