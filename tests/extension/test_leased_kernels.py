"""The kernel on the cluster as JupyterLab's server starts and ends it; what a user is told when it fails."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
import rayjup_kernels
from support.clusters import poll
from tornado.httpclient import HTTPClientError

from rayjup import observe
from rayjup.cluster import descriptors, manager

Fetch = Callable[..., Awaitable[Any]]


@pytest.fixture
def kernels(jp_serverapp: Any, jp_data_dir: Path) -> Callable[..., None]:
    """Adds a kernel to those the server offers."""

    def add(name: str, **config: Any) -> None:
        home = jp_data_dir / "kernels" / name
        home.mkdir(parents=True)
        spec = rayjup_kernels.kernel_json(sys.executable, name, on_cluster=config)
        (home / "kernel.json").write_text(json.dumps(spec))

    return add


def free_cpus(cluster: descriptors.Descriptor) -> float:
    view = observe.ClusterView(cluster)
    try:
        return float(view.snapshot()["resources_available"].get("CPU", 0.0))
    finally:
        view.close()


async def post(jp_fetch: Fetch, name: str) -> Any:
    body = json.dumps({"name": name})
    response = await jp_fetch("api", "kernels", method="POST", body=body, request_timeout=60)
    return json.loads(response.body)


async def test_the_server_runs_it(jp_fetch: Fetch, kernels: Callable[..., None]) -> None:
    cluster = manager.start("lab", num_cpus=2)
    kernels("leased", cluster="lab", num_cpus=2)
    listed = json.loads((await jp_fetch("api", "kernelspecs")).body)["kernelspecs"]
    assert listed["leased"]["spec"]["display_name"] == "leased"
    kernel = await post(jp_fetch, "leased")
    assert free_cpus(cluster) == 0.0
    await jp_fetch("api", "kernels", kernel["id"], "interrupt", method="POST", allow_nonstandard_methods=True)
    restart = jp_fetch(
        "api", "kernels", kernel["id"], "restart",
        method="POST", allow_nonstandard_methods=True, request_timeout=60,
    )  # fmt: skip
    assert (await restart).code == 200 and free_cpus(cluster) == 0.0
    ended = await jp_fetch("api", "kernels", kernel["id"], method="DELETE", request_timeout=60)
    assert ended.code == 204
    deadline = time.monotonic() + 40
    while free_cpus(cluster) != 2.0:
        assert time.monotonic() < deadline, "the lease was not given back"
        await asyncio.sleep(0.05)


async def test_a_failed_launch_is_explained_to_the_user(
    jp_fetch: Fetch, kernels: Callable[..., None]
) -> None:
    manager.start("lab", num_cpus=1)
    kernels("huge", cluster="lab", num_cpus=64, launch_timeout=1.0)
    with pytest.raises(HTTPClientError) as failed:
        await post(jp_fetch, "huge")
    told = json.loads(failed.value.response.body)["message"]  # what JupyterLab's dialog shows
    assert "no room for this kernel" in told and "1 of 1 CPU free" in told


def test_a_console_talks_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``jupyter console``, in a terminal of its own."""
    home = tmp_path / "kernels" / "leased"
    home.mkdir(parents=True)
    spec = rayjup_kernels.kernel_json(sys.executable, "leased", on_cluster={"cluster": "lab", "num_cpus": 1})
    (home / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    cluster = manager.start("lab", num_cpus=2)
    command = [sys.executable, "-m", "jupyter_console", "--kernel", "leased", "--simple-prompt"]
    console = pexpect.spawn(command[0], command[1:], encoding="utf-8", timeout=60, dimensions=(40, 200))
    try:
        console.expect_exact("In [1]: ")
        console.sendline(
            "import os, rayjup; _ = rayjup.init('lab'); rayjup.get(rayjup.remote(lambda: 6 * 7).remote())"
        )
        console.expect(r"Out\[1\]: .*42")
        poll(lambda: free_cpus(cluster) == 1.0, 30)  # the one of the task is given back a moment later
        console.sendline("exit()")
        console.expect(pexpect.EOF)
    finally:
        console.close(force=True)
        manager.stop(cluster)
