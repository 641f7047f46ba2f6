"""Serving: FastAPI, batches, multiplexing, limits, autoscaling, health, configuration."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

requests = pytest.importorskip("requests")
fastapi = pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def served(ray_cluster: ModuleType, free_port: Callable[[], int]) -> Iterator[str]:
    from ray import serve

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture
def base(ray_cluster: ModuleType, served: str) -> Iterator[str]:
    from ray import serve

    yield served
    for name in list(serve.status().applications):
        serve.delete(name)


def test_any_application_of_asgi(base: str) -> None:
    from ray import serve
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    def make() -> Any:
        async def page(request: Any) -> Any:
            return PlainTextResponse(f"page {request.path_params['n']}")

        return Starlette(routes=[Route("/page/{n}", page)])

    @serve.deployment
    @serve.ingress(make)
    class Pages:
        pass

    serve.run(Pages.bind())
    assert requests.get(base + "/page/7", timeout=60).text == "page 7"


def test_batches(base: str) -> None:
    from ray import serve

    @serve.deployment(max_ongoing_requests=20)
    class Batched:
        def __init__(self) -> None:
            self.sizes: list[int] = []

        @serve.batch(max_batch_size=4, batch_wait_timeout_s=60)
        async def double(self, xs: list[int]) -> list[int]:
            self.sizes.append(len(xs))
            return [2 * x for x in xs]

        async def __call__(self, x: int) -> int:
            return await self.double(x)

        def get_sizes(self) -> list[int]:
            return self.sizes

    handle = serve.run(Batched.bind())
    responses = [handle.remote(i) for i in range(8)]
    assert [r.result() for r in responses] == [2 * i for i in range(8)]
    assert handle.get_sizes.remote().result() == [4, 4]


def test_streams_of_batches(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Batched:
        @serve.batch(max_batch_size=3, batch_wait_timeout_s=0.1)
        async def count(self, limits: list[int]) -> Any:
            for i in range(max(limits)):
                yield [i if i < limit else StopIteration for limit in limits]

        async def __call__(self, limit: int) -> Any:
            async for item in self.count(limit):
                yield item

    handle = serve.run(Batched.bind()).options(stream=True)
    streams = [handle.remote(n) for n in (1, 3)]
    assert [list(s) for s in streams] == [[0], [0, 1, 2]]


def test_multiplexing(base: str) -> None:
    from ray import serve

    @serve.deployment(num_replicas=2)
    class Models:
        def __init__(self) -> None:
            self.loads: list[str] = []

        @serve.multiplexed(max_num_models_per_replica=1)
        async def load(self, model_id: str) -> str:
            self.loads.append(model_id)
            return f"model {model_id}"

        async def __call__(self, request: Any = None) -> str:
            return await self.load(serve.get_multiplexed_model_id())

        def get_loads(self) -> list[str]:
            return self.loads

    handle = serve.run(Models.bind())
    assert handle.options(multiplexed_model_id="a").remote().result() == "model a"
    answer = requests.get(base, headers={"serve_multiplexed_model_id": "b"}, timeout=60)
    assert answer.text == "model b"


def test_a_full_queue_refuses(base: str, eventually: Callable[..., None]) -> None:
    import ray
    from ray import serve
    from ray.serve.exceptions import BackPressureError

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            self.opened = asyncio.Event()
            self.count = 0

        async def wait(self) -> None:
            self.count += 1
            await self.opened.wait()

        async def inside(self) -> int:
            return self.count

        async def open(self) -> None:
            self.opened.set()

    @serve.deployment(max_ongoing_requests=1, max_queued_requests=1)
    class Slow:
        def __init__(self, gate: Any) -> None:
            self.gate = gate

        async def __call__(self) -> str:
            await self.gate.wait.remote()
            return "done"

    gate = Gate.remote()
    handle = serve.run(Slow.bind(gate))
    first = handle.remote()
    eventually(lambda: ray.get(gate.inside.remote()) == 1)
    others = [handle.remote(), handle.remote()]
    refused = []

    def one_is_refused() -> bool:
        for response in others:
            try:
                response.result(timeout_s=0.1)
            except BackPressureError:
                refused.append(response)
            except TimeoutError:
                continue
        return bool(refused)

    eventually(one_is_refused)
    (queued,) = [response for response in others if response is not refused[0]]
    ray.get(gate.open.remote())
    assert [first.result(), queued.result()] == ["done", "done"]


def test_autoscaling(base: str, eventually: Callable[..., None]) -> None:
    import ray
    from ray import serve

    @ray.remote(num_cpus=0)
    class Gate:
        def __init__(self) -> None:
            self.opened = asyncio.Event()

        async def wait(self) -> None:
            await self.opened.wait()

        async def open(self) -> None:
            self.opened.set()

    @serve.deployment(
        max_ongoing_requests=4,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_wait_loop_s=0.1,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 3,
            "target_ongoing_requests": 1,
            "upscale_delay_s": 0.2,
            "downscale_delay_s": 0.5,
            "look_back_period_s": 1.0,
            "metrics_interval_s": 0.1,
        },
    )
    class Scaled:
        def __init__(self, gate: Any) -> None:
            self.gate = gate

        async def __call__(self) -> str:
            await self.gate.wait.remote()
            return "done"

    def running() -> int:
        states = serve.status().applications["default"].deployments["Scaled"].replica_states
        return int(states.get("RUNNING", 0))

    gate = Gate.remote()
    handle = serve.run(Scaled.bind(gate))
    assert running() == 1
    responses = [handle.remote() for _ in range(8)]
    eventually(lambda: running() == 3, 60)
    ray.get(gate.open.remote())
    assert [r.result() for r in responses] == ["done"] * 8
    eventually(lambda: running() == 1, 60)


def test_an_unhealthy_replica_is_replaced(base: str, eventually: Callable[..., None]) -> None:
    from ray import serve

    @serve.deployment(health_check_period_s=0.2, health_check_timeout_s=5, graceful_shutdown_wait_loop_s=0.1)
    class Sick:
        def __init__(self) -> None:
            self.sick = False

        def make_sick(self) -> None:
            self.sick = True

        def check_health(self) -> None:
            if self.sick:
                raise RuntimeError("sick")

        def tag(self) -> str:
            return serve.get_replica_context().replica_tag

    handle = serve.run(Sick.bind())
    before = handle.tag.remote().result()
    handle.make_sick.remote().result()

    def replaced() -> bool:
        try:
            return bool(handle.tag.remote().result(timeout_s=5) != before)
        except Exception:  # noqa: BLE001 - it goes away under the call
            return False

    eventually(replaced, 40)


def test_requests_of_a_client_that_goes_away_are_cancelled(
    base: str, eventually: Callable[..., None]
) -> None:
    import http.client

    import ray
    from ray import serve

    @ray.remote(num_cpus=0)
    class Notes:
        def __init__(self) -> None:
            self.notes: list[str] = []

        def add(self, note: str) -> None:
            self.notes.append(note)

        def get(self) -> list[str]:
            return self.notes

    @serve.deployment
    class Slow:
        def __init__(self, notes: Any) -> None:
            self.notes = notes

        async def __call__(self, request: Any) -> str:
            await self.notes.add.remote("begun")
            try:
                await asyncio.sleep(90)
            except asyncio.CancelledError:
                self.notes.add.remote("cancelled")
                raise
            return "late"

    notes = Notes.remote()
    serve.run(Slow.bind(notes))
    client = http.client.HTTPConnection(base.removeprefix("http://"), timeout=60)
    client.request("GET", "/")
    eventually(lambda: ray.get(notes.get.remote()) == ["begun"])
    client.close()
    eventually(lambda: ray.get(notes.get.remote()) == ["begun", "cancelled"])


def test_a_large_body(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Size:
        async def __call__(self, request: Any) -> int:
            total = 0
            async for piece in request.stream():
                total += len(piece)
            return total

    serve.run(Size.bind())
    data = b"x" * (8 * 1024 * 1024)
    assert requests.post(base, data=data, timeout=60).text == str(len(data))
    chunks = (b"y" * 1000 for _ in range(500))
    assert requests.post(base, data=chunks, timeout=60).text == "500000"


def test_many_at_once(base: str) -> None:
    from ray import serve

    @serve.deployment(num_replicas=2, max_ongoing_requests=3, ray_actor_options={"num_cpus": 0})
    class Busy:
        def __init__(self) -> None:
            self.now = self.most = 0

        async def __call__(self, request: Any) -> str:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.02)
            self.now -= 1
            return str(self.most)

    serve.run(Busy.bind())
    answers: list[str] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(requests.get(base, timeout=60).text)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert max(int(a) for a in answers) <= 3


def test_plain_functions_run_side_by_side(base: str) -> None:
    from ray import serve

    @serve.deployment(max_ongoing_requests=4)
    class Plain:
        def __init__(self) -> None:
            self.three = threading.Barrier(3)

        def wait(self, x: int) -> int:
            self.three.wait(timeout=60)  # raises unless three of these are here at the same time
            return x

        def back(self, x: int) -> int:
            return x

        def count(self, n: int):
            for i in range(n):
                time.sleep(0.1)
                yield i

        def asks_itself(self) -> int:
            handle = serve.get_deployment_handle("Plain", "default")
            return handle.back.remote(41).result() + 1

        async def quick(self) -> str:
            return "quick"

    handle = serve.run(Plain.bind(), route_prefix=None)
    handle.quick.remote().result()
    slow = [handle.wait.remote(i) for i in range(2)]
    assert handle.quick.remote().result() == "quick"
    slow.append(handle.wait.remote(2))
    assert [one.result() for one in slow] == [0, 1, 2]
    assert list(handle.options(stream=True).count.remote(3)) == [0, 1, 2]
    assert handle.asks_itself.remote().result() == 42


def test_local_testing_mode() -> None:
    from ray import serve

    @serve.deployment
    class Inner:
        async def __call__(self, x: int) -> int:
            return x + 1

        def count(self, n: int) -> Any:
            yield from range(n)

    @serve.deployment
    class Outer:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, x: int) -> int:
            first = self.inner.remote(x)
            return await self.inner.remote(first)

        def fails(self) -> None:
            raise ValueError("no")

    handle = serve.run(Outer.bind(Inner.bind()), _local_testing_mode=True)
    assert handle.remote(1).result() == 3
    with pytest.raises(ValueError, match="no"):
        handle.fails.remote().result()
    inner = serve.run(Inner.bind(), _local_testing_mode=True)
    assert list(inner.options(stream=True).count.remote(3)) == [0, 1, 2]
