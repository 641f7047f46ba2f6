"""The live cluster display: what a front end receives, and what a saved notebook holds."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
THREADS = "import threading; print([t.name for t in threading.enumerate()])"

WORK = """
import rayjup as ray, time
@ray.remote
def slow_step(i):
    time.sleep(0.2)
    return i
print(sum(ray.get([slow_step.remote(i) for i in range(20)])))
"""

# Two of the tasks run until the file is there.
HOLD = """
import os, time
import rayjup as ray
@ray.remote
def slow_step(i):
    while not os.path.exists(GATE):
        time.sleep(0.02)
    return i
print(sum(ray.get([slow_step.remote(i) for i in range(20)])))
"""

# Processes report their counts about once a second.
COUNTED = """
from rayjup.notebook.feed import FEED
deadline = time.monotonic() + 30
while [task["finished"] for task in FEED.snapshot()["tasks"]] != [20]:
    assert time.monotonic() < deadline, FEED.snapshot()["tasks"]
    time.sleep(0.05)
"""


def live_values(ran: Any) -> list[str]:
    """The HTML values sent to the widget, in order."""
    states = [message["content"]["data"].get("state", {}) for message in ran.comms]
    return [state["value"] for state in states if "value" in state]


def box_of(ran: Any) -> str:
    return ran.displays[0]["data"][WIDGET_MIME]["model_id"]


def test_first_output_has_all_three_forms(kernel: Any) -> None:
    ran = kernel.ok("%ray_init --num-cpus 2")
    data = ran.displays[0]["data"]
    assert set(data) == {"text/plain", "text/html", WIDGET_MIME}
    assert "of 2 CPUs in use" in data["text/html"] and "of 2 CPUs in use" in data["text/plain"]
    assert ran.displays[0]["transient"]["display_id"]
    opened = {
        m["content"]["data"]["state"].get("_model_name") for m in ran.comms if m["msg_type"] == "comm_open"
    }
    assert {"VBoxModel", "HTMLModel"} <= opened


def test_updates_arrive_while_tasks_run(kernel: Any, tmp_path: Path) -> None:
    box = box_of(kernel.ok("%ray_init --num-cpus 2"))
    kernel.report_views(box, 1)

    def shown(ran: Any) -> bool:
        return any("slow_step" in one and "2 of 2 CPUs in use" in one for one in live_values(ran))

    began = time.monotonic()
    ran = held(kernel, tmp_path / "gate", shown)
    took = time.monotonic() - began
    assert ran.text == "190\n"
    values = live_values(ran)
    assert all(a != b for a, b in pairwise(values)), "an update that changes nothing"
    assert len(values) <= took * 4 + 2
    # The saved form follows when the cell has ended, unless it was renewed a moment ago.
    assert len([one for one in ran.updates if "cluster" in str(one["data"].get("text/html", ""))]) <= 1


def held(kernel: Any, gate: Path, until: Callable[[Any], bool]) -> Any:
    """What a cell publishes whose tasks run until it has published that."""
    id = kernel.send(HOLD.replace("GATE", repr(str(gate))))
    ran = kernel.read(id, until)
    gate.touch()
    return kernel.collect(id, ran=ran)


def test_interval_is_obeyed(kernel: Any, tmp_path: Path) -> None:
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    shown = kernel.ok("%ray_status --interval 0.25")
    kernel.report_views(box_of(shown), 1)
    began = time.monotonic()
    values = live_values(held(kernel, tmp_path / "gate", lambda ran: len(live_values(ran)) >= 2))
    took = time.monotonic() - began
    # The engine measures once a second; what changes in between are leases and call counts.
    assert len(values) <= took * 4 + 2


def test_the_thread_lives_only_while_somebody_looks(kernel: Any) -> None:
    shown = kernel.ok("%ray_init --num-cpus 1")
    box = box_of(shown)
    assert "rayjup-displays" in kernel.ok(THREADS).text
    kernel.report_views(box, 1)
    assert "rayjup-displays" in kernel.ok(THREADS).text
    kernel.report_views(box, 0)  # the tab was closed
    assert_gone(kernel)
    kernel.report_views(box, 1)  # and opened again
    kernel.until(THREADS, "rayjup-displays")
    kernel.ok("%ray_shutdown")
    assert_gone(kernel)


def assert_gone(kernel: Any) -> None:
    """Fail unless the thread of the displays ends."""
    kernel.until(
        THREADS + "\nprint('gone' if 'rayjup-displays' not in str(threading.enumerate()) else '')", "gone"
    )


def test_shutdown_leaves_the_last_state_without_widget(kernel: Any) -> None:
    shown = kernel.ok("%ray_init --num-cpus 2")
    kernel.ok(WORK)
    ended = kernel.ok("%ray_shutdown")
    last = ended.updates[-1]
    assert last["transient"]["display_id"] == shown.displays[0]["transient"]["display_id"]
    assert set(last["data"]) == {"text/plain", "text/html"}
    for form in last["data"].values():
        assert "stopped" in form and "slow_step" in form and "Snapshot of" in form
    # A reloaded page no longer finds the output by its display id: there the widget has to say it.
    assert "stopped" in live_values(ended)[-1]


def test_a_quiet_display_rests_and_wakes_with_the_next_cell(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 1 --no-display")
    kernel.ok("from rayjup.notebook.feed import FEED; FEED.quiet_s = 1.0")
    shown = kernel.ok("%ray_status")
    resting = kernel.wait(lambda ran: shown.updates + ran.updates)
    assert [set(u["data"]) for u in shown.updates + resting.updates] == [{"text/plain", "text/html"}]
    after = kernel.listen(3.0)
    assert live_values(after) == [] and after.updates == []
    woken = kernel.ok("pass")
    assert any(WIDGET_MIME in update["data"] for update in woken.updates)


def test_a_dead_cluster_is_shown_as_gone(kernel: Any, clusters: Callable[[], list[Descriptor]]) -> None:
    kernel.ok("%ray_init --num-cpus 1")
    (descriptor,) = clusters()
    manager.stop(descriptor)
    after = kernel.wait(lambda ran: ran.updates and "gone" in ran.updates[-1]["data"]["text/plain"])
    assert WIDGET_MIME not in after.updates[-1]["data"]
    assert_gone(kernel)


def test_many_displays_are_bounded(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 1")
    for _ in range(7):
        kernel.ok("%ray_status")
    assert kernel.ok("from rayjup.notebook.feed import FEED; print(len(FEED._displays))").text == "5\n"
    kernel.ok("%ray_shutdown")


def test_a_display_keeps_no_object_alive(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 1")
    kernel.ok("import gc, weakref, rayjup as ray\nref = ray.put(b'x' * 1_000_000)\nseen = weakref.ref(ref)")
    kernel.ok("%ray_status")
    kernel.ok("from rayjup import notebook\nnotebook.ray_status()")
    assert kernel.ok("del ref\ngc.collect()\nprint(seen())").text == "None\n"
    kernel.ok("%ray_shutdown")


@pytest.mark.parametrize("shuts_down", [True, False])
def test_headless_run_saves_html_and_text(tmp_path: Path, shuts_down: bool) -> None:
    cells = ["%load_ext rayjup\n%ray_init --num-cpus 2 --linger 0", WORK, COUNTED]
    cells += ["%ray_shutdown"] * shuts_down
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (shown,) = (output for output in notebook.cells[0].outputs if output.output_type == "display_data")
    for mime in ("text/html", "text/plain"):
        # The state after the tasks, brought into the output of the first cell by its display id.
        assert "slow_step" in shown.data[mime], shown.data[mime]
        assert re.search(r"\b20\b", shown.data[mime])
    assert ("stopped" in shown.data["text/plain"]) is shuts_down
    assert (WIDGET_MIME in shown.data) is not shuts_down

    notebook.metadata.pop("widgets", None)  # as a viewer without widget support sees it
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "rayjup-cluster" in page and "slow_step" in page


def test_outside_a_kernel_it_is_text(tmp_path: Path) -> None:
    code = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "rayjup")
shell.run_cell("%ray_init --num-cpus 1 --linger 0\\n%ray_shutdown")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "Started cluster" in done.stdout and "1 CPU;" in done.stdout and "Stopped cluster" in done.stdout
    assert "of 1 CPUs in use" in done.stdout
