"""An interrupt ends what its cell has launched, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .conftest import Kernel, Ran

PROMPT_S = 10.0  # half a second where nothing else runs, see benchmarks/notebook.py

DEFINE = """
import os, time
import rayjup as ray

@ray.remote
def nap(seconds):
    time.sleep(seconds)
    return "slept"

@ray.remote
def hold(path):
    while not os.path.exists(path):
        time.sleep(0.02)
    return "held"

@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.n = 0
    def add(self):
        self.n += 1
        return self.n
"""


def connected(kernel: Kernel) -> Kernel:
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    kernel.ok(DEFINE)
    return kernel


def interrupted(kernel: Kernel, code: str, after_s: float = 0.7) -> tuple[Ran, float]:
    """Run a cell that prints ``begun``, interrupt it, and see how long it then takes to end."""
    id = kernel.send(code)
    ran = Ran()
    while "begun" not in ran.text:
        kernel.note(kernel.client.get_iopub_msg(timeout=30), ran)
    time.sleep(after_s)  # let it get into what it is to be interrupted in
    began = time.monotonic()
    kernel.manager.interrupt_kernel()
    rest = kernel.collect(id)
    took = time.monotonic() - began
    rest.text = ran.text + rest.text
    return rest, took


def test_in_get_with_many_queued(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("counter = Counter.remote()\nprint(ray.get(counter.add.remote()))")
    code = "refs = [nap.remote(100) for _ in range(10_000)]\nprint('begun')\nray.get(refs)"
    ran, took = interrupted(kernel, code)
    assert ran.ename == "KeyboardInterrupt"
    assert "Interrupted; cancelled 10,000 calls (10,000 × nap) of this cell. Actors stay." in ran.text
    assert took < PROMPT_S
    # The next cell works at once, on the CPUs that the cell has held, and the actor is still there.
    began = time.monotonic()
    assert kernel.ok("print(ray.get([nap.remote(0), counter.add.remote()]))").text == "['slept', 2]\n"
    assert time.monotonic() - began < PROMPT_S
    text = kernel.ok(
        """
kinds = set()
for ref in refs:
    try:
        ray.get(ref)
    except Exception as error:
        kinds.add(type(error).__name__)
print(kinds)
"""
    ).text
    assert text == "{'TaskCancelledError'}\n"


def test_in_plain_code(kernel: Kernel) -> None:
    connected(kernel)
    ran, took = interrupted(
        kernel, "ref = nap.remote(100)\nprint('begun')\nn = 0\nwhile True:\n    n += 1", after_s=0.3
    )
    assert ran.ename == "KeyboardInterrupt" and took < PROMPT_S
    assert "Interrupted; cancelled 1 call (nap) of this cell." in ran.text
    assert kernel.ok("print(ray.get(nap.remote(0)))").text == "slept\n"


def test_calls_of_other_cells_go_on(kernel: Kernel, tmp_path: Path) -> None:
    connected(kernel)
    kernel.ok(f"earlier = hold.remote({str(tmp_path / 'go')!r})")
    ran, _ = interrupted(kernel, "mine = nap.remote(100)\nprint('begun')\nray.get(mine)", after_s=0.3)
    assert "cancelled 1 call (nap)" in ran.text
    (tmp_path / "go").touch()
    assert kernel.ok("print(ray.get(earlier))").text == "held\n"


def test_calls_made_by_tasks_are_cancelled_with_it(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("@ray.remote\ndef parent():\n    return ray.get(nap.remote(100))")
    ran, took = interrupted(kernel, "ref = parent.remote()\nprint('begun')\nray.get(ref)", after_s=1.5)
    assert "cancelled 1 call (parent)" in ran.text and took < PROMPT_S
    # Both CPUs are free again: neither parent nor child runs on.
    began = time.monotonic()
    assert "slept" in kernel.ok("print(ray.get([nap.options(num_cpus=2).remote(0)]))").text
    assert time.monotonic() - began < PROMPT_S


def test_they_may_be_left_running(kernel: Kernel, tmp_path: Path) -> None:
    kernel.ok("%ray_init --num-cpus 2 --no-display --on-interrupt leave")
    kernel.ok(DEFINE)
    wait = f"ref = hold.remote({str(tmp_path / 'go')!r})\nprint('begun')\nray.get(ref)"
    ran, _ = interrupted(kernel, wait, after_s=0.3)
    assert ran.ename == "KeyboardInterrupt"
    assert "Interrupted; 1 call (hold) of this cell run on." in ran.text
    (tmp_path / "go").touch()
    assert kernel.ok("print(ray.get(ref))").text == "held\n"
    kernel.ok("import rayjup\nrayjup.notebook.on_interrupt = 'stop'")
    (tmp_path / "go").unlink()
    ran, _ = interrupted(kernel, wait, after_s=0.3)
    assert "Nothing was cancelled: rayjup.notebook.on_interrupt is 'stop': it must be 'cancel'" in ran.text
    (tmp_path / "go").touch()


def test_an_interrupt_without_calls_says_nothing(kernel: Kernel) -> None:
    ran, _ = interrupted(kernel, "import time\nprint('begun')\ntime.sleep(100)", after_s=0.2)
    assert ran.ename == "KeyboardInterrupt" and ran.text == "begun\n"


def test_cells_run_by_cells_belong_to_them(kernel: Kernel) -> None:
    connected(kernel)
    code = """
get_ipython().run_cell("inner = nap.remote(100)")
outer = nap.remote(100)
print('begun')
ray.get(outer)
"""
    ran, _ = interrupted(kernel, code, after_s=0.3)
    assert "cancelled 2 calls (2 × nap)" in ran.text


def test_nothing_is_left_after_unloading(kernel: Kernel) -> None:
    connected(kernel)
    kernel.ok("%unload_ext rayjup")
    text: Any = kernel.ok(
        """
from rayjup.base import notebook
from rayjup.notebook import cells
print(notebook.cell, notebook.on_connected, cells.current())
"""
    ).text
    assert text == "None None None\n"
    kernel.ok("%load_ext rayjup")
    assert "Cells object" in kernel.ok("print(cells.current())").text


def test_in_a_cell_with_await(kernel: Kernel) -> None:
    connected(kernel)
    ran, took = interrupted(kernel, "ref = nap.remote(100)\nprint('begun')\nawait ref")
    assert ran.ename in ("KeyboardInterrupt", "CancelledError") and took < PROMPT_S
    assert "Interrupted; cancelled 1 call (nap) of this cell." in ran.text
