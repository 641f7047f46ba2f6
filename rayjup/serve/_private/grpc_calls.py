"""The replica's side of gRPC: a method gets its request, and its context where it asks for one."""

from __future__ import annotations

import inspect
from typing import Any

from rayjup.serve._private.answers import items_of
from rayjup.serve.exceptions import gRPCStatusError
from rayjup.serve.grpc_util import gRPCInputStream


def _arguments(function: Any, request: Any, context: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(request, list):  # what the caller has streamed
        pieces = request

        async def again() -> Any:
            for one in pieces:
                yield one

        request = gRPCInputStream(again())
    named = "grpc_context" in inspect.signature(function).parameters
    return (request,), ({"grpc_context": context} if named else {})


async def call(function: Any, request: Any, context: Any) -> tuple[Any, Any]:
    """The answer of a method, and the context with what it has set there.

    Raises
    ------
    gRPCStatusError
        The method has set a status and raised.
    """
    args, kwargs = _arguments(function, request, context)
    try:
        value = function(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:
        if context.code() is not None and getattr(context.code(), "name", "OK") != "OK":
            raise gRPCStatusError(error, context.code(), context.details()) from error
        raise
    return value, context


async def stream(function: Any, request: Any, context: Any) -> Any:
    """The answers of a method that is a generator, each with the context."""
    args, kwargs = _arguments(function, request, context)
    value = function(*args, **kwargs)
    if inspect.isawaitable(value):
        value = await value
    async for item in items_of(value):
        yield item, context
