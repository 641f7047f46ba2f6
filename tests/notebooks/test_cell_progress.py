"""A cell that waits says for how much, how far that is, and what keeps it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayjup.notebook import waiting_render as render

from .conftest import Kernel, Ran

DEFINE = """
import os, time
import rayjup as ray

@ray.remote
def nap(seconds, fail=False):
    time.sleep(seconds)
    if fail:
        raise ValueError("failed")

def until_there(path):
    while not os.path.exists(path):
        time.sleep(0.02)

@ray.remote
def hold(path):
    until_there(path)

@ray.remote(num_cpus=0)
class Worker:
    def work(self, path):
        until_there(path)
"""


def connected(kernel: Kernel, options: str = "--num-cpus 2") -> Kernel:
    kernel.ok(f"%ray_init {options} --no-display")
    kernel.ok(DEFINE)
    kernel.ok("ray.get([nap.remote(0), nap.remote(0)])")  # processes are there
    return kernel


def lines(ran: Ran) -> list[str]:
    """What the cell's line on progress has said, one after the other."""
    found = [content for content in (*ran.displays, *ran.updates) if "rayjup-progress" in _html(content)]
    assert len({content["transient"]["display_id"] for content in found}) <= 1
    assert sum(content in ran.displays for content in found) <= 1
    return [content["data"]["text/plain"] for content in found]


def held(kernel: Kernel, code: str, gate: Path, until: Callable[[list[str]], object]) -> list[str]:
    """What the line of a cell says that waits for ``gate``, which is there once the line is ``until``."""
    id = kernel.send(code)
    ran = kernel.read(id, lambda ran: until(lines(ran)))
    gate.touch()
    return lines(kernel.collect(id, ran=ran))


def _html(content: dict[str, Any]) -> str:
    return str(content["data"].get("text/html", ""))


def test_waiting_for_what_a_generator_yields(kernel: Kernel) -> None:
    connected(kernel)
    ran = kernel.ok(
        "@ray.remote\n"
        "def slowly():\n"
        "    for item in range(2):\n"
        "        time.sleep(0.6)\n"
        "        yield item\n"
        "generator = slowly.remote()\n"
        "ready, _ = ray.wait([generator, nap.remote(1.5)], num_returns=2)\n"
        "assert ray.get(next(generator)) == 0\n"
    )
    assert lines(ran) and "Traceback" not in ran.text  # the thread that counts goes on


def test_many_calls(kernel: Kernel) -> None:
    connected(kernel)
    ran = kernel.ok("ray.get([nap.remote(0.1) for _ in range(40)])")
    said = lines(ran)
    pattern = r"(\d+) of 40 calls · 2 running, (\d+) waiting · .* s · .*/s, .* left"
    found = [match for match in (re.fullmatch(pattern, line) for line in said) if match]
    assert found and all(int(match[1]) + int(match[2]) + 2 == 40 for match in found), said
    took = re.fullmatch(r"40 calls in (?:(\d+) min )?([\d.]+) s \(.*/s\)", said[-1])
    assert took and 2 <= len(said) <= 4 * (60 * int(took[1] or 0) + float(took[2])) + 2
    html = _html(ran.updates[-1])
    assert 'title="running' in html and "<progress" not in html
    assert "<progress" in _html(ran.displays[0])
    assert not lines(kernel.listen(0.6))


