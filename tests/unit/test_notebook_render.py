"""The cluster display's pure rendering: every size, hostile names, and its cost."""

from __future__ import annotations

import time
from html.parser import HTMLParser
from typing import Any

import pytest

from rayjup.notebook.render import MAX_ROWS, demand_text, render_html, render_text


def node(i: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "node_id": f"id{i}", "name": f"node{i}", "host": "here", "alive": True, "is_head": i == 0,
        "resources_total": {"CPU": 4.0}, "resources_available": {"CPU": 2.5},
        "cpu_percent": 41.7, "mem_used": 3 << 30, "mem_total": 8 << 30,
        "store_used": 200 << 20, "store_capacity": 2 << 30, "store_objects": 7, "executors": 4, "gpus": [],
    } | changes  # fmt: skip


def task(
    name: str = "f", pending: int = 0, running: int = 0, finished: int = 1, failed: int = 0
) -> dict[str, Any]:
    return {"name": name, "pending": pending, "running": running, "finished": finished, "failed": failed}


def actor(i: int = 0, state: str = "ALIVE", **changes: Any) -> dict[str, Any]:
    return {
        "actor_id": f"a{i}", "class_name": "Counter", "name": None, "state": state,
        "node_id": "id0", "pid": 100 + i, "pending": 0,
    } | changes  # fmt: skip


def snapshot(
    nodes: list[Any] | None = None, tasks: Any = (), actors: Any = (), **changes: Any
) -> dict[str, Any]:
    nodes = [node()] if nodes is None else nodes
    return {
        "cluster_id": "c1", "name": "lab", "address": "unix:///x", "time": 1_780_000_000.0,
        "started_by": "notebook", "uptime_s": 90.0, "nodes": nodes, "tasks": list(tasks),
        "actors": list(actors), "resources_total": {"CPU": 4.0}, "resources_available": {"CPU": 2.5},
        "demand": [], "drivers": [],
    } | changes  # fmt: skip


