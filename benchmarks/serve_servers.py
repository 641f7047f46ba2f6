"""The servers of ``serve.py``: one is started by its name, says READY, and ends with its input."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any


def say(what: str, value: str) -> None:
    print(f"RESULT {what} | {value}", flush=True)


def wait() -> None:
    print("READY", flush=True)
    sys.stdin.read()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"5"), (b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def fastapi_app() -> Any:
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def root() -> str:
        return "hello"

    return app


def uvicorn(app: Any, port: int) -> None:
    import threading

    import uvicorn as server

    threading.Thread(target=lambda: (wait(), os._exit(0)), daemon=True).start()
    server.run(app, port=port, loop="uvloop", http="httptools", log_level="error", lifespan="off")


def bare(port: int) -> None:
    uvicorn(echo, port)


def fastapi(port: int) -> None:
    uvicorn(fastapi_app(), port)


def litserve(port: int) -> None:
    import threading

    import litserve as ls

    class Api(ls.LitAPI):
        def setup(self, device: str) -> None: ...

        def decode_request(self, request: Any) -> Any:
            return request

        def predict(self, x: Any) -> str:
            return "hello"

        def encode_response(self, output: str) -> str:
            return output

    threading.Thread(target=lambda: (time.sleep(5), wait(), os._exit(0)), daemon=True).start()
    ls.LitServer(Api(api_path="/"), accelerator="cpu").run(
        port=port, generate_client_file=False, log_level="error"
    )


def serve_of(engine: str) -> tuple[Any, Any]:
    if engine == "ray":
        import ray
        from ray import serve
    else:
        import rayjup as ray
        from rayjup import serve
    ray.init(num_cpus=4)
    return ray, serve


def run(engine: str, port: int, make: Any, beside: bool = False) -> None:
    ray, serve = serve_of(engine)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    began = time.perf_counter()
    serve.run(make(serve))
    say("first `serve.run`", f"{time.perf_counter() - began:.2f} s")
    if beside:

        @serve.deployment
        def other(request: Any) -> str:
            return "other"

        serve.run(other.bind(), name="other", route_prefix="/other")
    wait()
    serve.shutdown()
    ray.shutdown()


def plain(serve: Any) -> Any:
    @serve.deployment(max_ongoing_requests=1000)
    class Echo:
        async def __call__(self, request: Any) -> str:
            return "hello"

    return Echo.bind()


def with_fastapi(serve: Any) -> Any:
    @serve.deployment(max_ongoing_requests=1000)
    @serve.ingress(fastapi_app())
    class Api:
        pass

    return Api.bind()


def direct(port: int) -> None:
    run("rayjup", port, plain)


def routed(port: int) -> None:
    run("rayjup", port, plain, beside=True)


def fastapi_ingress(port: int) -> None:
    run("rayjup", port, with_fastapi)


def ray(port: int) -> None:
    run("ray", port, plain)


def ray_fastapi(port: int) -> None:
    run("ray", port, with_fastapi)


def handle_calls(engine: str) -> None:
    ray, serve = serve_of(engine)

    @serve.deployment(max_ongoing_requests=1000)
    class Add:
        async def __call__(self, x: int) -> int:
            return x + 1

    handle = serve.run(Add.bind(), route_prefix=None)
    count = 300 if engine == "ray" else 3000
    handle.remote(1).result()
    began = time.perf_counter()
    for i in range(count):
        handle.remote(i).result()
    say("handle calls one at a time", f"{count / (time.perf_counter() - began):,.0f} /s")
    began = time.perf_counter()
    for response in [handle.remote(i) for i in range(count)]:
        response.result()
    say(f"handle calls, {count} in flight", f"{count / (time.perf_counter() - began):,.0f} /s")
    serve.shutdown()
    ray.shutdown()


def handles(port: int) -> None:
    handle_calls("rayjup")


def ray_handles(port: int) -> None:
    handle_calls("ray")


def more(port: int) -> None:
    """What only rayjup is asked: batches, streams, a killed replica."""
    import threading

    import httpx

    ray, serve = serve_of("rayjup")
    serve.start(http_options={"port": 0})
    from rayjup.serve._private import client

    base = f"http://127.0.0.1:{client.ask('details')['http']['port']}"

    @serve.deployment(max_ongoing_requests=100)
    class Model:
        async def __call__(self, x: int) -> int:
            time.sleep(0.01)  # noqa: ASYNC251 - a model of 10 ms, whatever it is given
            return x

        @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
        async def batched(self, xs: list[int]) -> list[int]:
            time.sleep(0.01)  # noqa: ASYNC251
            return xs

        async def one(self, x: int) -> int:
            return await self.batched(x)

        async def tokens(self, n: int) -> Any:
            for i in range(n):
                await asyncio.sleep(0.01)
                yield i

        def pid(self) -> int:
            return os.getpid()

    handle = serve.run(Model.bind())

    def rate(call: Any, calls: int, width: int = 32) -> float:
        began = time.perf_counter()
        left = calls
        window: list[Any] = []
        while left or window:
            while left and len(window) < width:
                window.append(call.remote(left))
                left -= 1
            window.pop(0).result()
        return calls / (time.perf_counter() - began)

    alone, together = rate(handle, 128), rate(handle.one, 2000)
    say("a model of 10 ms, 32 callers: each alone", f"{alone:,.0f} /s")
    say("the same with `@serve.batch`", f"{together:,.0f} /s ({together / alone:.1f} x)")

    streams = handle.options(stream=True, method_name="tokens")
    gaps: list[float] = []

    def read() -> None:
        last = None
        for _ in streams.remote(128):
            now = time.perf_counter()
            if last is not None:
                gaps.append(now - last)
            last = now

    threads = [threading.Thread(target=read) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("50 streams of 128 items, 10 ms apart: mean gap", f"{sum(gaps) / len(gaps) * 1000:.1f} ms")

    pid = handle.pid.remote().result()
    os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    while True:
        try:
            if handle.pid.remote().result(timeout_s=5) != pid:
                break
        except Exception:  # noqa: BLE001 - it is gone, and not replaced yet
            time.sleep(0.005)
    say("`kill -9` of the only replica: answers again after", f"{time.perf_counter() - began:.2f} s")
    assert httpx.get(base + "/-/healthz").text == "success"
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0)
