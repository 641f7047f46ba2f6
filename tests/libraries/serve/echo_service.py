"""A service of gRPC without generated code: messages are dictionaries, as JSON."""

from __future__ import annotations

import json
from typing import Any

SERVICE = "test.Echo"


def pack(message: dict[str, str]) -> bytes:
    """A message as bytes."""
    return json.dumps(message).encode()


def add_to_server(servicer: Any, server: Any) -> None:
    """As generated code registers a service."""
    import grpc

    pair = {"request_deserializer": json.loads, "response_serializer": pack}
    handlers = {
        "Upper": grpc.unary_unary_rpc_method_handler(servicer.Upper, **pair),
        "Letters": grpc.unary_stream_rpc_method_handler(servicer.Letters, **pair),
        "Join": grpc.stream_unary_rpc_method_handler(servicer.Join, **pair),
        "Fail": grpc.unary_unary_rpc_method_handler(servicer.Fail, **pair),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
