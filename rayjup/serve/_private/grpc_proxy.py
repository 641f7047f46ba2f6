"""gRPC in the proxy: services of the user's, whose methods are methods of deployments."""

from __future__ import annotations

import asyncio
import importlib
from typing import Any

import grpc

from rayjup.exceptions import RayError, TaskCancelledError
from rayjup.serve._private.common import DeploymentID
from rayjup.serve._private.table import Table
from rayjup.serve.config import imported
from rayjup.serve.context import RequestContext, _serve_request_context
from rayjup.serve.exceptions import BackPressureError, DeploymentUnavailableError, gRPCStatusError
from rayjup.serve.grpc_util import RayServegRPCContext
from rayjup.serve.handle import DeploymentHandle, new_request_id

_STATUS = grpc.StatusCode


class _AnyServicer:
    """Has every method, so that a service's own function can register it."""

    def __getattr__(self, name: str) -> Any:
        return name


class GrpcProxy:
    """A server of gRPC that hands calls to deployments.

    Parameters
    ----------
    options
        See :class:`rayjup.serve.config.gRPCOptions`.
    """

    def __init__(self, table: Table, options: dict[str, Any]) -> None:
        self.table = table
        self.options = options
        self.timeout_s = options.get("request_timeout_s")
        self.server: Any = None
        self.handles: dict[tuple[str, str], DeploymentHandle] = {}

    async def start(self) -> int:
        """Listen; the port."""
        self.server = grpc.aio.server()
        names = []
        for path in self.options["grpc_servicer_functions"]:
            collector = _Collector(self)
            imported(path)(_AnyServicer(), collector)
            self.server.add_generic_rpc_handlers(tuple(collector.handlers))
            names += collector.services
        if self.options.get("enable_reflection", True):
            try:
                reflection = importlib.import_module("grpc_reflection.v1alpha.reflection")
            except ImportError:
                pass  # clients then have to know the services
            else:
                reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self.server)
        port = self.server.add_insecure_port(f"127.0.0.1:{self.options['port']}")
        await self.server.start()
        return int(port)

    async def close(self) -> None:
        """Stop listening."""
        if self.server is not None:
            await self.server.stop(1.0)

    async def _handle(self, context: Any) -> tuple[DeploymentHandle, RequestContext]:
        metadata = dict(context.invocation_metadata() or ())
        name = metadata.get("application")
        apps = self.table.apps
        if name is None and len(apps) == 1:
            name = next(iter(apps))
        if name not in apps:
            there = ", ".join(sorted(apps)) or "(none)"
            await context.abort(
                _STATUS.NOT_FOUND,
                f"Application '{name or ''}' not found. Set the metadata 'application' to one of: {there}.",
            )
        request_id = metadata.get("request_id") or new_request_id()
        model = metadata.get("multiplexed_model_id", "")
        request = RequestContext(request_id, "", str(name), model)
        _serve_request_context.set(request)
        id = DeploymentID(apps[str(name)]["ingress"], str(name))
        key = (id.app_name, id.name)
        handle = self.handles.get(key)
        if handle is None:
            handle = self.handles[key] = DeploymentHandle(id.name, id.app_name)
        return (handle.options(multiplexed_model_id=model) if model else handle), request

    async def unary(self, method: str, request: Any, context: Any) -> Any:
        """A call with one answer."""
        handle, known = await self._handle(context)
        shared = RayServegRPCContext(context)
        try:
            call = handle.options(method_name=f"{method}\0grpc\0cloudpickle").remote(request, shared)
            answer, shared = await asyncio.wait_for(call, self.timeout_s)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - every error has to become a status
            await self._abort(context, error)
        shared._set_on_grpc_context(context)
        context.set_trailing_metadata((*shared.trailing_metadata(), ("request_id", known.request_id)))
        return answer

    async def stream(self, method: str, request: Any, context: Any) -> Any:
        """A call whose answers come one by one."""
        handle, _ = await self._handle(context)
        shared = RayServegRPCContext(context)
        try:
            options = handle.options(method_name=f"{method}\0grpc\0cloudpickle", stream=True)
            async for answer, latest in options.remote(request, shared):  # type: ignore[union-attr]
                shared = latest
                yield answer
        except Exception as error:  # noqa: BLE001 - every error has to become a status
            await self._abort(context, error)
        shared._set_on_grpc_context(context)

    async def _abort(self, context: Any, error: BaseException) -> None:
        if isinstance(error, gRPCStatusError) or hasattr(error, "grpc_code"):
            code = getattr(error, "grpc_code", None) or _STATUS.INTERNAL
            await context.abort(code, getattr(error, "grpc_details", None) or str(error))
        if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
            await context.abort(_STATUS.DEADLINE_EXCEEDED, f"no answer within {self.timeout_s} s")
        if isinstance(error, BackPressureError):
            await context.abort(_STATUS.RESOURCE_EXHAUSTED, error.message)
        if isinstance(error, DeploymentUnavailableError):
            await context.abort(_STATUS.UNAVAILABLE, error.message)
        if isinstance(error, TaskCancelledError):
            await context.abort(_STATUS.CANCELLED, str(error))
        text = str(error) if isinstance(error, RayError) else f"{type(error).__name__}: {error}"
        await context.abort(_STATUS.INTERNAL, text)


class _Collector:
    """Stands for a server while a service registers itself: its methods go to deployments instead."""

    def __init__(self, proxy: GrpcProxy) -> None:
        self.proxy = proxy
        self.handlers: list[Any] = []
        self.services: list[str] = []

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """As generated code calls it for speed; what counts comes with the other function."""

    def add_generic_rpc_handlers(self, generic: Any) -> None:
        """As generated code calls it."""
        for one in generic:
            service = one.service_name()
            self.services.append(service)
            methods = {path.rpartition("/")[2]: handler for path, handler in one._method_handlers.items()}
            changed = {name: self._redirect(name, handler) for name, handler in methods.items()}
            self.handlers.append(grpc.method_handlers_generic_handler(service, changed))

    def _redirect(self, name: str, handler: Any) -> Any:
        proxy = self.proxy
        pair = (handler.request_deserializer, handler.response_serializer)
        if handler.request_streaming:

            async def gathered(requests: Any, context: Any) -> Any:
                return await proxy.unary(name, [one async for one in requests], context)

            async def gathered_stream(requests: Any, context: Any) -> Any:
                async for answer in proxy.stream(name, [one async for one in requests], context):
                    yield answer

            if handler.response_streaming:
                return grpc.stream_stream_rpc_method_handler(gathered_stream, *pair)
            return grpc.stream_unary_rpc_method_handler(gathered, *pair)
        if handler.response_streaming:

            async def streaming(request: Any, context: Any) -> Any:
                async for answer in proxy.stream(name, request, context):
                    yield answer

            return grpc.unary_stream_rpc_method_handler(streaming, *pair)

        async def unary(request: Any, context: Any) -> Any:
            return await proxy.unary(name, request, context)

        return grpc.unary_unary_rpc_method_handler(unary, *pair)
