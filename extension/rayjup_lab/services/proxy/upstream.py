"""What goes to the server behind the proxy, and what comes back: headers and addresses. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders

_HOP_BY_HOP = {
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
# Jupyter's own, which are nobody else's business; and what is made anew for each connection.
_OF_JUPYTER = {"authorization", "x-xsrftoken", "host", "content-length", "origin", "referer"}
_OF_WEBSOCKET = "sec-websocket-"
_PATH = re.compile(r"(;\s*path=)/", re.IGNORECASE)
_COOKIES_OF_JUPYTER = ("_xsrf", "username-", "jupyterhub-", "_jupyter")


@dataclass(frozen=True)
class Upstream:
    """A server on loopback.

    Parameters
    ----------
    url
        Where it listens, without a slash at the end.
    prefix
        Under which path the browser sees it, with a slash at the end.
    token
        What it wants to see; None: nothing.
    """

    url: str
    prefix: str
    token: str | None = None

    def address(self, path: str, query: str) -> str:
        """Where a request goes."""
        return f"{self.url}/{path}" + (f"?{query}" if query else "")

    def request_headers(self, given: HTTPHeaders, scheme: str) -> HTTPHeaders:
        """Headers of the request there: the browser's, without what is meant for Jupyter."""
        sent = HTTPHeaders()
        named = {name.strip().lower() for name in given.get("Connection", "").split(",")}
        for name, value in given.get_all():
            low = name.lower()
            if low in _HOP_BY_HOP | _OF_JUPYTER | named or low.startswith(_OF_WEBSOCKET) or low == "cookie":
                continue
            sent.add(name, value)
        cookies = _foreign_cookies(given.get("Cookie", ""))
        if cookies and self.token is None:
            sent["Cookie"] = cookies
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        sent["X-Forwarded-Prefix"] = self.prefix.rstrip("/")
        sent["X-Forwarded-Proto"] = scheme
        sent["X-Forwarded-Host"] = given.get("Host", "")
        return sent

    def response_headers(self, given: HTTPHeaders) -> Iterator[tuple[str, str]]:
        """Headers of the answer, with addresses as the browser sees them."""
        for name, value in given.get_all():
            low = name.lower()
            if low in _HOP_BY_HOP or low in ("content-length", "server", "date"):
                continue
            if low == "location":
                yield name, self.seen(value)
            elif low == "set-cookie":
                yield (
                    name,
                    _PATH.sub(lambda match: f"{match.group(1)}{self.prefix}", value),
                )
            else:
                yield name, value

    def seen(self, location: str) -> str:
        """An address of the upstream's as the browser has to ask for it."""
        there, here = urlsplit(location), urlsplit(self.url)
        if there.netloc and there.netloc != here.netloc:
            return location
        if not there.path.startswith("/"):
            return location
        path = self.prefix + there.path.lstrip("/")
        return path + (f"?{there.query}" if there.query else "")


def _foreign_cookies(header: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(header)
    except CookieError:
        return ""
    kept = [m for name, m in jar.items() if not name.startswith(_COOKIES_OF_JUPYTER)]
    return "; ".join(f"{m.key}={m.coded_value}" for m in kept)
