"""Two applications, the proxy in front of them, and requests that belong to a trace."""

from __future__ import annotations

import sys
from typing import Any

import httpx

import rayjup
from rayjup import serve
from rayjup.serve._private import client


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Inner:
    def double(self, x: int) -> int:
        return 2 * x


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Outer:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, request: Any) -> Any:
        if "fail" in request.query_params:
            raise ValueError("wanted")
        return await self.inner.double.remote(21)


rayjup.init(num_cpus=2)
serve.start(http_options={"port": 0})
if sys.argv[1] == "two":
    serve.run(Inner.bind(), name="inner", route_prefix="/inner")
serve.run(Outer.bind(Inner.bind()), name="outer", route_prefix="/outer")
base = f"http://127.0.0.1:{client.ask('details')['http']['port']}"
headers = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
print(httpx.get(base + "/outer", headers=headers).text)
print(httpx.get(base + "/outer?fail=1", headers=headers).status_code)
serve.shutdown()
rayjup.shutdown()
