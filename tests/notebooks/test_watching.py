"""``%ray_top``, ``%ray_timeline`` and ``%ray_debug`` in a real kernel."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"

WORK = """
import rayjup as ray, time
@ray.remote
def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))
    return 1
@ray.remote(num_cpus=0)
class Holder:
    def fill(self, n):
        self.data = bytearray(n)
holder = Holder.options(name="holder").remote()
ray.get(holder.fill.remote(200_000_000))
print(sum(ray.get([burn.remote(0.2) for _ in range(4)])))
"""


BUSY = """
import os
import rayjup as ray
@ray.remote
def burn():
    while not os.path.exists({!r}):
        sum(range(1000))
ray.get([burn.remote() for _ in range(2)])
"""

# Processes report their counts about once a second.
COUNTED = """
from rayjup.notebook.feed import FEED
from rayjup.notebook.session import watched
watched()
deadline = time.monotonic() + 30
while [task["finished"] for task in FEED.snapshot()["tasks"] if task["name"] == "burn"] != [4]:
    assert time.monotonic() < deadline, FEED.snapshot()["tasks"]
    time.sleep(0.05)
"""


@pytest.fixture
def connected(kernel: Any) -> Any:
    """A kernel connected to a cluster of two CPUs."""
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    return kernel


def test_top_shows_tasks_and_processes(connected: Any) -> None:
    connected.ok(WORK)
    connected.ok(COUNTED)
    deadline = time.monotonic() + 30
    while True:  # memory is measured about once a second
        text = connected.ok("%ray_top --text --sort memory").text
        lines = text.splitlines()
        first = lines[lines.index("processes") + 2]  # the largest first
        if "Holder 'holder'" in first and "alive" in first and "MiB" in first:
            break
        assert time.monotonic() < deadline, text
        time.sleep(0.2)
    burn = next(line.split() for line in lines if line.split()[:1] == ["burn"])
    assert burn[1:5] == ["0", "0", "4", "0"]
    assert sum(("tasks" in line and "idle" in line) or "working" in line for line in lines) >= 1
    assert "this kernel" in text


def test_top_is_live_and_sorts_on_a_click(connected: Any) -> None:
    connected.ok(WORK)
    ran = connected.ok("from rayjup.notebook import ray_top\ntop = ray_top()\ntop")
    data = ran.displays[0]["data"]
    assert WIDGET_MIME in data and "Holder" in data["text/html"] and "<svg" in data["text/html"]
    opened = [m["content"] for m in ran.comms if m["msg_type"] == "comm_open"]
    buttons = {
        o["data"]["state"]["description"]: o["comm_id"]
        for o in opened
        if o["data"]["state"].get("_model_name") == "ButtonModel"
    }
    assert {"task", "memory", "CPU"} <= set(buttons)
    click = {"method": "custom", "content": {"event": "click"}}
    for _ in range(2):
        connected.client.shell_channel.send(
            connected.client.session.msg("comm_msg", {"comm_id": buttons["memory"], "data": click})
        )
    assert "memory True" in connected.until("print(top._tables[1].sort, top._tables[1].descending)", "True")
    # The order is kept when new numbers arrive.
    connected.ok("import time; time.sleep(1.3)")
    assert connected.ok("print(top._tables[1].sort, top._tables[1].descending)").text == "memory True\n"
    assert "there is no column" in connected.run("top.sort_by('colour')").evalue


def test_top_measures_who_works(connected: Any, tmp_path: Path) -> None:
    connected.ok("%ray_top")
    gate = tmp_path / "gate"
    message = connected.send(BUSY.format(str(gate)))

    def working(ran: Any) -> bool:
        values = [m["content"]["data"].get("state", {}).get("value", "") for m in ran.comms]
        return any("working" in value for value in values if isinstance(value, str))

    ran = connected.read(message, working)
    gate.touch()
    assert not connected.collect(message, ran=ran).ename


@pytest.mark.parametrize("magic", ["ray_top", "ray_timeline", "ray_debug"])
def test_help_and_no_cluster(kernel: Any, magic: str) -> None:
    assert f"%{magic}" in kernel.ok(f"%{magic} --help").text
    ran = kernel.run(f"%{magic}")
    assert ran.ename == "ConnectionError" and "run %ray_init first" in ran.evalue


def test_timeline(connected: Any, tmp_path: Path) -> None:
    connected.ok(WORK)
    trace = tmp_path / "trace.json"
    connected.until("print(sum('burn' in str(event) for event in ray.timeline()) > 3)", "True")
    data = connected.ok(f"%ray_timeline {trace}").displays[0]["data"]
    assert "<svg" in data["text/html"] and "burn" in data["text/plain"]
    assert any(event.get("ph") == "X" for event in json.loads(trace.read_text()))


FAIL = """
import rayjup as ray
@ray.remote
def outer(n):
    total = n + 1
    return inner(total)
def inner(value):
    secret = value * 7
    raise ValueError("broken")
ray.get(outer.remote(5))
"""


def test_debugging_a_failed_call(connected: Any) -> None:
    off = connected.run(FAIL)
    assert off.ename == "RayTaskError(ValueError)"
    gone = connected.run("%ray_debug")
    assert gone.ename == "LookupError" and "Run %ray_debug on" in gone.evalue
    assert "kept from now on" in connected.ok("%ray_debug on").text
    connected.run(FAIL)
    ran = connected.ok("%ray_debug --commands 'p secret; up; p total; where'")
    assert "(Pdb) p secret\n42\n" in ran.text and "(Pdb) p total\n6\n" in ran.text
    # The lines of the cells are known where they ran, though they are in no file.
    assert 'raise ValueError("broken")' in ran.text and "return inner(total)" in ran.text
    # The frames stay for another look, and go when it is switched off.
    assert "42" in connected.ok("%ray_debug --commands 'p secret'").text
    connected.ok("%ray_debug off")
    deadline = time.monotonic() + 30
    while connected.run("%ray_debug --commands 'p 1'").ename != "LookupError":
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_debugging_interactively(connected: Any) -> None:
    connected.ok("%ray_debug on")
    connected.run(FAIL)
    message = connected.client.execute("%ray_debug", allow_stdin=True)
    for line in ("p secret", "q"):
        asked = connected.client.get_stdin_msg(timeout=60)
        assert asked["content"]["prompt"] == "(Pdb) "
        connected.client.input(line)
    assert "42" in connected.collect(message).text
    headless = connected.run("%ray_debug")
    assert "%ray_debug --commands" in headless.evalue
    connected.run("1 / 0")
    wrong = connected.run("%ray_debug")
    assert wrong.ename == "ValueError" and "ZeroDivisionError did not happen there" in wrong.evalue
