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


def more_of(engine: str) -> None:
    """Batches, streams, plain functions, a killed replica."""
    ray, serve = serve_of(engine)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})

    @serve.deployment(max_ongoing_requests=100)
    class Model:
        async def __call__(self, request: Any) -> Any:
            from starlette.responses import StreamingResponse

            return StreamingResponse(self.tokens(128))

        async def alone(self, x: int) -> int:
            time.sleep(0.01)  # noqa: ASYNC251 - a model of 10 ms, whatever it is given
            return x

        @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.005)
        async def batched(self, xs: list[int]) -> list[int]:
            time.sleep(0.01)  # noqa: ASYNC251
            return xs

        async def one(self, x: int) -> int:
            return await self.batched(x)

        def plain(self, x: int) -> int:
            return x

        async def tokens(self, n: int) -> Any:
            for i in range(n):
                await asyncio.sleep(0.01)
                yield f"{i} "

        async def own_gap(self) -> float:
            """The mean gap of 50 such streams that nobody reads."""

            async def read() -> float:
                began = 0.0
                async for _ in self.tokens(128):
                    began = began or time.perf_counter()
                return (time.perf_counter() - began) / 127

            return sum(await asyncio.gather(*(read() for _ in range(50)))) / 50

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

    alone, together = rate(handle.alone, 128), rate(handle.one, 1000)
    say("a model of 10 ms, 32 callers: each alone", f"{alone:,.0f} /s")
    say("the same with `@serve.batch`", f"{together:,.0f} /s ({together / alone:.1f} x)")
    say("handle calls of a plain `def`, 32 in flight", f"{rate(handle.plain, 1000):,.0f} /s")
    own = handle.own_gap.remote().result()
    gaps = asyncio.run(read_streams(port, 50))
    say(
        "50 streams of 128 pieces over HTTP, 10 ms apart: mean gap",
        f"{gaps * 1000:.2f} ms ({gaps / own:.2f} of the {own * 1000:.2f} ms that the model alone takes)",
    )
    pid = handle.pid.remote().result()
    os.kill(pid, signal.SIGKILL)
    began = time.perf_counter()
    while time.perf_counter() - began < 60:
        try:
            if handle.pid.remote().result(timeout_s=5) != pid:
                break
        except Exception:  # noqa: BLE001 - it is gone, and not replaced yet
            time.sleep(0.005)
    say("`kill -9` of the only replica: answers again after", f"{time.perf_counter() - began:.2f} s")
    serve.shutdown()
    ray.shutdown()


async def read_streams(port: int, count: int) -> float:
    """The mean gap between the pieces of answers that are read side by side."""

    async def read() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        began, pieces = 0.0, 0
        while size := int(await reader.readline(), 16):
            text = await reader.readexactly(size + 2)
            began = began or time.perf_counter()
            pieces += text.count(b" ")
        took = time.perf_counter() - began
        writer.close()
        assert pieces == 128, pieces
        return took / (pieces - 1)

    return sum(await asyncio.gather(*(read() for _ in range(count)))) / count


def more(port: int) -> None:
    more_of("rayjup")


def ray_more(port: int) -> None:
    more_of("ray")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def long(requests: int) -> None:
    """Memory over many requests, a long upload, many redeploys."""
    import subprocess

    import psutil

    ray, serve = serve_of("rayjup")
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})

    @serve.deployment(max_ongoing_requests=1000, graceful_shutdown_wait_loop_s=0.1)
    class Long:
        async def __call__(self, request: Any) -> Any:
            if request.method == "GET":
                return "hello"
            size = 0
            async for piece in request.stream():
                size += len(piece)
            return size

        async def rss(self) -> int:
            return psutil.Process().memory_info().rss

        async def pid(self) -> int:
            return os.getpid()

    def ask(seconds: int) -> int:
        command = ["wrk", "-t1", "-c32", f"-d{seconds}", f"http://127.0.0.1:{port}/"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return int(output.split(" requests in")[0].rsplit(None, 1)[-1])

    def grown(what: str) -> None:
        handle = serve.get_app_handle("default")
        done = ask(5)
        before = handle.rss.remote().result()
        while done < requests:
            done += ask(10)
        after = handle.rss.remote().result()
        say(
            f"{done:,} requests{what}: memory of the replica",
            f"{before / 2**20:.1f} to {after / 2**20:.1f} MiB ({after / before - 1:+.1%})",
        )

    serve.run(Long.bind())
    grown("")
    handle = serve.get_app_handle("default")
    before = handle.rss.remote().result()
    began = time.perf_counter()
    size = 2**30

    async def upload() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
        piece = bytes(2**20)
        most = 0
        for sent in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()
            if sent % 64 == 0:
                most = max(most, await handle.rss.remote())
        await reader.readuntil(b"\r\n\r\n")
        assert int(await reader.readexactly(10)) == size
        writer.close()
        return most

    most = asyncio.run(upload())
    took = time.perf_counter() - began
    say(
        "upload of 1 GiB, streamed",
        f"{took:.1f} s, memory of the replica at most {(most - before) / 2**20:+.1f} MiB",
    )
    pids = set()
    began = time.perf_counter()
    for n in range(20):
        serve.run(Long.options(version=str(n)).bind())
        pids.add(handle.pid.remote().result())
    took = time.perf_counter() - began
    time.sleep(1.0)
    left = sum(psutil.pid_exists(pid) for pid in pids)
    say("20 deploys of new versions", f"{took / 20:.2f} s each, {left - 1} processes too many")
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0)
