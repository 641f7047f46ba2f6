"""What all REST handlers share: who may call, how a body is read, how errors become answers."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from rayjup_lab.services.clusters.manager import ClustersManager
from rayjup_lab.services.errors import BadRequest, ServiceError

AUTH_RESOURCE = "rayjup"
Method = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Operation:
    """What one method of one route does, for the description of the interface."""

    summary: str
    status: int = 200
    body: dict[str, Any] | None = None
    query: dict[str, dict[str, Any]] = field(default_factory=dict)
    media_type: str = "application/json"


def operation(summary: str, **about: Any) -> Callable[[Method], Method]:
    """Make a method answer only to who is logged in and may do it, and describe it.

    There is no other way in these handlers to write a method, so none is open by accident.
    """

    def decorate(method: Method) -> Method:
        guarded: Any = web.authenticated(authorized(method))
        functools.update_wrapper(guarded, method)
        guarded.operation = Operation(summary, **about)
        return cast(Method, guarded)

    return decorate


class ApiHandler(APIHandler):
    """A handler of JSON."""

    auth_resource = AUTH_RESOURCE

    @property
    def clusters(self) -> ClustersManager:
        manager: ClustersManager = self.settings["rayjup_clusters"]
        return manager

    @property
    def user_name(self) -> str:
        """Who calls, as the server's identity provider names them."""
        return str(self.current_user.username)

    def reply(self, body: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.finish(json.dumps(body, default=str))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors made for the user keep their text and field; others go Jupyter's usual way."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ServiceError):
            self.set_header("Content-Type", "application/json")
            self.reply(error.to_json(), error.status)
        else:
            super().write_error(status_code, **kwargs)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Errors made for the user are no faults of the server."""
        if isinstance(value, ServiceError):
            self.log.info("rayjup: %s %s: %s", self.request.method, self.request.path, value.message)
        else:
            super().log_exception(typ, value, tb)

    def json_body(self) -> Any:
        """The body of the request; None when it is empty."""
        try:
            return json.loads(self.request.body) if self.request.body.strip() else None
        except ValueError as error:
            raise BadRequest(f"The body is not JSON: {error}") from error

    def json_object(self, *known: str) -> dict[str, Any]:
        """The body, which has to be an object with no other than these fields."""
        body = self.json_body()
        if body is None:
            return {}
        if not isinstance(body, dict):
            raise BadRequest("The body must be a JSON object.")
        for name in body:
            if name not in known:
                raise BadRequest(
                    f"Unknown field {name!r}; known are {', '.join(known) or 'none'}.", field=str(name)
                )
        return body

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number of the query."""
        text = self.get_query_argument(name, str(default))
        try:
            value = int(text)
        except ValueError as error:
            raise BadRequest(f"{name} must be a whole number; got {text[:40]!r}.", field=name) from error
        if not least <= value <= most:
            raise BadRequest(f"{name} must be between {least} and {most}; got {value}.", field=name)
        return value
