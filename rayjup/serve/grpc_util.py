"""For methods that are called over gRPC (mirrors ``ray.serve.grpc_util``); needs the package grpcio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

__all__ = ["RayServegRPCContext", "gRPCInputStream"]

T = TypeVar("T")


class RayServegRPCContext:
    """What a method may know of its call, and say beside its answer. It can be pickled.

    A method with a parameter ``grpc_context`` gets one.
    """

    def __init__(self, grpc_context: Any) -> None:
        self._auth_context = dict(grpc_context.auth_context())
        self._invocation_metadata = [(k, v) for k, v in grpc_context.invocation_metadata() or ()]
        self._peer = grpc_context.peer()
        self._peer_identities = grpc_context.peer_identities()
        self._peer_identity_key = grpc_context.peer_identity_key()
        self._code: Any = grpc_context.code()
        self._details: Any = grpc_context.details()
        self._trailing_metadata: list[tuple[str, str]] = list(grpc_context.trailing_metadata() or ())
        self._compression: Any = None

    def _metadata(self, name: str) -> str | None:
        return next((v for k, v in self._invocation_metadata if k == name), None)

    def application(self) -> str | None:
        """The application that the caller names."""
        return self._metadata("application")

    def request_id(self) -> str | None:
        """The request's id."""
        return self._metadata("request_id")

    def multiplexed_model_id(self) -> str | None:
        """The model that the caller asks for."""
        return self._metadata("multiplexed_model_id")

    def traceparent(self) -> str | None:
        """The W3C trace context."""
        return self._metadata("traceparent")

    def tracestate(self) -> str | None:
        """The W3C trace state."""
        return self._metadata("tracestate")

    def auth_context(self) -> dict[str, Any]:
        """How the caller was authenticated."""
        return self._auth_context

    def invocation_metadata(self) -> list[tuple[str, str]]:
        """The caller's metadata."""
        return self._invocation_metadata

    def peer(self) -> str:
        """The caller's address."""
        return str(self._peer)

    def peer_identities(self) -> bytes | None:
        """Who the caller is."""
        return self._peer_identities  # type: ignore[no-any-return]

    def peer_identity_key(self) -> str | None:
        """What says so."""
        return self._peer_identity_key  # type: ignore[no-any-return]

    def code(self) -> Any:
        """The status code that was set."""
        return self._code

    def set_code(self, code: Any) -> None:
        """Set the status code."""
        self._code = code

    def details(self) -> str:
        """The text that was set."""
        return self._details  # type: ignore[no-any-return]

    def set_details(self, details: str) -> None:
        """Set a text for the caller."""
        self._details = details

    def trailing_metadata(self) -> list[tuple[str, str]]:
        """The metadata that follow the answer."""
        return self._trailing_metadata

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Set metadata to follow the answer."""
        self._trailing_metadata = trailing_metadata

    def set_compression(self, compression: Any) -> None:
        """Have the answer compressed."""
        self._compression = compression

    def _set_on_grpc_context(self, grpc_context: Any) -> None:
        """Hand on to the real context what was set here."""
        if self._code:
            grpc_context.set_code(self._code)
        if self._details:
            grpc_context.set_details(self._details)
        if self._trailing_metadata:
            grpc_context.set_trailing_metadata(self._trailing_metadata)
        if self._compression is not None:
            grpc_context.set_compression(self._compression)


class gRPCInputStream(Generic[T]):
    """What a caller sends in a stream: iterate with ``async for``."""

    def __init__(
        self, request_iterator: AsyncIterator[T], *, cancel_event: asyncio.Event | None = None
    ) -> None:
        self._iterator = request_iterator
        self._cancelled = cancel_event or asyncio.Event()
        self._exhausted = False

    def __aiter__(self) -> gRPCInputStream[T]:
        return self

    async def __anext__(self) -> T:
        if self._cancelled.is_set() or self._exhausted:
            raise StopAsyncIteration
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            self._exhausted = True
            raise

    def cancel(self) -> None:
        """Take no more."""
        self._cancelled.set()

    def is_cancelled(self) -> bool:
        """Whether no more is taken."""
        return self._cancelled.is_set()

    @property
    def is_exhausted(self) -> bool:
        """Whether the caller has sent everything."""
        return self._exhausted
