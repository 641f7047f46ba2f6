"""Who may ask: whoever shows the token. There is no way to switch that off."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from tornado.web import HTTPError, RequestHandler

from rayjup.base.exceptions import RayError


class Handler(RequestHandler):
    """A handler of JSON that answers only to the token."""

    token: str

    def initialize(self, token: str, **given: Any) -> None:
        self.token = token
        for name, value in given.items():
            setattr(self, name, value)

    def prepare(self) -> None:
        if not self.allowed():
            raise HTTPError(
                401, "this server wants a token: Authorization: Bearer …, see 'rayjup get-auth-token'"
            )

    def allowed(self) -> bool:
        """Whether the request shows the token: in a header, or (for reading only) in a cookie."""
        scheme, _, given = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = self.request.headers.get("X-Ray-Authorization", "").removeprefix("Bearer ")
        if not given and self.request.method in ("GET", "HEAD"):
            # A page of another site can make a browser send cookies, so these never change anything.
            given = self.get_cookie(self.cookie, "") or ""
        return self.is_token(given.strip())

    def is_token(self, given: str) -> bool:
        """Whether that is the token."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    @property
    def cookie(self) -> str:
        """Name of the cookie; cookies know no ports, so each server on this machine has another one."""
        return f"rayjup-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    def check_xsrf_cookie(self) -> None:
        """Not needed: what changes something needs a header, which other sites cannot set."""

    def body(self) -> dict[str, Any]:
        """The JSON object in the request."""
        try:
            found = json.loads(self.request.body or b"{}")
        except ValueError as error:
            raise HTTPError(400, f"the body is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise HTTPError(400, "the body must be a JSON object")
        return found

    def reply(self, value: Any) -> None:
        """Answer with JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(value, default=str))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        text = getattr(error, "log_message", None) or self._reason
        if isinstance(error, (ValueError, LookupError, RayError)):
            text = str(error.args[0]) if error.args else str(error)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, LookupError):
            status_code = 404
        elif isinstance(error, ValueError):
            status_code = 400
        elif isinstance(error, (ConnectionError, RayError)):
            status_code = 503
        super().send_error(status_code, **kwargs)
