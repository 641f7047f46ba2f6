"""The websocket of live state, on real clusters."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rayjup_lab.services.live.hub import LiveHub

from rayjup.cluster import manager

Connect = Callable[[], Awaitable[Any]]

DRIVER = """
import sys, time, rayjup
rayjup.init(address=sys.argv[1])

@rayjup.remote
def live_task(i):
    time.sleep(0.05)
    return i

assert rayjup.get([live_task.remote(i) for i in range(40)]) == list(range(40))
sys.stdin.read()
rayjup.shutdown()
"""


def hub_of(serverapp: Any) -> LiveHub:
    hub: LiveHub = serverapp.web_app.settings["rayjup_live"]
    return hub


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.02)


async def test_list_follows_start_and_stop(live: Connect, api: Any) -> None:
    client = await live()
    client.subscribe()
    assert (await client.next("clusters"))["clusters"] == []
    _, summary = await api("POST", "clusters", body={"name": "seen"})
    message = await client.next("clusters")
    while not message["clusters"]:
        message = await client.next("clusters")
    assert message["clusters"][0]["name"] == "seen"
    assert abs(message["time"] - time.time()) < 60
    await api("DELETE", "clusters", summary["cluster_id"])
    while message["clusters"]:
        message = await client.next("clusters")
    client.socket.close()


async def test_numbers_move_while_a_program_runs(live: Connect) -> None:
    cluster = manager.start("busy", num_cpus=2)
    client = await live()
    client.subscribe(cluster.cluster_id)
    first = (await client.next("snapshot"))["snapshot"]
    assert first["totals"] == {"nodes": 1, "tasks": 0, "actors": 0}
    driver = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DRIVER, cluster.cluster_id, stdin=asyncio.subprocess.PIPE
    )
    seen: list[tuple[int, int, float]] = []
    while not seen or seen[-1][0] < 40:
        snapshot = (await client.next("snapshot"))["snapshot"]
        for row in snapshot["tasks"]:
            assert row["name"].endswith("live_task")
            seen.append((row["finished"], row["running"], snapshot["resources_available"].get("CPU", 0.0)))
    assert len(snapshot["drivers"]) == 1
    assert driver.stdin is not None
    driver.stdin.close()
    assert await asyncio.wait_for(driver.wait(), 30) == 0
    client.socket.close()


async def test_at_most_one_message_per_second_and_topic(live: Connect) -> None:
    cluster = manager.start(num_cpus=1)
    client = await live()
    client.subscribe(cluster.cluster_id)
    await client.next("snapshot")
    began = time.monotonic()
    lists = 0
    for _ in range(3):
        while (message := client.take(await asyncio.wait_for(client.socket.read_message(), 20)))[
            "type"
        ] != "snapshot":
            lists += message["type"] == "clusters"
    assert time.monotonic() - began > 1.8
    # Nothing has changed, so the list is not repeated.
    assert lists <= 1
    client.socket.close()


async def test_two_tabs_share_one_poll(live: Connect, jp_serverapp: Any) -> None:
    cluster = manager.start(num_cpus=1)
    clients = [await live(), await live()]
    for client in clients:
        client.subscribe(cluster.cluster_id)
    times = [(await client.next("snapshot"))["snapshot"]["time"] for client in clients for _ in range(2)]
    # Both got the very same readings of the cluster.
    assert set(times[:2]) & set(times[2:])
    for client in clients:
        client.socket.close()
    await until(lambda: not hub_of(jp_serverapp).polling, "polling ends when all tabs are closed")


async def answered(client: Any) -> None:
    """Wait until all is there that was sent before this."""
    client.send(type="dance")
    await client.next("error")


async def test_nobody_looks_nothing_is_read(live: Connect, jp_serverapp: Any) -> None:
    cluster = manager.start(num_cpus=1)
    client = await live()
    client.subscribe(cluster.cluster_id)
    await client.next("snapshot")
    client.send(type="pause")
    await until(lambda: not hub_of(jp_serverapp).polling, "polling ends when the only tab is hidden")
    await answered(client)
    assert await client.collect(1.5) == []
    client.send(type="resume")
    await client.next("clusters")
    await client.next("snapshot")
    client.send(type="unsubscribe", topic="snapshot", cluster=cluster.cluster_id)
    await answered(client)
    assert [m["type"] for m in await client.collect(2) if m["type"] == "snapshot"] == []
    client.socket.close()


async def test_unknown_and_vanished_clusters_are_told_once(live: Connect) -> None:
    cluster = manager.start(num_cpus=1)
    client = await live()
    client.subscribe(cluster.cluster_id, "no-such-cluster")
    await client.next("gone", cluster="no-such-cluster")
    await client.next("snapshot")
    for pid in (cluster.head_pid, cluster.extra["node_pid"]):  # the node would start another head
        os.kill(pid, signal.SIGKILL)
    await client.next("gone", cluster=cluster.cluster_id)
    assert [m for m in await client.collect(2.5) if m["type"] == "gone"] == []
    client.socket.close()


async def test_nonsense_is_answered_and_survived(live: Connect) -> None:
    client = await live()
    for text, field in (
        ("{", None),
        ("[]", "type"),
        ('{"type": "dance"}', "type"),
        ('{"type": "subscribe", "topic": "weather"}', "topic"),
        ('{"type": "subscribe", "topic": "snapshot"}', "cluster"),
        ('{"type": "subscribe", "topic": "snapshot", "cluster": {}}', "cluster"),
    ):
        client.socket.write_message(text)
        assert (await client.next("error")).get("field") == field
    for number in range(17):
        client.send(type="subscribe", topic="snapshot", cluster=f"c{number}")
    # Gone clusters leave the subscriptions, so only a burst can reach the limit.
    client.subscribe()
    await client.next("clusters")
    client.socket.close()
