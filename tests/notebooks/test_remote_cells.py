"""Cells that run on the cluster: ``%%ray_remote`` and ``%%ray_map`` in a real kernel."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest


@pytest.fixture
def connected(kernel: Any) -> Any:
    """A kernel connected to a cluster of two CPUs."""
    kernel.ok("%ray_init --num-cpus 2 --no-display")
    return kernel


def test_a_cell_sees_the_notebook_and_brings_variables_back(connected: Any) -> None:
    connected.ok("import math, os\nfactor = 3\ndef grow(x):\n    return x * factor\nhere = os.getpid()")
    ran = connected.ok(
        "%%ray_remote --num-cpus 1 --out grown,where\n"
        "where = os.getpid()\ngrown = [grow(x) for x in range(4)]\nmath.sqrt(16) + len(grown)"
    )
    assert ran.results == ["8.0"]
    assert connected.ok("print(grown, where != here)").text == "[0, 3, 6, 9] True\n"
    # What is not named does not come back.
    assert "x" not in connected.ok("print(sorted(n for n in globals() if n == 'x'))").text


def test_errors_show_the_lines_of_the_cell(connected: Any) -> None:
    ran = connected.run("%%ray_remote\nfirst = 1\n\ndef broken(x):\n    return x / 0\n\nbroken(first)")
    assert ran.ename == "RayTaskError(ZeroDivisionError)"
    shown = "\n".join(ran.traceback)
    assert "on the cluster>" in shown and "return x / 0" in shown and "line 5" in shown
    assert "line 7" in shown and "broken(first)" in shown
    assert "rayjup/notebook" not in shown
    # The exception is an ordinary one for the notebook's own code.
    assert connected.ok("import sys; print(isinstance(sys.last_value, ZeroDivisionError))").text == "True\n"


def test_lines_of_functions_from_other_cells_are_shown(connected: Any) -> None:
    connected.ok("def helper(x):\n    return 1 / x  # here it breaks")
    ran = connected.run("%%ray_remote\nhelper(0)")
    shown = "\n".join(ran.traceback)
    assert "# here it breaks" in shown and "helper(0)" in shown
    remote = connected.run("import rayjup as ray\nray.get(ray.remote(helper).remote(0))")
    assert "# here it breaks" in "\n".join(remote.traceback).rpartition("RayTaskError")[2]
    source = "import inspect\nprint(ray.get(ray.remote(lambda: inspect.getsource(helper)).remote()))"
    assert connected.ok(source).text.startswith("def helper(x):\n    return 1 / x")


def test_a_syntax_error_is_found_before_anything_runs(connected: Any) -> None:
    ran = connected.run("%%ray_remote\ngood = 1\nbad =\n")
    assert ran.ename == "SyntaxError" and "line 3" in ran.evalue


def test_a_missing_variable_is_named(connected: Any) -> None:
    ran = connected.run("%%ray_remote --out result\nother = 1")
    assert "did not set result" in "\n".join(ran.traceback)
    assert "no name of a variable" in connected.run("%%ray_remote --out 'a b'\n1").evalue


def test_an_actor_keeps_the_variables_of_its_cells(connected: Any) -> None:
    connected.ok("step = 2")
    connected.ok("%%ray_remote --actor lab\nimport os\ncount = 10\npid = os.getpid()")
    ran = connected.ok("%%ray_remote --actor lab --out count\ncount += step\ncount, pid == os.getpid()")
    assert ran.results == ["(12, True)"]
    # The notebook's own variables are sent anew; those of the actor stay the actor's.
    connected.ok("step = 5\ncount = 1000")
    assert connected.ok("%%ray_remote --actor lab\ncount += step\ncount").results == ["17"]
    failed = connected.run("%%ray_remote --actor lab\ncount / 0")
    assert failed.ename == "RayTaskError(ZeroDivisionError)"
    assert connected.ok("%%ray_remote --actor lab\ncount").results == ["17"]
    assert "lab" in connected.ok("%ray_status --text").text


def test_map_runs_the_cell_per_item(connected: Any) -> None:
    connected.ok("factor = 10")
    assert connected.ok("%%ray_map x in range(5) --quiet\ny = x * factor\ny + 1").results == [
        "[1, 11, 21, 31, 41]"
    ]
    ran = connected.ok("%%ray_map word in 'a bc def'.split() --into sizes --out word,size\nsize = len(word)")
    assert ran.results == [] and len(ran.displays) == 1
    assert "3 of 3 items" in (ran.updates or ran.displays)[-1]["data"]["text/plain"]
    assert connected.ok("print(sizes)").text == "[('a', 1), ('bc', 2), ('def', 3)]\n"


def test_map_names_the_failing_item(connected: Any) -> None:
    ran = connected.run("%%ray_map x in [4, 2, 0, 1] --quiet\n8 / x")
    shown = "\n".join(ran.traceback)
    assert ran.ename == "RayTaskError(ZeroDivisionError)" and "for item 2: 0" in shown and "8 / x" in shown
    connected.ok("%%ray_map x in [4, 0] --keep-errors --into kept\n8 / x")
    assert connected.ok("print(kept[0], type(kept[1]).__name__)").text.startswith("2.0 RayTaskError")
    assert "write %%ray_map in its first line" in connected.run("%ray_map x in [1]").text
    assert "needs items" in connected.run("%%ray_map --quiet\n1").text


def test_an_interrupt_ends_the_cell_and_its_task(connected: Any) -> None:
    message = connected.send("%%ray_remote\nimport time\ntime.sleep(100)")
    deadline = time.monotonic() + 30
    from rayjup import observe
    from rayjup.cluster import descriptors

    (descriptor,) = descriptors.list_clusters()
    view = observe.ClusterView(descriptor)
    while view.snapshot()["resources_available"].get("CPU") != 1.0:
        assert time.monotonic() < deadline, "the task didn't start"
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(connected.pid, signal.SIGINT)
    ran = connected.collect(message)
    assert ran.ename == "KeyboardInterrupt" and time.monotonic() - began < 40
    deadline = time.monotonic() + 30
    while view.snapshot()["resources_available"].get("CPU") != 2.0:
        assert time.monotonic() < deadline, "the task still holds its CPU"
        time.sleep(0.02)
    view.close()


def test_python_twins(connected: Any) -> None:
    connected.ok("from rayjup import notebook")
    code = "print(notebook.run_cell('b = a + 1', {'a': 1}, out=['b']))"
    assert connected.ok(code).text == "(None, {'b': 2})\n"
    assert connected.ok("print(notebook.map_cell('i * 2', 'i', [1, 2], {}))").text == "[2, 4]\n"
    wrong = connected.run("notebook.map_cell('i', 'i', [1], {}, errors='ignore')")
    assert wrong.ename == "ValueError" and '"keep" goes on' in wrong.evalue
