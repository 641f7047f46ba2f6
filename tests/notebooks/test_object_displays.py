"""Refs, actors and placement groups as the result of a cell, in a real kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def connected(kernel: Any) -> Any:
    """A kernel connected to a cluster of two CPUs."""
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    kernel.ok("import rayjup as ray, numpy as np, time, gc, weakref")
    return kernel


def shown(ran: Any) -> dict[str, str]:
    (one,) = ran.displays
    assert set(one["data"]) == {"text/plain", "text/html", WIDGET_MIME}
    return one["data"]


def test_a_ref_tells_state_size_and_place(connected: Any) -> None:
    data = shown(connected.ok("ref = ray.put(np.zeros(1_000_000))\nref"))
    assert "ready" in data["text/plain"] and "size 7.6 MiB" in data["text/plain"]
    assert "shared memory of this node" in data["text/html"] and "Snapshot of" in data["text/html"]
    assert "size 8 B" in shown(connected.ok("ray.put(5)"))["text/plain"]
    connected.ok("@ray.remote\ndef fails():\n    raise KeyError('the key')\nbad = fails.remote()")
    connected.ok("ray.wait([bad])")
    failed = shown(connected.ok("bad"))
    assert "failed" in failed["text/plain"] and "KeyError: 'the key'" in failed["text/plain"]
    assert 'class="rj-bad">failed' in failed["text/html"]


def test_a_pending_ref_becomes_ready_before_the_readers_eyes(connected: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    connected.ok(
        "import os\n@ray.remote\ndef slow(path):\n    while not os.path.exists(path):\n"
        "        time.sleep(0.02)\n    return 'x' * 5000"
    )
    first = connected.ok(f"ref = slow.remote({str(gate)!r})\nref")
    assert "pending" in shown(first)["text/plain"] or "running" in shown(first)["text/plain"]
    gate.touch()
    later = connected.ok("ray.wait([ref])\ntime.sleep(1.2)")
    values = [m["content"]["data"].get("state", {}).get("value", "") for m in later.comms]
    assert any("ready" in value and "slow" in value for value in values)
    assert "ready" in later.updates[-1]["data"]["text/plain"]


def test_a_display_keeps_no_ref_alive(connected: Any) -> None:
    connected.ok("ref = ray.put(np.zeros(100_000))\nfrom IPython.display import display\ndisplay(ref)")
    connected.ok("gone = weakref.ref(ref)\ndel ref\ngc.collect()")
    assert connected.ok("print(gone())").text == "None\n"
    # The output that is still there says so after the next cell.
    assert "released" in connected.until(
        "from rayjup.notebook.feed import FEED\nprint(FEED._displays[-1])", "released"
    )


def test_an_actor_tells_state_node_and_calls(connected: Any) -> None:
    connected.ok("class Counter:\n    def ping(self):\n        return 1")
    connected.ok(
        "counter = ray.remote(Counter).options(name='tally').remote()\nray.get(counter.ping.remote())"
    )
    data = shown(connected.ok("counter"))
    assert "Actor Counter 'tally': alive" in data["text/plain"]
    assert "on node-0" in data["text/plain"] and "pending calls 0" in data["text/plain"]
    connected.ok("ray.kill(counter)")
    connected.ok("from rayjup.notebook.feed import FEED")
    assert "dead" in connected.until("print(FEED._displays[-1])", "dead")


def test_a_placement_group_tells_its_bundles(connected: Any) -> None:
    connected.ok("from rayjup.util import placement_group\ngroup = placement_group([{'CPU': 1}, {'CPU': 1}])")
    connected.ok("ray.get(group.ready())")
    text = shown(connected.ok("group"))["text/plain"]
    assert "created, pack" in text and text.count("CPU: 1") == 2 and text.count("node-0") == 2
    connected.ok("big = placement_group([{'CPU': 64}])")
    assert "not placed yet" in shown(connected.ok("big"))["text/plain"]


def test_the_result_of_init_is_the_clusters_display(kernel: Any) -> None:
    data = shown(kernel.ok("import rayjup as ray\nray.init(num_cpus=1)"))
    assert "of 1 CPUs in use" in data["text/html"]
    kernel.ok("ray.shutdown()")


def test_without_a_connection_what_is_known_is_shown_once(connected: Any) -> None:
    connected.ok("ref = ray.put(5)\nhandle = ray.remote(type('A', (), {})).remote()")
    connected.ok("%ray_shutdown")
    ran = connected.ok("ref")
    assert set(ran.displays[0]["data"]) == {"text/plain", "text/html"}
    assert "ready" in ran.displays[0]["data"]["text/plain"]
    assert "unknown" in connected.ok("handle").displays[0]["data"]["text/plain"]


def test_old_displays_are_frozen(connected: Any) -> None:
    connected.ok("from IPython.display import display\nrefs = [ray.put(i) for i in range(105)]")
    ran = connected.ok("for ref in refs:\n    display(ref)")
    assert len(ran.displays) == 105
    frozen = [update for update in ran.updates if WIDGET_MIME not in update["data"]]
    assert len(frozen) == 5
