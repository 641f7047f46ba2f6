"""Parts of serving that need no cluster."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")


def test_a_request_and_its_answer_travel_in_one_piece() -> None:
    from rayjup.serve._private import channel

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"q=1",
        "headers": [(b"x", b"y")],
        "client": ("1.2.3.4", 5),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    packed = channel.pack_request(scope, b"body", False, "id", "/pre")
    found, body, more, request_id, prefix = channel.unpack_request(packed)
    assert (body, more, request_id, prefix) == (b"body", False, "id", "/pre")
    assert {k: found[k] for k in scope} == scope


def test_long_answers_travel_in_pieces_and_the_application_is_held_back() -> None:
    from rayjup.serve._private.channel import Exchange, Exchanges, carry

    sent: list[int] = []

    async def application(exchange: Exchange) -> None:
        await exchange.send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
        for number in range(8):
            body = bytes(512 * 1024)
            await exchange.send({"type": "http.response.body", "body": body, "more_body": True})
            sent.append(number)
        await exchange.send({"type": "http.response.body", "body": b"", "more_body": False})

    class Actor:
        def __init__(self, exchanges: Exchanges) -> None:
            self.pull = type("M", (), {"remote": staticmethod(exchanges.pull)})
            self.drop = type("M", (), {"remote": staticmethod(exchanges.drop)})

    async def main() -> None:
        exchanges = Exchanges()
        reply = await exchanges.begin(Exchange("http", b"", False), application)
        await asyncio.sleep(0.01)
        assert len(sent) < 8  # nobody fetches: it waits
        messages: list[dict[str, Any]] = []

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        async def wait(value: Any) -> Any:
            return await value

        status = await carry(Actor(exchanges), reply, {"type": "http"}, receive, send, wait, False)
        assert status == 201
        assert sum(len(m.get("body", b"")) for m in messages) == 8 * 512 * 1024
        assert messages[0] == {"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]}
        assert messages[-1]["more_body"] is False
        assert not exchanges.open

    asyncio.run(main())


def test_batches_keep_callers_apart() -> None:
    from rayjup import serve

    sizes: list[int] = []

    class Model:
        @serve.batch(max_batch_size=3, batch_wait_timeout_s=0.05)
        async def run(self, xs: list[int], ys: list[int]) -> list[Any]:
            sizes.append(len(xs))
            return [x + y if x else ValueError("zero") for x, y in zip(xs, ys, strict=True)]

        @serve.batch
        async def wrong(self, xs: list[int]) -> list[int]:
            return [1]

    async def main() -> None:
        model = Model()
        found = await asyncio.gather(*(model.run(i, ys=1) for i in range(7)), return_exceptions=True)
        assert isinstance(found[0], ValueError)
        assert found[1:] == [2, 3, 4, 5, 6, 7]
        assert (sum(sizes), max(sizes)) == (7, 3)
        with pytest.raises(ValueError, match="preserve batch size"):
            await asyncio.gather(model.wrong(1), model.wrong(2))
        assert Model.run.get_max_batch_size() == 3
        Model.run.set_max_batch_size(5)
        assert Model.run.get_max_batch_size() == 5

    asyncio.run(main())


def test_batches_by_size() -> None:
    from rayjup import serve

    seen: list[list[str]] = []

    @serve.batch(max_batch_size=10, batch_wait_timeout_s=0.02, batch_size_fn=lambda xs: sum(map(len, xs)))
    async def run(xs: list[str]) -> list[int]:
        seen.append(xs)
        return [len(x) for x in xs]

    async def main() -> None:
        assert await asyncio.gather(*map(run, ["a" * 6, "b" * 6, "c" * 3])) == [6, 6, 3]

    asyncio.run(main())
    assert all(sum(map(len, xs)) <= 10 for xs in seen)


def test_models_that_were_not_used_for_longest_go() -> None:
    from rayjup.serve.multiplex import ModelCache

    loads: list[str] = []
    ended: list[str] = []

    class Model:
        def __init__(self, id: str) -> None:
            self.id = id

        async def __del__(self) -> None:
            ended.append(self.id)

    async def load(id: str) -> Model:
        loads.append(id)
        await asyncio.sleep(0)
        return Model(id)

    async def main() -> None:
        cache = ModelCache(load, 2)
        one, other = await asyncio.gather(cache.get("a"), cache.get("a"))
        assert one is other
        await cache.get("b")
        await cache.get("a")
        await cache.get("c")
        assert list(cache.models) == ["a", "c"]
        assert (loads, ended) == (["a", "b", "c"], ["b"])
        with pytest.raises(ValueError, match="cannot be empty"):
            await cache.get("")
        Model.__del__ = lambda self: None  # type: ignore[method-assign, assignment]

    asyncio.run(main())


def test_applications_with_locks_are_pickled() -> None:
    from fastapi import FastAPI

    from rayjup.serve._private.packing import dumps, loads

    app = FastAPI(title="mine")
    app.state.lock = threading.Lock()

    @app.get("/a/{n}")
    def a(n: int) -> int:
        return n

    again = loads(dumps(app))
    assert again.title == "mine"
    assert "/a/{n}" in [getattr(r, "path", None) for r in again.routes]
    assert not again.state.lock.locked()


def test_percentiles() -> None:
    from rayjup.serve._private.measures import Measures, percentile

    measures = Measures()
    for ms in range(1, 101):
        measures.add(float(ms), False)
    counts = measures.snapshot()["counts"]
    assert percentile(counts, 0.5) == pytest.approx(50, rel=0.15)
    assert percentile(counts, 0.99) == pytest.approx(99, rel=0.15)
    assert percentile({}, 0.5) == 0.0


def test_a_socket_is_shared_by_processes_of_this_user(tmp_path: Any) -> None:
    import tempfile

    from rayjup.serve._private import sockets

    with tempfile.TemporaryDirectory(dir="/tmp", prefix="rjs") as directory:
        listening = sockets.listen("127.0.0.1", 0)
        port = listening.getsockname()[1]
        assert sockets.fetch(directory) is None
        sharing = sockets.Sharing(listening, directory)
        copy = sockets.fetch(directory)
        assert copy is not None
        assert copy.getsockname()[1] == port
        with pytest.raises(OSError, match="another program has the port"):
            sockets.listen("127.0.0.1", port)
        sharing.close()
        copy.close()
        listening.close()


def test_errors_name_what_is_wrong() -> None:
    from rayjup import serve
    from rayjup.serve.exceptions import BackPressureError

    with pytest.raises(ValueError, match="num_replicas"):
        serve.deployment(num_replicas=-1)(lambda: None)
    with pytest.raises(ValueError, match="ray_actor_options is not allowed"):
        serve.deployment(ray_actor_options={"max_concurrency": 3})(lambda: None)
    with pytest.raises(TypeError, match=r"takes no arguments|too many"):

        @serve.deployment
        class One:
            def __init__(self) -> None: ...

        One.bind(1)
    assert "max_queued_requests is 3" in str(BackPressureError(3, 3))
    import pickle

    assert pickle.loads(pickle.dumps(BackPressureError(1, 2, 429, 1.5))).retry_after_s == 1.5
