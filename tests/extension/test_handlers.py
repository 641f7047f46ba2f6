"""The REST endpoints, on real clusters."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rayjup.cluster import descriptors, manager
from rayjup.cluster.descriptors import process_start_time

Api = Callable[..., Awaitable[tuple[int, Any]]]


async def test_no_cluster(api: Api) -> None:
    assert await api("GET", "clusters") == (200, {"clusters": [], "starting": []})


async def test_life_of_a_cluster(api: Api, jp_fetch: Any, jp_base_url: str) -> None:
    created = await jp_fetch(
        "rayjup",
        "clusters",
        method="POST",
        body=json.dumps({"name": "tour", "num_cpus": 2}),
        request_timeout=60,
    )
    assert created.code == 201
    summary = json.loads(created.body)
    assert created.headers["Location"] == f"{jp_base_url}rayjup/clusters/{summary['cluster_id']}"
    assert (summary["name"], summary["state"], summary["nodes"]) == ("tour", "running", 1)
    assert summary["resources"]["CPU"] == 2.0

    descriptor = descriptors.find("tour")
    assert descriptor is not None and descriptor.cluster_id == summary["cluster_id"]
    assert (descriptor.started_by, descriptor.linger_s) == ("panel", 12 * 3600.0)
    # Paths of sockets and whatever else the descriptor holds stay on the server.
    assert descriptor.agent_socket not in {str(value) for value in summary.values()}

    cluster_id = summary["cluster_id"]
    status, listing = await api("GET", "clusters")
    assert (status, [c["cluster_id"] for c in listing["clusters"]]) == (200, [cluster_id])
    assert (await api("GET", "clusters", cluster_id))[1]["name"] == "tour"

    status, snapshot = await api("GET", "clusters", cluster_id, "snapshot")
    assert (status, snapshot["cluster_id"], snapshot["resources_total"]["CPU"]) == (200, cluster_id, 2.0)
    (node,) = snapshot["nodes"]
    assert node["alive"] and node["is_head"]
    deadline = time.monotonic() + 30
    while not (node["mem_total"] > node["mem_used"] > 0 and node["store_capacity"] > 0):
        assert time.monotonic() < deadline, f"the node was not measured within 30 s: {node}"
        await asyncio.sleep(0.1)
        (node,) = (await api("GET", "clusters", cluster_id, "snapshot"))[1]["nodes"]

    assert await api("DELETE", "clusters", cluster_id) == (204, None)
    assert process_start_time(descriptor.head_pid) != descriptor.head_start_time
    assert await api("GET", "clusters") == (200, {"clusters": [], "starting": []})
    for method, rest in (("GET", ()), ("DELETE", ()), ("GET", ("snapshot",))):
        status, body = await api(method, "clusters", cluster_id, *rest)
        assert status == 404
        assert cluster_id in body["message"] and "GET /rayjup/clusters" in body["message"]


@pytest.mark.parametrize(
    ("body", "field", "text"),
    [
        ({"name": "with space"}, "name", "64 letters"),
        ({"name": "x" * 65}, "name", "64 letters"),
        ({"name": "../../etc/passwd"}, "name", "64 letters"),
        ({"name": "line\n"}, "name", "64 letters"),
        ({"name": 7}, "name", "64 letters"),
        ({"num_cpus": "2"}, "num_cpus", "must be a number"),
        ({"num_cpus": True}, "num_cpus", "must be a number"),
        ({"num_cpus": -1}, "num_cpus", "between 0 and"),
        ('{"num_cpus": NaN}', "num_cpus", "must be a number"),
        ('{"num_gpus": 1e999}', "num_gpus", "must be a number"),
        ({"num_gpus": [1]}, "num_gpus", "must be a number"),
        ({"object_store_memory": 1.5}, "object_store_memory", "whole number of bytes"),
        ({"object_store_memory": 10}, "object_store_memory", "1 MiB"),
        ({"num_cpu": 2}, "num_cpu", "known are name, num_cpus"),
        ([1, 2], None, "JSON object"),
        ("{", None, "not JSON"),
    ],
)
async def test_bad_requests_name_the_field_and_start_nothing(
    api: Api, body: Any, field: str | None, text: str
) -> None:
    status, reply = await api("POST", "clusters", body=body)
    assert (status, reply.get("field")) == (400, field)
    assert text in reply["message"]
    assert descriptors.list_clusters() == []


async def test_two_requests_at_once_for_one_name_start_one_cluster(api: Api) -> None:
    replies = await asyncio.gather(*(api("POST", "clusters", body={"name": "only"}) for _ in range(2)))
    assert sorted(status for status, _ in replies) == [201, 409]
    refusal = next(reply for status, reply in replies if status == 409)
    assert refusal["field"] == "name" and "'only'" in refusal["message"]
    assert len(descriptors.list_clusters()) == 1


class TestLimit:
    @pytest.fixture
    def lab_config(self) -> dict[str, Any]:
        return {"default_num_cpus": 1, "max_clusters": 1, "linger_s": 60.0}

    async def test_counts_the_clusters_of_the_user(self, api: Api) -> None:
        elsewhere = manager.start("from-a-shell", num_cpus=1)
        status, reply = await api("POST", "clusters")
        assert status == 409 and "RayjupExtension.max_clusters" in reply["message"]
        manager.stop(elsewhere.cluster_id)
        status, summary = await api("POST", "clusters")
        assert (status, summary["linger_s"], summary["resources"]["CPU"]) == (201, 60.0, 1.0)


async def test_clusters_started_elsewhere_are_seen_and_can_be_spared(api: Api) -> None:
    elsewhere = manager.start("from-a-shell", num_cpus=1)
    _, mine = await api("POST", "clusters", body={"name": "from-the-panel"})
    _, listing = await api("GET", "clusters")
    assert [(c["name"], c["started_by"]) for c in listing["clusters"]] == [
        ("from-a-shell", "python"),
        ("from-the-panel", "panel"),
    ]
    assert await api("DELETE", "clusters", started_by="panel") == (200, {"stopped": [mine["cluster_id"]]})
    assert await api("DELETE", "clusters") == (200, {"stopped": [elsewhere.cluster_id]})
    assert descriptors.list_clusters() == []


async def test_a_failed_start_says_why(api: Api) -> None:
    # No descriptor can be written where the directory should be: the start fails for real.
    directory = descriptors.runtime_dir()
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.write_text("in the way")
    status, reply = await api("POST", "clusters")
    directory.unlink()
    assert status == 500
    assert reply["message"].startswith("The cluster could not be started: ")
    assert len(reply["message"]) > len("The cluster could not be started: ")
    assert await api("GET", "clusters") == (200, {"clusters": [], "starting": []})


async def test_a_killed_cluster_leaves_the_list(api: Api) -> None:
    _, summary = await api("POST", "clusters")
    descriptor = descriptors.find(summary["cluster_id"])
    assert descriptor is not None
    for pid in (descriptor.head_pid, descriptor.extra["node_pid"]):  # the node would start another head
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while (await api("GET", "clusters"))[1]["clusters"]:
        assert time.monotonic() < deadline, "the dead cluster is still listed after 30 s"
        await asyncio.sleep(0.05)
    assert (await api("GET", "clusters", summary["cluster_id"], "snapshot"))[0] == 404


async def test_clusters_outlive_the_server(api: Api, jp_serverapp: Any) -> None:
    _, summary = await api("POST", "clusters")
    await jp_serverapp.extension_manager.stop_all_extensions()
    survivor = descriptors.find(summary["cluster_id"])
    assert survivor is not None and survivor.is_alive()


async def test_the_server_answers_while_a_cluster_starts(api: Api) -> None:
    start = asyncio.ensure_future(api("POST", "clusters", body={"name": "slow-to-come"}))
    seen = []
    while not start.done():
        began = time.monotonic()
        _, listing = await api("GET", "clusters")
        seen.append((listing["starting"], time.monotonic() - began))
        await asyncio.sleep(0.01)
    assert (await start)[0] == 201
    assert any(starting == ["slow-to-come"] for starting, _ in seen)
    assert min(seconds for _, seconds in seen) < 0.25
