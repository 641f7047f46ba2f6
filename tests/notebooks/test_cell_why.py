"""Where the time of a cell went: its own code, calls, what these waited for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rayjup.notebook import why, why_render

from .conftest import Kernel

DEFINE = """
import time
import rayjup as ray

@ray.remote
def nap(seconds):
    time.sleep(seconds)

@ray.remote
def fail():
    raise ValueError("no")
"""


# The reason is seen about once a second.
LACKING = """
from rayjup.notebook import cells
ref = nap.options(resources={'license': 1}).remote(0)
spent = cells.current().current.spent
deadline = time.monotonic() + 30
while spent.get("resources", 0) < 1.2:
    assert time.monotonic() < deadline, spent
    ray.wait([ref], timeout=0.5)
"""


def seconds(text: str, phase: str) -> float:
    found = re.search(rf"^  {re.escape(phase)} +(?:(\d+) min )?([\d.]+) s", text, re.MULTILINE)
    return 60 * int(found[1] or 0) + float(found[2]) if found else 0.0


def test_in_a_kernel(kernel: Kernel) -> None:
    assert kernel.run("%ray_why").ename == "ConnectionError"
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    wrong = kernel.run("%ray_why")
    assert wrong.ename == "ValueError" and "no cell has made calls so far" in wrong.evalue
    kernel.ok(DEFINE)
    kernel.ok("ray.get([nap.remote(0), nap.remote(0)])")
    code = """
time.sleep(1)
ray.get([nap.remote(0.5) for _ in range(8)])
try:
    ray.get(fail.remote())
except ValueError:
    pass
"""
    kernel.ok(code)
    kernel.ok("print('no calls')")
    text = kernel.ok("%ray_why --text").text
    head = re.match(
        r"Cell \[\d+\]: ([\d.]+) s, 9 calls; while any ran, (1\.[1-9]|2\.0) did on the average\n", text
    )
    assert head, text
    own = seconds(text, "the notebook's own code, sending and fetching")
    running = seconds(text, "calls running")
    assert own >= 1.0 and running >= 1.9 and own + running <= float(head[1]) + 0.2, text
    nap = r"^  nap +8 +0 +0 +\S+ m?s +\S+ m?s +([5-9]\d\d\.\d ms|[\d.]+ s)"
    assert re.search(nap, text, re.MULTILINE), text
    assert re.search(r"^  fail +1 +1 +0 ", text, re.MULTILINE)
    shown = kernel.ok("%ray_why").displays[0]["data"]
    assert shown["text/plain"].splitlines()[0] == text.splitlines()[0]
    assert "rayjup-why" in shown["text/html"]
    number = int(re.match(r"Cell \[(\d+)\]", text)[1])  # type: ignore[index]
    assert kernel.ok(f"%ray_why {number} --text").text.splitlines()[0] == text.splitlines()[0]
    missing = kernel.run("%ray_why 9999")
    assert missing.ename == "ValueError" and "no cell [9999] is remembered" in missing.evalue
    # Calls that wait for what no node has, in a cell that was interrupted.
    kernel.ok(LACKING)
    text = kernel.ok("%ray_why --text").text
    assert seconds(text, "waiting for resources") > 1.0, text
    assert re.search(r"^  nap +1 +0 +1 ", text, re.MULTILINE)


def row(created: float, start: float | None, end: float | None, **more: Any) -> dict[str, Any]:
    state = "FINISHED" if end is not None else "RUNNING" if start is not None else "PENDING"
    return {"name": "f", "state": state, "created": created, "start": start, "end": end, **more}


def test_the_phases_add_up() -> None:
    marks = [("task:deserialize_arguments", 3.0, 3.5), ("task:execute", 3.5, 6.0)]
    rows = [row(1.0, 3.0, 6.0, marks=marks), row(2.0, 5.0, 8.0)]
    found = why.account(rows, 0.0, 10.0, {})
    assert found.phases == pytest.approx({"own": 3.0, "starting": 2.0, "reading": 0.5, "running": 4.5})
    assert sum(found.phases.values()) == pytest.approx(found.seconds)
    assert found.busy == pytest.approx(2.5 + 3.0)
    calls = found.calls[0]
    assert (calls.count, calls.waited, calls.ran) == (2, [2.0, 3.0], [3.0, 3.0])


def test_reasons_share_the_time_of_waiting() -> None:
    spent = {"environment": 3.0, "resources": 1.0, "running": 5.0}
    found = why.account([row(0.0, 8.0, 9.0)], 0.0, 10.0, spent)
    assert found.phases == pytest.approx({"environment": 6.0, "resources": 2.0, "running": 1.0, "own": 1.0})


def test_what_outlasts_the_cell_counts_up_to_its_end() -> None:
    found = why.account([row(1.0, 2.0, 50.0), row(1.0, None, None)], 0.0, 10.0, {})
    assert found.phases == pytest.approx({"own": 1.0, "starting": 1.0, "running": 8.0})
    assert found.calls[0].unfinished == 1


def test_shown_safely() -> None:
    found = why.account([{**row(1.0, 2.0, 3.0), "name": "<b>"}], 0.0, 10.0, {})
    html = why_render.as_html("Cell [1]", found)
    assert "&lt;b&gt;" in html and "<b></td>" not in html
    assert "%" in why_render.as_text("Cell [1]", found)
