"""Serving: deployments, HTTP, handles, composition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

requests = pytest.importorskip("requests")
pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def served(ray_cluster: ModuleType, free_port: Callable[[], int]) -> Iterator[str]:
    """A cluster that serves; the address of its HTTP."""
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


def test_a_function_answers_over_http(base: str) -> None:
    from ray import serve

    @serve.deployment
    def hello(request: Any) -> str:
        return f"hello {request.query_params['name']}"

    serve.run(hello.bind())
    answer = requests.get(base, params={"name": "world"}, timeout=60)
    assert (answer.status_code, answer.text) == (200, "hello world")


def test_what_is_returned_decides_on_the_kind_of_answer(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Kinds:
        async def __call__(self, request: Any) -> Any:
            from starlette.responses import PlainTextResponse

            return {
                "/text": "text",
                "/json": {"a": [1, 2]},
                "/bytes": b"\x00\x01",
                "/none": None,
                "/own": PlainTextResponse("made", status_code=418, headers={"x-mine": "1"}),
            }[request.url.path]

    serve.run(Kinds.bind())
    assert requests.get(base + "/text", timeout=60).text == "text"
    assert requests.get(base + "/json", timeout=60).json() == {"a": [1, 2]}
    assert requests.get(base + "/bytes", timeout=60).content == b"\x00\x01"
    assert requests.get(base + "/none", timeout=60).text == ""
    own = requests.get(base + "/own", timeout=60)
    assert (own.status_code, own.text, own.headers["x-mine"]) == (418, "made", "1")


def test_errors_of_the_code_are_answered_with_500(base: str) -> None:
    from ray import serve

    @serve.deployment
    def broken(request: Any) -> str:
        raise ValueError("no")

    serve.run(broken.bind())
    assert requests.get(base, timeout=60).status_code == 500


def test_routes(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, request: Any) -> str:
            return self.name

    serve.run(Named.bind("one"), name="one", route_prefix="/one")
    serve.run(Named.bind("two"), name="two", route_prefix="/one/two")
    assert requests.get(base + "/one", timeout=60).text == "one"
    assert requests.get(base + "/one/x", timeout=60).text == "one"
    assert requests.get(base + "/one/two/x", timeout=60).text == "two"
    assert requests.get(base + "/onetwo", timeout=60).status_code == 404
    assert requests.get(base + "/-/routes", timeout=60).json() == {"/one": "one", "/one/two": "two"}
    assert requests.get(base + "/-/healthz", timeout=60).text == "success"


def test_handles(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Counter:
        def __init__(self, start: int, step: int = 1) -> None:
            self.value = start
            self.step = step
            self.released = asyncio.Event()

        def increment(self, by: int = 1) -> int:
            self.value += by * self.step
            return self.value

        async def slow(self) -> str:
            await self.released.wait()
            return "late"

        async def release(self) -> None:
            self.released.set()

        def __call__(self, x: int) -> int:
            return x + 1

        def raises(self) -> None:
            raise KeyError("gone")

    handle = serve.run(Counter.bind(10, step=2))
    assert handle.remote(1).result() == 2
    assert handle.increment.remote().result() == 12
    assert handle.increment.remote(by=4).result() == 20
    assert handle.options(method_name="increment").remote(5).result() == 30
    with pytest.raises(KeyError):
        handle.raises.remote().result()
    late = handle.slow.remote()
    with pytest.raises(TimeoutError):
        late.result(timeout_s=0.2)
    handle.release.remote().result()
    assert late.result(timeout_s=60) == "late"
    again = serve.get_app_handle("default")
    assert again.remote(2).result() == 3
    by_name = serve.get_deployment_handle("Counter", "default")
    assert by_name.remote(3).result() == 4


def test_a_cancelled_call_stops(base: str, eventually: Callable[..., None]) -> None:
    import ray
    from ray import serve
    from ray.serve.exceptions import RequestCancelledError

    @ray.remote
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

        async def __call__(self) -> str:
            await self.notes.add.remote("begun")
            try:
                await asyncio.sleep(90)
            except asyncio.CancelledError:
                self.notes.add.remote("cancelled")
                raise
            return "late"

    notes = Notes.options(num_cpus=0).remote()
    handle = serve.run(Slow.bind(notes))
    response = handle.remote()
    eventually(lambda: ray.get(notes.get.remote()) == ["begun"])
    response.cancel()
    with pytest.raises(RequestCancelledError):
        response.result(timeout_s=60)
    eventually(lambda: ray.get(notes.get.remote()) == ["begun", "cancelled"])


def test_composition(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Add:
        def __init__(self, n: int) -> None:
            self.n = n

        async def __call__(self, x: int) -> int:
            return x + self.n

    @serve.deployment
    class Ingress:
        def __init__(self, one: Any, two: Any, others: dict[str, Any]) -> None:
            self.one, self.two, self.others = one, two, others

        async def __call__(self, request: Any) -> dict[str, int]:
            x = int(request.query_params["x"])
            first = self.one.remote(x)
            second = self.two.remote(first)  # passed on without waiting for it
            third = self.others["three"].remote(x)
            return {"chained": await second, "third": await third}

    add = Add.bind(1)
    app = Ingress.bind(add, Add.options(name="Ten").bind(10), {"three": add})
    serve.run(app)
    assert requests.get(base, params={"x": 5}, timeout=60).json() == {"chained": 16, "third": 6}
    deployments = serve.status().applications["default"].deployments
    assert set(deployments) == {"Ingress", "Add", "Ten"}


def test_streams(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Streams:
        def count(self, n: int) -> Any:
            yield from range(n)

        async def acount(self, n: int) -> Any:
            for i in range(n):
                await asyncio.sleep(0)
                yield i

        async def __call__(self, request: Any) -> Any:
            from starlette.responses import StreamingResponse

            async def lines() -> Any:
                for i in range(3):
                    yield f"line {i}\n"

            return StreamingResponse(lines(), media_type="text/plain")

    handle = serve.run(Streams.bind())
    assert list(handle.options(stream=True).count.remote(4)) == [0, 1, 2, 3]
    assert list(handle.acount.options(stream=True).remote(3)) == [0, 1, 2]
    with pytest.raises(TypeError):
        handle.count.remote(3).result()
    with requests.get(base, stream=True, timeout=60) as answer:
        assert list(answer.iter_lines()) == [b"line 0", b"line 1", b"line 2"]


def test_errors_of_constructors(base: str) -> None:
    from ray import serve

    @serve.deployment(max_constructor_retry_count=1)
    class Broken:
        def __init__(self) -> None:
            raise ValueError("cannot be made")

        def __call__(self) -> None: ...

    with pytest.raises(RuntimeError):
        serve.run(Broken.bind())
    status = serve.status().applications["default"]
    assert status.status == "DEPLOY_FAILED"
    assert "cannot be made" in status.message + status.deployments["Broken"].message


def test_status_and_delete(base: str, eventually: Callable[..., None]) -> None:
    from ray import serve

    @serve.deployment(num_replicas=2)
    class Two:
        def __call__(self) -> str:
            return serve.get_replica_context().replica_tag

    handle = serve.run(Two.bind(), name="app", route_prefix=None)
    tags: set[str] = set()

    def all_answered() -> bool:
        tags.add(handle.remote().result())
        return len(tags) == 2

    eventually(all_answered)
    app = serve.status().applications["app"]
    assert app.status == "RUNNING"
    assert app.deployments["Two"].status == "HEALTHY"
    assert app.deployments["Two"].replica_states == {"RUNNING": 2}
    serve.delete("app")
    assert "app" not in serve.status().applications


def test_new_versions_replace_old_ones(base: str) -> None:
    from ray import serve

    def make(text: str) -> Any:
        @serve.deployment(name="Same")
        class Same:
            def __call__(self, request: Any = None) -> str:
                return text

        return Same.bind()

    handle = serve.run(make("first"))
    assert handle.remote().result() == "first"
    handle = serve.run(make("second"))
    assert handle.remote().result() == "second"
    assert requests.get(base, timeout=60).text == "second"


def test_user_config(base: str) -> None:
    from ray import serve

    @serve.deployment(user_config={"threshold": 1})
    class Configured:
        def __init__(self) -> None:
            import os

            self.pid = os.getpid()

        async def reconfigure(self, config: dict[str, Any]) -> None:
            self.threshold = config["threshold"]

        def __call__(self) -> tuple[int, int]:
            return self.threshold, self.pid

    handle = serve.run(Configured.bind())
    assert handle.remote().result()[0] == 1


def test_options_are_checked() -> None:
    from ray import serve

    for wrong in (
        {"num_replicas": 0},
        {"num_replicas": -1},
        {"max_ongoing_requests": 0},
        {"max_queued_requests": -2},
        {"health_check_period_s": 0},
        {"rolling_update_percentage": 1.5},
        {"name": "a#b"},
        {"num_replicas": 2, "autoscaling_config": {"min_replicas": 1, "max_replicas": 2}},
    ):
        with pytest.raises((ValueError, TypeError)):
            serve.deployment(**wrong)(lambda: None)

    class Plain:
        pass

    with pytest.raises(TypeError):
        serve.run(Plain)  # type: ignore[arg-type]


def test_options_make_new_deployments() -> None:
    from ray import serve

    @serve.deployment(num_replicas=3, max_ongoing_requests=7)
    class D:
        pass

    other = D.options(name="E", num_replicas=4)
    assert (D.name, D.num_replicas, D.max_ongoing_requests) == ("D", 3, 7)
    assert (other.name, other.num_replicas, other.max_ongoing_requests) == ("E", 4, 7)
    with pytest.raises(RuntimeError):
        D()


def test_the_request_id_travels(base: str) -> None:
    from ray import serve

    @serve.deployment
    class Inner:
        def __call__(self) -> str:
            return serve.context._serve_request_context.get().request_id

    @serve.deployment
    class Outer:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __call__(self, request: Any) -> list[str]:
            return [serve.context._serve_request_context.get().request_id, await self.inner.remote()]

    serve.run(Outer.bind(Inner.bind()))
    answer = requests.get(base, headers={"x-request-id": "my-id"}, timeout=60)
    assert answer.json() == ["my-id", "my-id"]
    assert answer.headers["x-request-id"] == "my-id"
