"""What ASGI speaks of, as plain data for the way between two processes.

A piece of a body is ``(body, more)``, the beginning of an answer ``(status, headers, None)``; messages
of websockets stay what they are.
"""

from __future__ import annotations

from typing import Any


def fields_of(
    scope: dict[str, Any], body: bytes, more: bool, request_id: str, prefix: str
) -> tuple[Any, ...]:
    """A request as plain data."""
    client, server = scope.get("client"), scope.get("server")
    return (
        scope["type"],
        scope.get("method", "GET"),
        scope["path"],
        scope.get("raw_path") or b"",
        scope["query_string"],
        [tuple(pair) for pair in scope["headers"]],
        tuple(client) if client else None,
        tuple(server) if server else None,
        scope["scheme"],
        scope["http_version"],
        list(scope.get("subprotocols") or ()),
        scope.get("root_path") or "",
        body,
        more,
        request_id,
        prefix,
    )


def scope_of(fields: Any) -> dict[str, Any]:
    """The scope of a request, from the first twelve of :func:`fields_of`."""
    kind, method, path, raw, query, headers, client, server, scheme, version, subs, root = fields
    scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "scheme": scheme,
        "path": path,
        "raw_path": raw,
        "query_string": query,
        "headers": headers,
        "client": client,
        "server": server,
        "root_path": root,
        "state": {},
    }
    if kind == "websocket":
        scope["subprotocols"] = subs
    else:
        scope["method"] = method
    return scope


def asked(piece: tuple[bytes, bool]) -> dict[str, Any]:
    """A piece of a request's body, as the application receives it."""
    return {"type": "http.request", "body": piece[0], "more_body": piece[1]}


def said(piece: tuple[Any, ...]) -> dict[str, Any]:
    """The beginning of an answer, or a piece of its body, as the application has sent it."""
    if len(piece) == 3:
        return {"type": "http.response.start", "status": piece[0], "headers": piece[1]}
    return {"type": "http.response.body", "body": piece[0], "more_body": piece[1]}


def start(message: dict[str, Any]) -> tuple[int, list[tuple[bytes, bytes]], None]:
    """The beginning of an answer as data."""
    return int(message["status"]), headers_of(message), None


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message of a websocket as data."""
    found = {k: v for k, v in message.items() if v is not None}
    if "headers" in found:
        found["headers"] = headers_of(found)
    return found


def headers_of(message: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """The headers of a message, whatever sequences of bytes they are."""
    return [(bytes(k), bytes(v)) for k, v in message.get("headers", ())]
