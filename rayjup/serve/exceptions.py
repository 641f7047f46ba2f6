"""Errors of serving (mirrors ``ray.serve.exceptions``)."""

from __future__ import annotations

import pickle
from typing import Any

from rayjup.exceptions import TaskCancelledError


class RayServeException(Exception):
    """What errors of serving have in common."""


class BackPressureError(RayServeException):
    """The queue in front of a deployment is full (its ``max_queued_requests``)."""

    def __init__(
        self,
        num_queued_requests: int,
        max_queued_requests: int,
        status_code: int = 503,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(num_queued_requests, max_queued_requests, status_code, retry_after_s)
        self._message = (
            f"Request dropped due to backpressure: {num_queued_requests} requests are queued, and "
            f"max_queued_requests is {max_queued_requests}. Send fewer at once, or add replicas."
        )
        self._status_code = status_code
        self._retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self._message

    @property
    def message(self) -> str:
        """The text."""
        return self._message

    @property
    def status_code(self) -> int:
        """What a client of HTTP gets."""
        return self._status_code

    @property
    def retry_after_s(self) -> float | None:
        """When a client may try again, if the deployment says so."""
        return self._retry_after_s


class RequestCancelledError(RayServeException, TaskCancelledError):
    """The request was cancelled."""

    def __init__(self, request_id: str | None = None) -> None:
        Exception.__init__(self, request_id)
        self._request_id = request_id

    def __str__(self) -> str:
        return f"Request {self._request_id} was cancelled." if self._request_id else "Request was cancelled."

    def to_bytes(self) -> bytes:
        """The error, pickled."""
        return pickle.dumps(self)

    @staticmethod
    def from_bytes(b: bytes) -> RequestCancelledError:
        """What :meth:`to_bytes` pickled."""
        return pickle.loads(b)  # type: ignore[no-any-return]

    @staticmethod
    def from_ray_exception(ray_exception: Any) -> RequestCancelledError:
        """The error for a call that was cancelled."""
        return RequestCancelledError(getattr(ray_exception, "_request_id", None))


class DeploymentUnavailableError(RayServeException):
    """The deployment cannot take calls: it failed to deploy, or it is gone."""

    def __init__(self, deployment_id: Any) -> None:
        super().__init__(deployment_id)
        self._deployment_id = deployment_id

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """The text."""
        return (
            f"{self._deployment_id} cannot take calls: it failed to deploy, or was deleted. "
            "serve.status() says what became of it."
        )


class ReplicaUnavailableError(RayServeException):
    """The replica that was chosen for a call is gone."""

    def __init__(self, replica_id: str) -> None:
        super().__init__(replica_id)
        self._replica_id = replica_id

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """The text."""
        return f"Replica {self._replica_id} is not available any more: choose another one."


class gRPCStatusError(RayServeException):
    """An error that carries the status which a client of gRPC is to get."""

    def __init__(
        self, original_exception: BaseException, code: Any = None, details: str | None = None
    ) -> None:
        super().__init__(original_exception, code, details)
        self._original_exception = original_exception
        self._code = code
        self._details = details

    def __str__(self) -> str:
        return f"{self._code}: {self._details or self._original_exception}"

    @property
    def original_exception(self) -> BaseException:
        """What was raised."""
        return self._original_exception

    @property
    def grpc_code(self) -> Any:
        """The status code, if one was set."""
        return self._code

    @property
    def grpc_details(self) -> str | None:
        """The text for the client, if one was set."""
        return self._details
