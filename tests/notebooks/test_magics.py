"""The magics in a real kernel, on real clusters."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor

Clusters = Callable[[], list[Descriptor]]


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        ("ray_init", ["--num-cpus", "--num-gpus", "--address", "--name", "--linger", "Running it again"]),
        ("ray_status", ["--interval", "--text", "stays live"]),
        ("ray_shutdown", ["stop the cluster if this notebook started it"]),
    ],
)
def test_help_explains_and_does_nothing(
    kernel: Any, clusters: Clusters, magic: str, words: list[str]
) -> None:
    ran = kernel.ok(f"%{magic} --help")
    assert f"%{magic}" in ran.text
    for word in words:
        assert word in " ".join(ran.text.split()), word
    assert clusters() == [] and ran.displays == []


def test_init_status_and_shutdown(kernel: Any, clusters: Clusters) -> None:
    started = kernel.ok("%ray_init --num-cpus 2")
    (descriptor,) = clusters()
    assert started.text.startswith(f"Started cluster '{descriptor.name}' (1 node, 2 CPUs;")
    assert descriptor.started_by == "notebook" and descriptor.linger_s == 20
    assert len(started.displays) == 1

    work = "import rayjup as ray\nprint(ray.get(ray.remote(lambda x: x + 1).remote(41)))"
    assert kernel.ok(work).text == "42\n"

    status = kernel.ok("%ray_status --text")
    assert f"rayjup cluster {descriptor.name}: 1 node" in status.text and "of 2 CPUs" in status.text
    assert len(kernel.ok("%ray_status").displays) == 1

    stopped = kernel.ok("%ray_shutdown")
    assert stopped.text == f"Stopped cluster '{descriptor.name}'.\n"
    assert clusters() == [] and not descriptor.is_alive()
    assert kernel.ok("print(ray.is_initialized())").text == "False\n"
    assert "nothing to shut down" in kernel.ok("%ray_shutdown").text


def test_init_again_joins_and_says_so(kernel: Any, clusters: Clusters) -> None:
    kernel.ok("%ray_init --num-cpus 2")
    (first,) = clusters()
    again = kernel.ok("%ray_init --num-cpus 2")
    assert f"Joined cluster '{first.name}' again" in again.text
    assert "not applied" not in again.text
    assert [d.cluster_id for d in clusters()] == [first.cluster_id]
    other_size = kernel.ok("%ray_init --num-cpus 3")
    assert "num_cpus not applied to a running cluster, run %ray_shutdown first" in other_size.text
    kernel.ok("%ray_shutdown")


def test_a_cluster_started_elsewhere_is_joined_and_left_running(kernel: Any, clusters: Clusters) -> None:
    theirs = manager.start("shared", num_cpus=1)
    try:
        assert "Joined cluster 'shared'" in kernel.ok("%ray_init --name shared").text
        assert "Left cluster 'shared'; it goes on running" in kernel.ok("%ray_shutdown").text
        assert theirs.is_alive()
        assert "Joined cluster 'shared'" in kernel.ok(f"%ray_init --address {theirs.cluster_id}").text
        other = kernel.run("%ray_init --address somewhere-else")
        assert other.ename == "RuntimeError" and "run %ray_shutdown first" in other.evalue
        assert kernel.ok("%ray_status --text").text.startswith("rayjup cluster shared: ")
        kernel.ok("%ray_shutdown")
        assert theirs.is_alive()
    finally:
        manager.stop(theirs)


def test_name_starts_a_cluster_of_that_name(kernel: Any, clusters: Clusters) -> None:
    assert "Started cluster 'mine'" in kernel.ok("%ray_init --name mine --num-cpus 1 --linger 5").text
    (descriptor,) = clusters()
    assert (descriptor.name, descriptor.linger_s) == ("mine", 5)
    assert "Stopped cluster 'mine'" in kernel.ok("%ray_shutdown").text


def test_wrong_calls_say_what_to_do(kernel: Any, clusters: Clusters) -> None:
    both = kernel.run("%ray_init --address x --num-cpus 2")
    assert both.ename == "ValueError" and "drop one of them" in both.evalue
    assert "UsageError" in kernel.run("%ray_init --cpus").text
    assert "must be 0 or more" in kernel.run("%ray_init --linger -1").evalue
    status = kernel.run("%ray_status")
    assert status.ename == "ConnectionError" and "run %ray_init first" in status.evalue
    kernel.ok("%ray_init --num-cpus 1 --no-display")
    assert "at least 0.25 s" in kernel.run("%ray_status --interval 0.1").evalue
    kernel.ok("%ray_shutdown")
    assert clusters() == []


def test_python_twins_do_the_same(kernel: Any, clusters: Clusters) -> None:
    kernel.ok("from rayjup import notebook")
    started = kernel.ok("notebook.ray_init(num_cpus=1, linger_s=3)")
    assert started.text.startswith("Started cluster") and len(started.displays) == 1
    assert clusters()[0].linger_s == 3
    assert "of 1 CPUs in use" in kernel.ok("print(notebook.ray_status())").text
    assert kernel.ok("notebook.ray_shutdown()").text.startswith("Stopped cluster")
    assert clusters() == []


def test_a_restarted_kernel_finds_its_cluster_again(
    start_kernel: Callable[..., Any], clusters: Clusters
) -> None:
    kernel = start_kernel(JPY_SESSION_NAME="/home/me/my study.ipynb")
    kernel.ok("%load_ext rayjup")
    kernel.ok("%ray_init --num-cpus 1 --linger 100")  # for as long as a kernel may take to start again
    (first,) = clusters()
    assert first.name.startswith("my study-")
    kernel.restart()
    kernel.ok("%load_ext rayjup")
    again = kernel.ok("%ray_init --num-cpus 1")
    assert f"Found this notebook's cluster again and joined it: '{first.name}'" in again.text
    assert [d.cluster_id for d in clusters()] == [first.cluster_id]
    # It is still this notebook's own, so shutting down stops it.
    assert "Stopped cluster" in kernel.ok("%ray_shutdown").text
    assert clusters() == []


def test_a_connection_made_by_init_is_taken_over(kernel: Any, clusters: Clusters) -> None:
    kernel.ok("import rayjup as ray; ray.init(num_cpus=1)")
    joined = kernel.ok("%ray_init")
    assert "this notebook was already connected to it" in joined.text and len(joined.displays) == 1
    assert "of 1 CPUs in use" in kernel.ok("%ray_status --text").text
    kernel.ok("%ray_shutdown")
    assert kernel.ok("print(ray.is_initialized())").text == "False\n"


def test_a_killed_cluster_is_noticed_and_replaced(kernel: Any, clusters: Clusters) -> None:
    kernel.ok("%ray_init --num-cpus 1")
    (first,) = clusters()
    manager.stop(first)
    text = kernel.ok("%ray_init --num-cpus 1").text
    assert f"Cluster '{first.name}' is gone." in text and "Started cluster" in text
    assert kernel.ok("import rayjup as ray; print(ray.get(ray.remote(lambda: 7).remote()))").text == "7\n"
    kernel.ok("%ray_shutdown")


def test_loading_the_extension_is_cheap(start_kernel: Callable[..., Any]) -> None:
    code = """
import sys, time, json
began = time.thread_time()  # what else runs on the machine is no fault of the extension
get_ipython().run_line_magic("load_ext", "rayjup")
took = time.thread_time() - began
heavy = [name for name in ("distributed", "dask", "ipywidgets", "numpy") if name in sys.modules]
print(json.dumps([took, heavy]))
"""
    took, heavy = min(json.loads(start_kernel().ok(code).text) for _ in range(3))
    assert heavy == []
    assert took <= 0.150, f"{took * 1e3:.0f} ms"


def test_the_extension_can_be_unloaded(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 1")
    kernel.ok("%unload_ext rayjup")
    kernel.until("import threading; print('rayjup-displays' in str(threading.enumerate()))", "False")
    assert "not found" in kernel.run("%ray_status").text
    # The connection is no part of the extension.
    kernel.ok("import rayjup; assert rayjup.is_initialized(); rayjup.shutdown()")
