"""Errors a client can act on; handlers turn them into JSON replies."""

from __future__ import annotations


class ServiceError(Exception):
    """A request that cannot be served, with the HTTP status and a text for the user.

    Parameters
    ----------
    message : str
        What is wrong and what to do about it.
    field : str, optional
        The field of the request body that is at fault.
    """

    status = 500

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def to_json(self) -> dict[str, str]:
        body = {"message": self.message}
        if self.field is not None:
            body["field"] = self.field
        return body


class BadRequest(ServiceError):
    """The request itself is wrong; ``field`` says where."""

    status = 400


class Forbidden(ServiceError):
    """Somebody else may do that, but not this user."""

    status = 403


class NotFound(ServiceError):
    """There is no such cluster (any more)."""

    status = 404


class Conflict(ServiceError):
    """The request is fine, but not with what runs at the moment."""

    status = 409


class Failed(ServiceError):
    """The cluster machinery refused or broke; the message carries its reason."""

    status = 500


class Unreachable(ServiceError):
    """The cluster has a descriptor but does not answer."""

    status = 504
