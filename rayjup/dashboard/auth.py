"""Who may ask: whoever shows the token. There is no way to switch that off."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

from tornado.web import HTTPError, RequestHandler

from rayjup.base.exceptions import RayError


class Token:
    """The token that has to be shown; for a while also the one before it.

    Parameters
    ----------
    now
        The token.
    older, until
        The one before it, and the time (of ``time.time()``) at which it ends.
    """

    def __init__(self, now: str, older: str = "", until: float = 0.0) -> None:
        self.now, self.older, self.until = now, older, until

    def accepted(self) -> list[str]:
        """What may be shown."""
        return [self.now, self.older] if self.older and time.time() < self.until else [self.now]

    def admits(self, given: str) -> bool:
        """Whether that may be shown."""
        return any([hmac.compare_digest(given.encode(), each.encode()) for each in self.accepted()])  # noqa: C419

    def renew(self, grace_s: float) -> None:
        """Make another one; the one there is ends after ``grace_s`` seconds."""
        self.now, self.older, self.until = secrets.token_urlsafe(24), self.now, time.time() + grace_s

    def end(self) -> None:
        """Take the one before it no longer."""
        self.until = 0.0

    def cookies(self) -> list[str]:
        """Names of the cookie; cookies know no ports, so each server on this machine has another one."""
        return [f"rayjup-{hashlib.sha256(each.encode()).hexdigest()[:12]}" for each in self.accepted()]


class Handler(RequestHandler):
    """A handler of JSON that answers only to the token."""

    token: Token

    def initialize(self, token: Token, **given: Any) -> None:
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
            found = [self.get_cookie(name) for name in self.token.cookies()]
            given = next((cookie for cookie in found if cookie), "")
        return self.is_token(given.strip())

    def is_token(self, given: str) -> bool:
        """Whether that is the token."""
        return self.token.admits(given)

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


class Renewal(Handler):
    """``/api/token``: ``POST`` for another token, ``DELETE`` to end the one before it.

    After a ``POST`` the one there is counts for ``grace_s`` seconds more.
    """

    renewed: Callable[[], None]

    def post(self) -> None:
        grace_s = self.body().get("grace_s", 0.0)
        if isinstance(grace_s, bool) or not isinstance(grace_s, (int, float)) or not 0 <= grace_s < 1e9:
            raise HTTPError(400, f"grace_s must be seconds, 0 or more, not {grace_s!r}")
        self.token.renew(float(grace_s))
        self.renewed()
        self.reply({"until": self.token.until})  # who may read the server's file finds the token there

    def delete(self) -> None:
        self.token.end()
        self.renewed()
        self.reply({})
