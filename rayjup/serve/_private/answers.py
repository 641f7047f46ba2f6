"""What a deployment's function returns, as a response of HTTP."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from rayjup.serve._private import pool

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NO_BODY = frozenset((204, 304))
_orjson_dumps: Any = None
if importlib.util.find_spec("orjson") is not None:
    _orjson_dumps = importlib.import_module("orjson").dumps


def to_json(value: Any) -> bytes:
    """``value`` as JSON, without needless spaces; models, arrays and dataclasses included."""
    try:
        if _orjson_dumps is not None:
            return _orjson_dumps(value)
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except TypeError:
        from fastapi.encoders import jsonable_encoder  # takes 0.2 s, and is rarely needed

        encoded = jsonable_encoder(value, custom_encoder=_numpy_encoders())
        return json.dumps(encoded, separators=(",", ":"), ensure_ascii=False).encode()


def _numpy_encoders() -> dict[Any, Any]:
    import numpy

    return {
        numpy.ndarray: lambda array: array.tolist(),
        numpy.generic: lambda number: number.item(),
        **{
            kind: (lambda number: number.item())
            for kind in (numpy.float16, numpy.float32, numpy.float64, numpy.int32, numpy.int64, numpy.bool_)
        },
    }


def body_of(value: Any) -> tuple[bytes, bytes]:
    """The content and its type."""
    if value is None:
        return b"", b"text/plain; charset=utf-8"
    if isinstance(value, str):
        return value.encode(), b"text/plain; charset=utf-8"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), b"application/octet-stream"
    return to_json(value), b"application/json"


def is_stream(value: Any) -> bool:
    """Whether it is a generator, whose items are sent as they come."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)


async def items_of(value: Any) -> AsyncIterator[Any]:
    """The items of a generator of either kind."""
    if inspect.isasyncgen(value):
        async for item in value:
            yield item
    elif pool.current is not None:
        async for item in pool.current.items(value):
            yield item
    else:
        for item in value:
            yield item


async def send_answer(
    value: Any, scope: Any, receive: Any, send: Any, headers: list[tuple[bytes, bytes]]
) -> int:
    """Send what the user's function returned; the status code."""
    if isinstance(value, Response):
        for name, content in headers:
            value.raw_headers.append((name, content))
        await value(scope, receive, send)
        return value.status_code
    if is_stream(value):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/plain; charset=utf-8"), *headers],
            }
        )
        async for item in items_of(value):
            await send({"type": "http.response.body", "body": body_of(item)[0], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return 200
    body, kind = body_of(value)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(body)), (b"content-type", kind), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
    return 200


async def send_text(
    send: Any, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None
) -> int:
    """Send a short text; the status code."""
    body = text.encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-length", b"%d" % len(body)),
                (b"content-type", b"text/plain; charset=utf-8"),
                *(headers or ()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
    return status


def has_length(start: dict[str, Any]) -> bool:
    """Whether the beginning of an answer says how long it is."""
    return any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))


def block_of(start: dict[str, Any], size: int, method: str) -> tuple[bytes, bool]:
    """The lines of headers of a complete answer, and whether the connection is to end with it.

    Raises
    ------
    RuntimeError
        A header has characters that would not stay in its line, or there is no such status.
    """
    if not 100 <= start["status"] <= 599:
        raise RuntimeError(f"{start['status']} is no status of HTTP")
    lines: list[bytes] = []
    length, close = size, False
    for name, value in start.get("headers", ()):
        if _NAME.fullmatch(name) is None or _BAD_VALUE.search(value):
            raise RuntimeError(f"the header {bytes(name)!r} has characters that HTTP does not allow")
        lower = bytes(name).lower()
        if lower == b"content-length":
            length = int(value) if method == "HEAD" else size
        elif lower == b"connection":
            close = close or b"close" in bytes(value).lower()
        elif lower != b"transfer-encoding":
            lines += (lower, b": ", value, b"\r\n")
    if start["status"] >= 200 and start["status"] not in _NO_BODY:
        lines.append(b"content-length: %d\r\n" % length)
    return b"".join(lines), close
