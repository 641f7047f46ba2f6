"""Methods of deployments, called over gRPC."""

from __future__ import annotations

import json
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
    import echo_service

    from rayjup import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Echo:
        async def Upper(self, message: dict[str, str], grpc_context: Any) -> dict[str, str]:
            grpc_context.set_trailing_metadata([("seen", message["text"])])
            return {"text": message["text"].upper()}

        def Letters(self, message: dict[str, str]) -> Any:
            yield from ({"text": letter} for letter in message["text"])

        async def Join(self, messages: Any) -> dict[str, str]:
            texts = []
            async for message in messages:
                texts.append(message["text"])
            return {"text": "+".join(texts)}

        def Fail(self, message: dict[str, str], grpc_context: Any) -> None:
            grpc_context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            grpc_context.set_details("not that")
            raise ValueError(message)

    serve.run(Echo.bind(), route_prefix=None)
    pair = {"request_serializer": echo_service.pack, "response_deserializer": json.loads}
    x = {"text": "x"}
    with grpc.insecure_channel(address) as channel:
        answer, call = channel.unary_unary("/test.Echo/Upper", **pair).with_call({"text": "abc"}, timeout=40)
        assert answer == {"text": "ABC"}
        assert ("seen", "abc") in [(k, v) for k, v in call.trailing_metadata()]
        letters = channel.unary_stream("/test.Echo/Letters", **pair)({"text": "xyz"}, timeout=40)
        assert [letter["text"] for letter in letters] == ["x", "y", "z"]
        assert channel.stream_unary("/test.Echo/Join", **pair)(iter([x, x]), timeout=40) == {"text": "x+x"}
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Fail", **pair)(x, timeout=40)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.details() == "not that"
        elsewhere = (("application", "no"),)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/test.Echo/Upper", **pair)(x, timeout=40, metadata=elsewhere)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
