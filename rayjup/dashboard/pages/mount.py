"""Where pages sit in the REST server: who may see them, and loading Panel when the first is opened."""

from __future__ import annotations

import asyncio
import html
import importlib.util
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import PathMatches, Router, Rule
from tornado.web import Application, RequestHandler

from rayjup.dashboard.auth import Handler, Token
from rayjup.dashboard.pages.feed import Feed

PREFIX = "/pages"
PAGES = (
    "overview",
    "nodes",
    "tasks",
    "objects",
    "timeline",
    "trials",
    "training",
    "deployments",
    "jobs",
    "logs",
)
_WAIT = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>rayjup</title>
<body style="font-family:sans-serif;color-scheme:light dark;margin:3em"><p>{text}</p>"""
_SAY = _WAIT.replace('<meta http-equiv="refresh" content="1">', "")


class Entry(Handler):
    """``GET /login?token=…``: a browser shows the token once, and then has a cookie."""

    def allowed(self) -> bool:
        return True

    def get(self) -> None:
        if not self.is_token(self.get_query_argument("token", "")):
            self.set_status(401)
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(_SAY.format(text=_HOW_TO_LOG_IN))
            return
        self.set_cookie(self.token.cookies()[0], self.token.now, httponly=True, samesite="Strict", path="/")
        self.redirect("pages/overview")


class _Page(Handler):
    """Anything but a page that is ready: not allowed, not there, still loading."""

    def initialize(self, token: Token, **given: Any) -> None:
        super().initialize(token)
        self.pages: Pages = given["pages"]

    def prepare(self) -> None:
        """Whether it is allowed is said in a page."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        if not self.pages.allows(self.request):
            self.set_status(401)
            self.finish(_SAY.format(text=_HOW_TO_LOG_IN))
        elif self.pages.problem is not None:
            self.set_status(503)
            self.finish(_SAY.format(text=html.escape(self.pages.problem)))
        elif self.pages.application is None:
            self.finish(_WAIT.format(text="The pages are being loaded…"))
        else:
            self.redirect(self.request.uri or f"{PREFIX}/overview")


_HOW_TO_LOG_IN = (
    "This is a rayjup dashboard, and it wants to see its token: open the address that "
    "<code>rayjup dashboard --show-token</code> prints, or open it from JupyterLab's panel."
)


class Pages(Router):
    """Passes requests on to Panel's server, once it is there, from whoever may see the pages.

    Parameters
    ----------
    feed
        What pages show.
    token
        What has to be shown.
    """

    def __init__(self, feed: Feed, token: Token) -> None:
        self.feed = feed
        self.application: Application | None = None
        self.problem: str | None = None
        self._loading: asyncio.Task[None] | None = None
        self._token = token
        self._before = Application(
            [(rf"{PREFIX}/.*", _Page, {"token": token, "pages": self})], log_function=lambda handler: None
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Panel's handler; before it is there, and for those who may not, a page that says so."""
        if self.allows(request):
            if self.application is not None:
                return self.application.find_handler(request, **kwargs)
            if self._loading is None:
                self._loading = asyncio.ensure_future(self._load())
        return self._before.find_handler(request, **kwargs)

    def allows(self, request: HTTPServerRequest) -> bool:
        """Whether a request shows the token, and comes from no page of another site."""
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return False  # a browser would send its cookie along with a websocket of any page
        # What follows reads only, as far as HTTP goes: pages act over their websocket.
        return (
            request.method in ("GET", "HEAD") and _Asking(self._before, request, token=self._token).allowed()
        )

    async def _load(self) -> None:
        if importlib.util.find_spec("panel") is None:
            self.problem = (
                "The pages need Panel, which is not installed where the cluster runs: "
                "pip install 'rayjup[dashboard]'. REST, metrics and jobs work without it."
            )
            return
        application = await asyncio.to_thread(_import)
        self.application = application(self.feed, PREFIX)


class _Asking(Handler):
    """A handler that only says whether a request is allowed."""


def _import() -> Any:
    from rayjup.dashboard.pages.frame import application

    return application


def rules(feed: Feed, token: Token) -> list[Any]:
    """The routes of the pages."""
    return [
        (r"/login", Entry, {"token": token}),
        Rule(PathMatches(rf"{PREFIX}/.*"), Pages(feed, token)),
    ]


def wants_page(handler: RequestHandler) -> bool:
    """Whether a browser asks, rather than a program."""
    return "text/html" in handler.request.headers.get("Accept", "")