def test_short_waits_say_nothing(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("from rayjup.notebook import waiting\nwaiting.APPEARS_AFTER_S = 30")
    ran = kernel.ok("ray.get([nap.remote(0.4) for _ in range(4)])")
    assert not lines(ran) and not ran.displays


def test_one_after_the_other(kernel: Kernel) -> None:
    connected(kernel)
    said = lines(kernel.ok("refs = [nap.remote(0.1) for _ in range(20)]\nfor ref in refs: ray.get(ref)"))
    assert "of 20 calls" in said[0] and said[-1].startswith("20 calls in")
    loop = """
left = [nap.remote(0.1, fail=n == 3) for n in range(20)]
while left:
    ready, left = ray.wait(left)
"""
    said = lines(kernel.ok(loop))
    assert "of 20 calls" in said[0]
    assert said[-1].startswith("20 calls in") and said[-1].endswith(", 1 failed")


def test_calls_of_an_earlier_cell(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel)
    gate = tmp_path / "gate"
    kernel.ok(f"refs = [hold.remote({str(gate)!r}) for _ in range(12)]")
    said = held(kernel, "ray.get(refs)", gate, bool)
    assert "of 12 calls" in said[0] and said[-1].startswith("12 calls in")


def test_what_keeps_them(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel)
    gate = tmp_path / "gate"
    why = "no node has 1 CPU, 1 license (the most: 2 CPU, 0 license)"
    id = kernel.send("ray.get(nap.options(resources={'license': 1}).remote(0))")
    kernel.read(id, lambda ran: any(why in line for line in lines(ran)))
    kernel.manager.interrupt_kernel()
    assert kernel.collect(id).ename == "KeyboardInterrupt"
    kernel.ok(f"first = [hold.remote({str(gate)!r}) for _ in range(2)]\nray.wait(first, timeout=0.2)")
    said = held(kernel, "ray.get(nap.options(num_cpus=2).remote(0))", gate, lambda said: len(said) > 3)
    assert said[-1].startswith("1 call in ")


def test_actors_and_a_single_call(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel)
    gate = tmp_path / "gate"
    code = f"worker = Worker.remote()\nray.get(worker.work.remote({str(gate)!r}))"
    said = held(kernel, code, gate, lambda said: any(line.startswith("1 call running · ") for line in said))
    assert re.fullmatch(r"1 call in [\d.]+ s", said[-1])


def test_an_interrupt_ends_it(kernel: Kernel) -> None:
    connected(kernel)
    id = kernel.send("ray.get([nap.remote(100) for _ in range(10)])")
    ran = kernel.read(id, lines)
    kernel.manager.interrupt_kernel()
    ran = kernel.collect(id, ran=ran)
    assert re.fullmatch(r"Interrupted after 0 of 10 calls and [\d.]+ s", lines(ran)[-1])


def test_it_can_be_switched_off(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("import rayjup.notebook\nrayjup.notebook.show_progress = False")
    assert not lines(kernel.ok("ray.get(nap.remote(1.2))"))


def test_map_shows_its_own(kernel: Kernel) -> None:
    connected(kernel)
    ran = kernel.ok("%%ray_map n in range(8)\nimport time\ntime.sleep(0.3)")
    assert not lines(ran) and "<progress" in _html(ran.displays[0])


def test_no_ref_is_kept(kernel: Kernel) -> None:
    connected(kernel)
    code = """
import weakref
refs = [nap.remote(0.3) for _ in range(8)]
ray.get(refs)
seen = weakref.ref(refs[0])
del refs
deadline = time.monotonic() + 30  # a thread looks at what is waited for, and lets go at its next turn
while seen() is not None and time.monotonic() < deadline:
    time.sleep(0.05)
print(seen())
"""
    assert kernel.ok(code).text == "None\n"


def test_texts() -> None:
    counts = render.Counts(total=10, done=4, failed=1, running=2)
    assert render.progress_text(counts, 75, 0.5, "why") == (
        "4 of 10 calls · 2 running, 4 waiting, 1 failed · 1 min 15 s · 0.5/s, 12.0 s left · why"
    )
    assert render.finished_text(counts, 2, True) == "Interrupted after 4 of 10 calls and 2.0 s"
    assert render.finished_text(counts, 2, False) == "4 of 10 calls in 2.0 s (2.0/s), 1 failed"
    node = {"resources_total": {"CPU": 2.0}, "resources_available": {"CPU": 1.0}}
    snapshot: dict[str, Any] = {"nodes": [node], "resources_available": {"CPU": 1.0}}
    wanted = [{"resources": {"CPU": 2.0}, "count": 1}]
    assert render.obstacle({**snapshot, "demand": wanted}, 0) == (
        "resources",
        "waits for 2 CPU (free: 1 CPU)",
    )
    building = [{"state": "BUILDING", "runtime_env": {"pip": ["x"]}}]
    assert render.obstacle({**snapshot, "runtime_envs": building}, 0) == (
        "environment",
        "the runtime environment (pip) is being built",
    )
    actor = [{"class_name": "A", "state": "PENDING_CREATION", "pending": 1}]
    assert render.obstacle({**snapshot, "actors": actor}, 0)[1] == "the actor A is being made"
    assert render.obstacle(snapshot, 3)[0] == "arguments"
    assert render.obstacle(snapshot, 0)[0] == "starting"
