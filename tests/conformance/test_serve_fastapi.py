"""Serving: FastAPI on a deployment's class (annotations are evaluated here, as in a notebook)."""

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

requests = pytest.importorskip("requests")
pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def base(ray_cluster: ModuleType, free_port: Callable[[], int]) -> Iterator[str]:
    from ray import serve

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_routes_are_methods(ray_cluster: ModuleType, base: str) -> None:
    from fastapi import Depends, FastAPI
    from pydantic import BaseModel
    from ray import serve

    app = FastAPI()

    class Item(BaseModel):
        name: str
        price: float = 1.0

    def factor(f: int = 2) -> int:
        return f

    @serve.deployment
    @serve.ingress(app)
    class Api:
        def __init__(self, greeting: str) -> None:
            self.greeting = greeting
            self.count = 0

        @app.get("/hello/{name}")
        def hello(self, name: str) -> str:
            self.count += 1
            return f"{self.greeting} {name} {self.count}"

        @app.post("/items")
        async def items(self, item: Item, by: int = Depends(factor)) -> Item:
            return Item(name=item.name, price=item.price * by)

        def plain(self, x: int) -> int:
            return x + 1

    handle = serve.run(Api.bind("hi"), route_prefix="/api")
    assert requests.get(base + "/api/hello/you", timeout=60).json() == "hi you 1"
    assert requests.get(base + "/api/hello/you", timeout=60).json() == "hi you 2"
    answer = requests.post(base + "/api/items?f=3", json={"name": "a", "price": 2}, timeout=60)
    assert answer.json() == {"name": "a", "price": 6.0}
    assert requests.post(base + "/api/items", json={}, timeout=60).status_code == 422
    assert requests.get(base + "/api/docs", timeout=60).status_code == 200
    assert "/hello/{name}" in requests.get(base + "/api/openapi.json", timeout=60).json()["paths"]
    assert requests.get(base + "/api/none", timeout=60).status_code == 404
    assert handle.plain.remote(1).result() == 2
    serve.delete("default")


def test_routers_and_websockets(ray_cluster: ModuleType, base: str) -> None:
    client = pytest.importorskip(
        "websockets.sync.client", reason="the test needs a client: pip install websockets"
    )
    from fastapi import APIRouter, FastAPI, WebSocket
    from ray import serve

    app = FastAPI()
    router = APIRouter(prefix="/sub")

    @router.get("/plain")
    def plain() -> str:
        return "plain"

    app.include_router(router)

    @serve.deployment
    @serve.ingress(app)
    class Api:
        @app.websocket("/echo")
        async def echo(self, socket: WebSocket) -> None:
            await socket.accept()
            while True:
                text = await socket.receive_text()
                if text == "end":
                    break
                await socket.send_text(text.upper())
            await socket.close()

    serve.run(Api.bind())
    assert requests.get(base + "/sub/plain", timeout=60).json() == "plain"
    with client.connect(base.replace("http", "ws") + "/echo") as socket:
        for text in ("a", "b"):
            socket.send(text)
            assert socket.recv(timeout=60) == text.upper()
        socket.send("end")
    serve.delete("default")


def test_beside_another_application(ray_cluster: ModuleType, base: str) -> None:
    client = pytest.importorskip(
        "websockets.sync.client", reason="the test needs a client: pip install websockets"
    )
    from fastapi import FastAPI, HTTPException, Request, WebSocket
    from fastapi.responses import StreamingResponse
    from ray import serve

    app = FastAPI()

    @serve.deployment
    def other() -> str:
        return "other"

    @serve.deployment
    @serve.ingress(app)
    class Api:
        @app.get("/plain")
        def plain(self) -> dict[str, int]:
            return {"n": 1}

        @app.post("/size")
        async def size(self, request: Request) -> int:
            return len(await request.body())

        @app.get("/stream")
        async def stream(self) -> StreamingResponse:
            async def pieces():
                for i in range(3):
                    yield f"{i} "

            return StreamingResponse(pieces())

        @app.get("/refused")
        def refused(self) -> None:
            raise HTTPException(418, "a teapot")

        @app.get("/fails")
        def fails(self) -> None:
            raise ValueError("of the application")

        @app.websocket("/echo")
        async def echo(self, socket: WebSocket) -> None:
            await socket.accept()
            await socket.send_text((await socket.receive_text()).upper())
            await socket.close()

    serve.run(other.bind(), name="other", route_prefix="/other")
    serve.run(Api.bind(), route_prefix="/api")
    with requests.Session() as session:
        plain = session.get(base + "/api/plain", timeout=60)
        assert plain.json() == {"n": 1} and plain.headers["content-type"] == "application/json"
        assert session.post(base + "/api/size", data=b"x" * 200_000, timeout=60).json() == 200_000
        assert session.get(base + "/api/stream", timeout=60).text == "0 1 2 "
        refused = session.get(base + "/api/refused", timeout=60)
        assert (refused.status_code, refused.json()) == (418, {"detail": "a teapot"})
        assert session.get(base + "/api/fails", timeout=60).status_code == 500
        assert session.get(base + "/api/none", timeout=60).status_code == 404
        assert session.head(base + "/api/plain", timeout=60).status_code == 405
        assert session.get(base + "/other", timeout=60).text == "other"
    with client.connect(base.replace("http", "ws") + "/api/echo") as socket:
        socket.send("a")
        assert socket.recv(timeout=60) == "A"
    serve.delete("default")
    serve.delete("other")