class Page(HTMLParser):
    """The tags, texts and attributes of a fragment; fails on tags that don't nest."""

    VOID = frozenset({"br", "hr", "img", "meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.rows = 0
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.rows += tag == "tr"
        self.titles += [value or "" for key, value in attrs if key == "title"]
        assert not any(key.startswith("on") for key, _ in attrs), attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def test_empty_cluster_has_friendly_lines() -> None:
    empty = snapshot(nodes=[], resources_total={}, resources_available={})
    page = Page(render_html(empty))
    assert page.rows == 0
    for line in ("No nodes have joined yet.", "No tasks yet", "No actors."):
        assert line in page.text
    text = render_text(empty)
    assert "No tasks yet." in text and "No actors." in text and "0 nodes" in text


def test_a_snapshot_with_missing_parts_is_still_shown() -> None:
    assert "0 nodes" in Page(render_html({})).text
    assert "0 nodes" in render_text({})


def test_one_row_of_each() -> None:
    snap = snapshot(tasks=[task("train", 3, 2, 1204, 1)], actors=[actor(5, name="tally", pending=9)])
    page = Page(render_html(snap))
    assert page.rows == 6  # three heads, three bodies
    for piece in (
        "rayjup cluster lab", "1 node", "1.5 of 4 CPUs in use", "up 1 min", "node0 (head)",
        "1.5 of 4, load 42 %", "3.0 GiB of 8.0 GiB", "200 MiB of 2.0 GiB (7)", "train", "1,204",
        "Counter 'tally'", "alive", "105",
    ):  # fmt: skip
        assert piece in page.text, piece
    lines = render_text(snap).splitlines()
    assert lines[0].startswith("rayjup cluster lab: 1 node · 1.5 of 4 CPUs in use")
    assert any(line.split() == ["train", "3", "2", "1204", "1"] for line in lines)
    assert any(line.split() == ["Counter", "'tally'", "alive", "105", "9"] for line in lines)


def test_ten_thousand_rows_are_capped() -> None:
    many = 10_000
    snap = snapshot(
        nodes=[node(i) for i in range(many)],
        tasks=[task(f"f{i}") for i in range(many)],
        actors=[actor(i) for i in range(many)],
    )
    page = Page(render_html(snap))
    assert page.rows == 3 * (MAX_ROWS + 1)
    for noun in ("nodes", "task names", "actors"):
        assert f"… and {many - MAX_ROWS:,} more {noun}" in page.text
    assert len(render_html(snap)) < 40_000
    text = render_text(snap)
    assert len(text.splitlines()) < 3 * MAX_ROWS + 10
    assert "… and 9,980 more actors" in text


def test_rows_at_work_or_failed_come_first_and_dead_actors_last() -> None:
    tasks = [task(f"done{i}") for i in range(100)]
    tasks += [task("busy", running=1), task("queued", pending=1), task("broken", failed=1)]
    actors = [actor(i, "DEAD") for i in range(100)] + [actor(777, "RESTARTING")]
    page = Page(render_html(snapshot(tasks=tasks, actors=actors)))
    names = [title for title in page.titles if title in {t["name"] for t in tasks}]
    assert names[:4] == ["busy", "queued", "broken", "done0"]
    assert len(names) == MAX_ROWS
    assert "restarting" in page.text and "877" in page.text


def test_long_names_are_ellipsized_and_readable_as_title() -> None:
    long = "x" * 500
    html = render_html(snapshot(name=long, tasks=[task(long)], actors=[actor(class_name=long)]))
    assert "text-overflow:ellipsis" in html and "table-layout:fixed" in html
    assert any(long in title for title in Page(html).titles)
    text = render_text(snapshot(name=long, tasks=[task(long)], actors=[actor(class_name=long)]))
    assert max(map(len, text.splitlines())) < 140
    assert "…" in text


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&b'<b>"])
def test_names_are_escaped_everywhere(evil: str) -> None:
    gpu = {"index": 0, "name": evil, "utilization": 1, "mem_used": 1, "mem_total": 2, "temperature": 3}
    snap = snapshot(
        nodes=[node(name=evil, host=evil, node_id=evil, gpus=[gpu]), node(name=evil, alive=False)],
        tasks=[task(evil)],
        actors=[actor(class_name=evil, name=evil, actor_id=evil, node_id=evil, state=evil)],
        name=evil,
        demand=[{"resources": {evil: 1}, "count": 1}],
    )
    page = Page(render_html(snap, status=evil, stamp=True))
    assert {"script", "img", "b"} & set(page.tags) <= {"b"}
    assert page.tags.count("b") == 1  # the headline's own
    assert evil in page.text  # shown as the text it is


def test_gpus_are_rows_below_their_node() -> None:
    gpus = [
        {"index": i, "name": "H200", "utilization": 87.0, "mem_used": 70 << 30, "mem_total": 139 << 30,
         "temperature": None if i else 61.2}
        for i in range(2)
    ]  # fmt: skip
    total = {"CPU": 4.0, "GPU": 2.0}
    snap = snapshot(
        nodes=[node(gpus=gpus)], resources_total=total, resources_available={"CPU": 4.0, "GPU": 0.5}
    )
    page = Page(render_html(snap))
    assert page.rows == 4
    for piece in ("GPU 0 H200", "GPU 1 H200", "87 %", "70.0 GiB of 139 GiB", "61 °C", "1.5 of 2 GPUs in use"):
        assert piece in page.text, piece
    assert "GPU 0 H200: 87 %; memory 70.0 GiB of 139 GiB; 61 °C" in render_text(snap)


def test_many_gpus_of_a_node_are_a_strip() -> None:
    gpus = [
        {"index": i, "name": "H200", "utilization": 10.0 * i, "mem_used": i << 30, "mem_total": 8 << 30,
         "temperature": 50.0}
        for i in range(8)
    ]  # fmt: skip
    html = render_html(snapshot(nodes=[node(gpus=gpus)]))
    page = Page(html)
    assert page.rows == 3 and html.count('class="rj-gpu"') == 8
    assert 'title="GPU 7 H200: 70 %; memory 7.0 GiB of 8.0 GiB; 50 °C"' in html and "height:70%" in html
    assert render_text(snapshot(nodes=[node(gpus=gpus)])).count("GPU ") == 8


def test_bars_stay_within_their_track_and_warn() -> None:
    assert "width:100%" in render_html(snapshot([node(cpu_percent=250.0)]))
    assert "width:0%" in render_html(snapshot([node(mem_total=0)]))
    assert 'class="rj-full"' in render_html(snapshot([node(mem_used=8 << 30)]))
    assert 'class="rj-high"' in render_html(snapshot([node(mem_used=7 << 30)]))
    assert 'class="rj-' not in render_html(snapshot([node()])).split("<tbody>")[1].split("</tbody>")[
        0
    ].replace('class="rj-bar"', "")


def test_status_and_stamp() -> None:
    assert "stopped · 1 node" in render_html(snapshot(), status="stopped")
    stamped = render_html(snapshot(), stamp=True)
    assert "Snapshot of 2026-0" in stamped and "Snapshot of" not in render_html(snapshot())
    assert "Snapshot of 2026-0" in render_text(snapshot(), stamp=True)


def test_waiting_demand_is_named() -> None:
    demand = [{"resources": {"GPU": 2.0, "CPU": 0.5}, "count": 3}]
    assert demand_text(demand) == "3 × {GPU: 2, CPU: 0.5}"
    assert "Waiting for resources: 3 × {GPU: 2, CPU: 0.5}" in render_html(snapshot(demand=demand))
    assert demand_text([{"resources": {"A": 1}, "count": 1}] * 9).endswith("… and 4 more")


def test_a_passing_second_changes_nothing() -> None:
    # Otherwise an idle cluster would send an update every second.
    before = render_html(snapshot(uptime_s=61.0, time=1_780_000_000.0))
    assert before == render_html(snapshot(uptime_s=62.0, time=1_780_000_001.0))


@pytest.mark.parametrize("rows", [1, MAX_ROWS, 10_000])
def test_an_update_costs_at_most_two_milliseconds(rows: int) -> None:
    snap = snapshot(
        nodes=[node(i) for i in range(min(rows, 100))],
        tasks=[task(f"f{i}") for i in range(rows)],
        actors=[actor(i, "DEAD" if i % 2 else "ALIVE") for i in range(rows)],
    )
    best = min(_timed(snap) for _ in range(30))
    assert best <= 0.002, f"{best * 1e3:.2f} ms"


def _timed(snap: dict[str, Any]) -> float:
    began = time.perf_counter()
    render_html(snap)
    return time.perf_counter() - began
