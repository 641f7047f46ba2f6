"""Applications of FastAPI that have locks, or two of them on one port."""

import threading
from collections.abc import Iterator
from types import ModuleType

import pytest

requests = pytest.importorskip("requests")
pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def base(ray_cluster: ModuleType) -> Iterator[str]:
    from rayjup import serve
    from rayjup.serve._private import client

    serve.start(http_options={"host": "127.0.0.1", "port": 0})
    yield f"http://127.0.0.1:{client.ask('details')['http']['port']}"
    serve.shutdown()


def test_applications_with_locks(ray_cluster: ModuleType, base: str) -> None:
    from fastapi import FastAPI

    from rayjup import serve

    app = FastAPI()
    app.state.lock = threading.Lock()

    @serve.deployment
    @serve.ingress(app)
    class Api:
        @app.get("/locked")
        def locked(self) -> bool:
            return bool(app.state.lock.locked())

    serve.run(Api.bind())
    assert requests.get(base + "/locked", timeout=30).json() is False
