"""Tables as data and as HTML and text: every kind of value, sorting, many rows, hostile names."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rayjup.notebook.table import (
    KINDS,
    Column,
    Table,
    render_table_html,
    render_table_text,
    sparkline_svg,
    sparkline_text,
    wrap_html,
)

COLUMNS = [
    Column("name", "trial"),
    Column("state", "state", kind="state"),
    Column("loss", "loss", kind="number"),
    Column("size", "size", kind="bytes"),
    Column("load", "load", kind="percent"),
    Column("took", "time", kind="seconds"),
    Column("curve", "loss", kind="spark"),
]


def row(i: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "name": f"trial-{i}", "state": "RUNNING", "loss": 0.123456, "size": 3 << 20,
        "load": 41.7, "took": 3.2,
        "curve": [3.0, 2.0, 1.5],
    } | changes  # fmt: skip


def test_values_are_shown_by_their_kind() -> None:
    text = render_table_text(Table(COLUMNS, [row(), row(1, loss=12_345, took=300.0)], title="trials"))
    title, head, first, second = text.splitlines()
    assert title == "trials" and head.split()[:3] == ["trial", "state", "loss"]
    assert first.split()[:8] == ["trial-0", "running", "0.1235", "3.0", "MiB", "42", "%", "3.20"]
    assert "12,345" in second and "5.0 min" in second and "█" in second
    # Columns are aligned: numbers end where their title ends.
    assert first.index("0.1235") + 6 == head.index("loss") + 4


def test_missing_values_and_no_rows() -> None:
    empty = Table(COLUMNS, [], empty="No trials yet.")
    assert render_table_text(empty) == "No trials yet." and "No trials yet." in render_table_html(empty)
    bare = Table(COLUMNS, [{"name": "a"}])
    assert render_table_text(bare).splitlines()[1].strip() == "a"
    assert render_table_html(bare).count("<td") == len(COLUMNS)


def test_sorting() -> None:
    table = Table(COLUMNS, [row(0, loss=2), row(1, loss=None), row(2, loss=1)])
    table.sort_by("loss")
    assert [r["name"] for r in table.ordered()] == ["trial-2", "trial-0", "trial-1"]
    table.sort_by("loss")
    assert [r["name"] for r in table.ordered()] == ["trial-0", "trial-2", "trial-1"]
    assert "loss ▾" in render_table_html(table)
    table.sort_by("curve")  # by the last value
    assert len(table.ordered()) == 3
    mixed = Table(COLUMNS, [row(0, loss="n/a"), row(1, loss=3)], sort="loss")
    assert [r["name"] for r in mixed.ordered()] == ["trial-1", "trial-0"]
    with pytest.raises(ValueError, match=r"no column 'colour' to sort by: it has name, state"):
        Table(COLUMNS, [row()], title="trials", sort="colour").ordered()


def test_a_wrong_kind_is_named() -> None:
    with pytest.raises(ValueError, match=r"there is no kind 'date'; choose one of text, state"):
        Column("when", "when", kind="date")
    assert set(KINDS) >= {column.kind for column in COLUMNS}


def test_names_are_shown_as_the_text_they_are() -> None:
    evil = '<script>alert("x")</script>' + "y" * 500
    html = render_table_html(Table([Column("name", evil)], [{"name": evil}], title=evil, empty=evil))
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert len(max(render_table_text(Table([Column("n", "n")], [{"n": evil}])).splitlines(), key=len)) < 60


def test_ten_thousand_rows_cost_little() -> None:
    rows = [row(i, loss=i % 977) for i in range(10_000)]
    table = Table(COLUMNS, rows)
    html = render_table_html(table)
    assert "… and 9,980 more" in html and len(html) < 40_000
    assert "… and 9,980 more" in render_table_text(table)

    def cost() -> float:
        began = time.perf_counter()
        render_table_html(table)
        return time.perf_counter() - began

    assert min(cost() for _ in range(10)) <= 0.002
    table.sort = "loss"
    assert min(cost() for _ in range(3)) <= 0.02


def test_sparklines() -> None:
    svg = sparkline_svg([1.0, None, 3.0, 2.0])
    assert svg.count("<polyline") == 2 and 'aria-label="from 1 to 3"' in svg
    assert sparkline_text([0.0, 1.0, 2.0]) == "▁▄█" and sparkline_text([5, 5]) == "▁▁"
    assert sparkline_svg([]) == "" and sparkline_text([None]) == ""
    assert sparkline_svg(list(range(10_000))).count(",") == 40


def test_the_frame_carries_the_style_and_the_time() -> None:
    html = wrap_html(["<p>x</p>"], {"time": 0.0})
    assert html.startswith("<style>") and "Snapshot of 19" in html and "<p>x</p>" in html
