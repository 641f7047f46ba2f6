"""Methods of deployments, called over gRPC."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")


@pytest.fixture
def address(ray_cluster: ModuleType) -> Iterator[str]:
    from rayjup import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve.start(
        http_options={"port": 0},
        grpc_options={"port": port, "grpc_servicer_functions": ["echo_service:add_to_server"]},
    )
    yield f"127.0.0.1:{port}"
    serve.shutdown()


def test_grpc(ray_cluster: ModuleType, address: str) -> None:
    from rayjup import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Echo:
        async def Upper(self, text: str, grpc_context: Any) -> str:
            grpc_context.set_trailing_metadata([("seen", text)])
            return text.upper()

        def Letters(self, text: str) -> Any:
            yield from text

        async def Join(self, texts: Any) -> str:
            return "+".join([text async for text in texts])

        def Fail(self, text: str, grpc_context: Any) -> str:
            grpc_context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            grpc_context.set_details("not that")
            raise ValueError(text)

    serve.run(Echo.bind(), route_prefix=None)
    pair = {"request_serializer": str.encode, "response_deserializer": bytes.decode}
    with grpc.insecure_channel(address) as channel:
        answer, call = channel.unary_unary("/test.Echo/Upper", **pair).with_call("abc", timeout=20)
        assert answer == "ABC"
        assert ("seen", "abc") in [(k, v) for k, v in call.trailing_metadata()]
        assert list(channel.unary_stream("/test.Echo/Letters", **pair)("xyz", timeout=20)) == ["x", "y", "z"]
        assert channel.stream_unary("/test.Echo/Join", **pair)(iter(["a", "b"]), timeout=20) == "a+b"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Fail", **pair)("x", timeout=20)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "not that"
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Upper", **pair)(
                "x", timeout=20, metadata=(("application", "no"),)
            )
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
