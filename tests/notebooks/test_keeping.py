"""Values that survive a kernel restart, and what a restarted kernel is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def study(start_kernel: Callable[..., Any]) -> Any:
    """A kernel of a named notebook, connected to its own cluster."""
    kernel = start_kernel(JPY_SESSION_NAME="/home/me/study.ipynb")
    kernel.ok("%load_ext rayjup")
    # It lives on for as long as a kernel may take to start again.
    kernel.ok("%ray_init --num-cpus 1 --linger 100 --no-display")
    kernel.ok("import rayjup as ray\nfrom rayjup.notebook import attach, forget, keep, kept")
    return kernel


def test_a_kept_value_survives_the_kernel(study: Any) -> None:
    study.ok("import numpy as np\nref = ray.put(np.arange(200_000))")
    study.ok('keep(ref, "features")\nkeep({"lr": 0.1}, "settings")')
    study.restart()
    study.ok("%load_ext rayjup")
    again = study.ok("%ray_init --num-cpus 1 --no-display")
    assert "Alive from before: kept value 'features', kept value 'settings'." in again.text
    study.ok("import rayjup as ray\nfrom rayjup.notebook import attach, kept")
    assert study.ok("print(ray.get(attach('features')).sum(), ray.get(attach('settings')))").text == (
        "19999900000 {'lr': 0.1}\n"
    )
    # It can go on as an argument like any other ref.
    code = "print(ray.get(ray.remote(lambda x: int(x[-1])).remote(attach('features'))))"
    assert study.ok(code).text == "199999\n"
    study.ok("%ray_shutdown")


def test_actors_alive_are_listed_after_a_restart(study: Any) -> None:
    study.ok("class Board:\n    def ping(self):\n        return 1")
    study.ok("b = ray.remote(Board).options(name='board', lifetime='detached', num_cpus=0).remote()")
    study.ok("print(ray.get(b.ping.remote()))")
    study.restart()
    study.ok("%load_ext rayjup")
    assert "actor 'board' (Board)" in study.ok("%ray_init --no-display").text
    study.ok("%ray_shutdown")


def test_listing_replacing_and_forgetting(study: Any) -> None:
    assert "Nothing is kept" in study.ok("print(kept())").text
    study.ok("import numpy as np\nkeep(np.zeros((100, 50)), 'grid')")
    listed = study.ok("attach()").text or study.ok("print(attach())").text
    assert "grid" in listed and "numpy.ndarray (100, 50)" in listed and "39.2 KiB" in listed
    twice = study.run("keep(1, 'grid')")
    assert "overwrite=True" in "\n".join(twice.traceback)
    study.ok("keep(1, 'grid', overwrite=True)")
    assert study.ok("print(ray.get(attach('grid')))").text == "1\n"
    assert study.ok("print(forget('grid'), forget('grid'))").text == "True False\n"
    missing = study.run("attach('grid')")
    assert missing.ename == "KeyError" and "kept: nothing" in missing.evalue
    assert "needs a name" in study.run("keep(1, '')").evalue
    study.ok("%ray_shutdown")


def test_attach_magic(study: Any) -> None:
    study.ok("keep([1, 2], 'my list')")
    assert "my list" in study.ok("%ray_attach").displays[0]["data"]["text/plain"]
    assert "my_list is the ref" in study.ok("%ray_attach 'my list'").text
    assert study.ok("print(ray.get(my_list))").text == "[1, 2]\n"
    study.ok("%ray_attach 'my list' --into numbers")
    assert study.ok("print(ray.get(numbers))").text == "[1, 2]\n"
    study.ok("%ray_shutdown")


def test_without_a_cluster(kernel: Any) -> None:
    kernel.ok("from rayjup.notebook import attach, keep")
    assert "run %ray_init first" in kernel.run("attach()").evalue
