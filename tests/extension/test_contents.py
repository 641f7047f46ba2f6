"""What is in a cluster: topics, logs, runs that are stopped, jobs, applications, nodes that are added."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from rayjup.cluster import manager

Api = Callable[..., Awaitable[tuple[int, Any]]]

TUNING = """
import sys, time, rayjup
from rayjup import tune
rayjup.init(address=sys.argv[1], log_to_driver=False)

def objective(config):
    for step in range(8000):
        tune.report({"loss": config["x"] + 1 / (step + 1)})
        time.sleep(0.02)

results = tune.Tuner(
    objective,
    param_space={"x": tune.grid_search([1.0, 2.0])},
    tune_config=tune.TuneConfig(metric="loss", mode="min"),
    run_config=tune.RunConfig(name="watched", storage_path=sys.argv[2], verbose=0),
).fit()
print("ended with", len(results))
"""

SERVING = """
import sys, rayjup
from rayjup import serve
rayjup.init(address=sys.argv[1], namespace="serve", log_to_driver=False)

@serve.deployment
class Echo:
    async def __call__(self, request):
        return (await request.body()).decode() or "nothing"

serve.start(http_options={"port": 0})
serve.run(Echo.bind(), name="echo", route_prefix="/echo")
print("up", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def program(text: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program, which is ended at the latest with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", text, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def eventually(
    read: Callable[[], Awaitable[Any]], holds: Callable[[Any], bool], timeout_s: float = 40.0
) -> Any:
    deadline = time.monotonic() + timeout_s
    while not holds(value := await read()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s; at last: {str(value)[:2000]}"
        await asyncio.sleep(0.2)
    return value


async def test_an_experiment_is_watched_and_its_trials_are_stopped(
    api: Api, live: Any, tmp_path: Any
) -> None:
    cluster = manager.start("tuning", num_cpus=2).cluster_id
    client = await live()
    client.subscribe(cluster, topics=("trials", "timeline"))
    async with program(TUNING, cluster, str(tmp_path)) as driver:

        async def experiments() -> list[dict[str, Any]]:
            return (await api("GET", "clusters", cluster, "trials"))[1]["experiments"]

        def both_report(found: list[dict[str, Any]]) -> bool:
            return bool(found) and sum(len(t["curve"]) > 3 for t in found[0]["trials"]) == 2

        (experiment,) = await eventually(experiments, both_report)
        assert (experiment["run_id"], experiment["metric"], experiment["ended"]) == ("watched", "loss", None)
        best = experiment["best"]["trial_id"]
        (worse,) = [t for t in experiment["trials"] if t["trial_id"] != best]
        assert worse["config"]["x"] == 2.0

        # The websocket tells the same, whole at first and then as changes.
        sent: list[str] = []
        while "change" not in sent:
            sent.append((await client.next("trials"))["sent"]["type"])
            assert len(sent) < 10, sent
        assert sent[0] == "whole"
        spans = (await client.next("timeline"))["timeline"]["spans"]
        assert spans and {"key", "name", "place", "start", "end", "state"} <= spans[0].keys()

        stop = ("clusters", cluster, "runs", "tune", "watched", "stop")
        status, reply = await api("POST", *stop, body={"trial_id": "no-such"})
        assert status == 404 and "'no-such'" in reply["message"]
        assert (await api("POST", *stop, body={"trial": 1}))[0] == 400
        assert (await api("POST", *stop[:4], "unknown", "stop", body={}))[0] == 404
        assert (await api("POST", *stop, body={"trial_id": worse["trial_id"]}))[0] == 202

        def one_stopped(found: list[dict[str, Any]]) -> bool:
            return found[0]["counts"].get("TERMINATED", 0) == 1

        await eventually(experiments, one_stopped)
        assert (await api("POST", *stop, body={}))[0] == 202
        assert driver.stdout is not None
        printed, _ = await asyncio.wait_for(driver.communicate(), 40)
        assert b"ended with 2" in printed
    status, reply = await api("POST", *stop, body={})
    assert status == 409 and "ended already" in reply["message"]
    client.socket.close()


async def test_jobs_logs_and_objects(api: Api) -> None:
    cluster = manager.start("jobs", num_cpus=1).cluster_id
    status, reply = await api("POST", "clusters", cluster, "submissions", body={"entrypoint": " "})
    assert (status, reply["field"]) == (400, "entrypoint")
    status, reply = await api(
        "POST", "clusters", cluster, "submissions", body={"entrypoint": "echo one; echo two; sleep 600"}
    )
    assert status == 201
    job = reply["submission_id"]

    async def state() -> dict[str, Any]:
        rows = (await api("GET", "clusters", cluster, "jobs"))[1]["jobs"]
        return next(row for row in rows if row["id"] == job)

    await eventually(state, lambda row: row["status"] == "RUNNING")
    of_job = ("clusters", cluster, "submissions", job)

    async def printed() -> str:
        return str((await api("GET", *of_job, "logs"))[1]["logs"])

    await eventually(printed, lambda text: text == "one\ntwo\n")

    nodes = (await api("GET", "clusters", cluster, "logs"))[1]["nodes"]
    name = f"job-driver-{job}.log"
    (node,) = [node["node_id"] for node in nodes if name in node["files"]]
    file = ("clusters", cluster, "logs", "file")
    _, piece = await api("GET", *file, node_id=node, name=name, lines="1")
    assert piece == {"text": "two\n", "next": 8, "size": 8}
    _, piece = await api("GET", *file, node_id=node, name=name, start="4")
    assert piece["text"] == "two\n"
    assert (await api("GET", *file, node_id=node, name="../../etc/passwd"))[0] == 404
    assert (await api("GET", *file, node_id=node, name=name, lines="many"))[1]["field"] == "lines"
    assert (await api("GET", *file, node_id=node))[1]["field"] == "name"

    assert (await api("DELETE", *of_job))[0] == 400
    assert await api("POST", *of_job, "stop", body={}) == (200, {"stopped": True})
    await eventually(state, lambda row: row["status"] == "STOPPED")
    assert (await api("DELETE", *of_job))[0] == 204
    assert (await api("GET", *of_job))[0] == 404

    status, found = await api("GET", "clusters", cluster, "objects")
    assert status == 200 and {"total", "kinds", "objects"} <= found.keys()
    for part in ("nodes", "tasks", "actors"):
        status, found = await api("GET", "clusters", cluster, part)
        assert status == 200 and isinstance(found[part], list)
    assert [actor["name"] for actor in found["actors"]].count("dashboard") == 1


async def test_an_application_is_watched_reached_and_taken_down(
    api: Api, jp_fetch: Any, jp_ws_fetch: Any
) -> None:
    cluster = manager.start("serving", num_cpus=2).cluster_id
    none = await jp_fetch("rayjup", "clusters", cluster, "serve", "echo", raise_error=False)
    assert none.code == 404 and b"serves nothing" in none.body
    async with program(SERVING, cluster) as driver:
        assert driver.stdout is not None
        assert await asyncio.wait_for(driver.stdout.readline(), 60) == b"up\n"

        async def applications() -> list[dict[str, Any]]:
            return (await api("GET", "clusters", cluster, "deployments"))[1]["applications"]

        # What Serve says of itself is renewed once a second.
        await eventually(applications, lambda found: bool(found) and found[0]["status"] == "RUNNING")
        answer = await jp_fetch(
            "rayjup", "clusters", cluster, "serve", "echo", method="POST", body="through the proxy"
        )
        assert (answer.code, answer.body) == (200, b"through the proxy")

        def served(found: list[dict[str, Any]]) -> bool:
            return bool(found) and found[0]["deployments"][0].get("requests", 0) >= 1

        (app,) = await eventually(applications, served)
        assert (app["name"], app["route_prefix"], app["status"]) == ("echo", "/echo", "RUNNING")
        (deployment,) = app["deployments"]
        assert deployment["replica_states"] == {"RUNNING": 1} and deployment["p99_ms"] > 0

        assert (await api("DELETE", "clusters", cluster, "applications", "other"))[0] == 404
        assert (await api("DELETE", "clusters", cluster, "applications", "echo"))[0] == 204
        await eventually(applications, lambda found: not found)


async def test_a_node_is_added_and_taken_away(api: Api) -> None:
    cluster = manager.start("growing", num_cpus=1).cluster_id
    status, reply = await api("POST", "clusters", cluster, "added_nodes", body={"num_cpus": -1})
    assert (status, reply["field"]) == (400, "num_cpus")
    options = {"num_cpus": 2, "num_gpus": 8, "resources": {"license": 3}, "name": "second"}
    status, made = await api("POST", "clusters", cluster, "added_nodes", body=options)
    assert (status, made["name"]) == (201, "second")
    _, found = await api("GET", "clusters", cluster, "nodes")
    (node,) = [node for node in found["nodes"] if node["node_id"] == made["node_id"]]
    assert {name: node["resources_total"][name] for name in ("CPU", "GPU", "license")} == {
        "CPU": 2.0,
        "GPU": 8.0,
        "license": 3.0,
    }
    assert (await api("GET", "clusters", cluster))[1]["added"] == [made["node_id"]]
    first = next(n["node_id"] for n in found["nodes"] if n["is_head"])
    status, reply = await api("DELETE", "clusters", cluster, "added_nodes", first)
    assert status == 404 and "first node" in reply["message"]
    assert (await api("DELETE", "clusters", cluster, "added_nodes", made["node_id"]))[0] == 204

    async def nodes() -> int:
        return len((await api("GET", "clusters", cluster, "nodes"))[1]["nodes"])

    await eventually(nodes, lambda number: number == 1)


async def test_a_cluster_adapts_to_what_waits(api: Api) -> None:
    cluster = manager.start("adapting", num_cpus=1).cluster_id
    adapt = ("clusters", cluster, "adapt")
    for body, field in (({"min": 1}, None), ({"min": 0, "max": 2}, "min"), ({"min": 3, "max": 2}, "max")):
        status, reply = await api("PUT", *adapt, body=body)
        assert (status, reply.get("field")) == (400, field)
    status, summary = await api("PUT", *adapt, body={"min": 2, "max": 3})
    assert (status, summary["adapts"]) == (200, True)

    async def nodes() -> int:
        return len((await api("GET", "clusters", cluster, "nodes"))[1]["nodes"])

    await eventually(nodes, lambda number: number == 2)
    assert (await api("DELETE", *adapt))[0] == 204
    assert (await api("GET", "clusters", cluster))[1]["adapts"] is False
