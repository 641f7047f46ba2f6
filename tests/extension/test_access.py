"""Who may call: every route wants a token, an XSRF cookie where a browser calls, and permission."""

from __future__ import annotations

import json
import re
from http.cookies import SimpleCookie
from typing import Any

import pytest
from jupyter_server.auth.authorizer import Authorizer
from rayjup_lab.services.clusters.handlers import ClustersHandler
from rayjup_lab.services.proxy.handlers import ProxyHandler
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def registered_routes(web_app: Any) -> list[tuple[str, type[RequestHandler]]]:
    """Path (with every group filled in) and handler of each route of ours the server knows."""
    rules = [rule for group in web_app.default_router.rules for rule in getattr(group.target, "rules", [])]
    ours = [
        rule for rule in [*rules, *web_app.wildcard_router.rules] if "/rayjup/" in rule.matcher.regex.pattern
    ]
    return [(filled(r.matcher.regex.pattern.rstrip("$")), r.target) for r in ours]


def filled(pattern: str) -> str:
    """A path that a route takes: of a choice the first, otherwise anything."""

    def choose(match: re.Match[str]) -> str:
        first = match.group(1).split("|")[0]
        return first if first.isidentifier() else "some-id"

    return re.sub(r"\(([^)]*)\)", choose, pattern)


def calls(web_app: Any) -> list[tuple[str, str, dict[str, str]]]:
    """Every method of every route that is implemented, with the headers it needs."""
    found = []
    for path, handler in registered_routes(web_app):
        for method in METHODS:
            if getattr(handler, method.lower()) is not RequestHandler._unimplemented_method:
                headers = UPGRADE if issubclass(handler, WebSocketHandler) else {}
                found.append((method, path.replace("\\", ""), dict(headers)))
    return found


async def status_of(client: Any, method: str, path: str, headers: dict[str, str]) -> int:
    reply = await client.fetch(
        path,
        method=method,
        headers=headers,
        body="{}" if method in ("POST", "PUT", "PATCH") else None,
        follow_redirects=False,
        raise_error=False,
    )
    if reply.code == 302 and "/login?" in reply.headers["Location"]:
        return 401  # a page that is asked for without a session leads to the login
    return int(reply.code)


def test_the_walk_finds_all_routes(jp_web_app: Any) -> None:
    found = {(method, path.rsplit("/rayjup/", 1)[1]) for method, path, _ in calls(jp_web_app)}
    assert {
        ("GET", "clusters"),
        ("POST", "clusters"),
        ("DELETE", "clusters"),
        ("GET", "clusters/some-id"),
        ("DELETE", "clusters/some-id"),
        ("GET", "clusters/some-id/snapshot"),
        ("GET", "live"),
        ("GET", "openapi.json"),
        ("GET", "clusters/some-id/trials"),
        ("POST", "clusters/some-id/runs/tune/some-id/stop"),
        ("DELETE", "clusters/some-id/dashboard/some-id"),
    } <= found


async def test_the_description_has_every_method_of_every_route(
    jp_web_app: Any, jp_fetch: Any, jp_base_url: str
) -> None:
    described = json.loads((await jp_fetch("rayjup", "openapi.json")).body)
    assert described["openapi"].startswith("3.")
    paths = {
        (method.upper(), re.sub(r"{[^}]*}", "X", path))
        for path, entry in described["paths"].items()
        for method in entry
        if method != "parameters"
    }
    routes = {
        (method, re.sub(r"\([^)]*\)", "X", pattern[len(jp_base_url.rstrip("/")) :]).replace("\\", ""))
        for pattern, handler in patterns(jp_web_app, jp_base_url)
        for method in METHODS
        if method != "HEAD" or issubclass(handler, ProxyHandler)
        if getattr(handler, method.lower()) is not RequestHandler._unimplemented_method
    }
    assert paths == routes
    names = [
        about["operationId"]
        for entry in described["paths"].values()
        for method, about in entry.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))
    for entry in described["paths"].values():
        for parameter in entry.get("parameters", ()):
            assert parameter["in"] == "path" and parameter["name"]


def patterns(web_app: Any, base_url: str) -> list[tuple[str, type[RequestHandler]]]:
    """Pattern and handler of each route of ours."""
    rules = [rule for group in web_app.default_router.rules for rule in getattr(group.target, "rules", [])]
    found = [(rule.matcher.regex.pattern.rstrip("$"), rule.target) for rule in rules]
    prefix = re.escape(base_url).replace("/", "/")
    return [
        (f"{base_url}rayjup/{pattern.split('/rayjup/', 1)[1]}", target)
        for pattern, target in found
        if "/rayjup/" in pattern and pattern.startswith((base_url, prefix))
    ]


class TestWithoutToken:
    async def test_every_route_refuses(self, jp_web_app: Any, http_server_client: Any) -> None:
        answers = {
            (method, path): await status_of(http_server_client, method, path, headers)
            for method, path, headers in calls(jp_web_app)
        }
        assert answers
        assert {call: code for call, code in answers.items() if code not in (401, 403)} == {}

    async def test_a_wrong_token_is_as_good_as_none(self, jp_web_app: Any, http_server_client: Any) -> None:
        for method, path, headers in calls(jp_web_app):
            wrong = {**headers, "Authorization": "token of-somebody-else"}
            assert await status_of(http_server_client, method, path, wrong) in (401, 403), (method, path)


class TestWithoutTokenWhereTheServerIsLax(TestWithoutToken):
    """The same with ``allow_unauthenticated_access``: our handlers check by themselves."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: dict[str, Any]) -> dict[str, Any]:
        jp_server_config["ServerApp"]["allow_unauthenticated_access"] = True
        return jp_server_config


@pytest.fixture
def log_in(jp_serverapp: Any, http_server_client: Any, jp_base_url: str) -> Any:
    """``await log_in()`` gives the cookies a browser holds after it has logged in with the token."""

    async def call() -> SimpleCookie:
        token = jp_serverapp.identity_provider.token
        welcome = await http_server_client.fetch(f"{jp_base_url}api/me?token={token}")
        form = await http_server_client.fetch(
            f"{jp_base_url}login", raise_error=False, follow_redirects=False
        )
        jar = SimpleCookie()
        for header in [*welcome.headers.get_list("Set-Cookie"), *form.headers.get_list("Set-Cookie")]:
            jar.load(header)
        assert jar["_xsrf"].value
        return jar

    return call


def cookie_header(jar: SimpleCookie) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items() if morsel.value)}


async def test_a_browser_must_send_the_xsrf_token(
    log_in: Any, http_server_client: Any, jp_base_url: str
) -> None:
    jar = await log_in()

    async def post(headers: dict[str, str]) -> int:
        reply = await http_server_client.fetch(
            f"{jp_base_url}rayjup/clusters",
            method="POST",
            body='{"num_cpus": "no number"}',
            headers={**cookie_header(jar), **headers},
            raise_error=False,
        )
        return int(reply.code)

    assert await post({}) == 403
    assert await post({"X-XSRFToken": "made-up"}) == 403
    # With the right one the request gets as far as being found nonsense.
    assert await post({"X-XSRFToken": jar["_xsrf"].value}) == 400


async def test_a_page_of_another_site_cannot_open_the_websocket(
    log_in: Any, http_server_client: Any, jp_base_url: str
) -> None:
    # A browser sends its cookies along with a websocket that any page opens; the origin tells.
    cookies = cookie_header(await log_in())
    host = http_server_client.get_url("").split("//", 1)[1].rstrip("/")

    async def open_from(origin: str) -> None:
        url = f"ws://{host}{jp_base_url}rayjup/live"
        socket = await websocket_connect(HTTPRequest(url, headers={**cookies, "Origin": origin}))
        socket.close()

    with pytest.raises(HTTPClientError, match="403"):
        await open_from("https://evil.example")
    await open_from(f"http://{host}")


async def test_a_page_without_a_session_leads_to_the_login(http_server_client: Any, jp_base_url: str) -> None:
    path = f"{jp_base_url}rayjup/clusters/some-id/dashboard/"
    reply = await http_server_client.fetch(path, follow_redirects=False, raise_error=False)
    assert reply.code == 302 and reply.headers["Location"].startswith(f"{jp_base_url}login?next=")


async def test_pages_behind_the_proxy_need_the_xsrf_token_or_the_word_of_the_browser(
    log_in: Any, http_server_client: Any, jp_base_url: str
) -> None:
    jar = await log_in()

    async def post(headers: dict[str, str]) -> int:
        reply = await http_server_client.fetch(
            f"{jp_base_url}rayjup/clusters/some-id/serve/",
            method="POST",
            body="x",
            headers={**cookie_header(jar), **headers},
            raise_error=False,
        )
        return int(reply.code)

    assert await post({}) == 403
    assert await post({"Sec-Fetch-Site": "cross-site"}) == 403
    assert await post({"Sec-Fetch-Site": "same-site"}) == 403
    assert await post({"Sec-Fetch-Site": "same-origin"}) == 404  # there is no such cluster
    assert await post({"X-XSRFToken": jar["_xsrf"].value}) == 404


class MayOnlyRead(Authorizer):
    """Allows reading what is not ours to a user who is logged in, and nothing of rayjup."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return resource != ClustersHandler.auth_resource


class TestAuthorizer:
    @pytest.fixture
    def jp_server_config(self, jp_server_config: dict[str, Any]) -> dict[str, Any]:
        jp_server_config["ServerApp"]["authorizer_class"] = MayOnlyRead
        return jp_server_config

    async def test_has_the_last_word_on_every_route(
        self, jp_web_app: Any, http_server_client: Any, jp_auth_header: dict[str, str]
    ) -> None:
        for method, path, headers in calls(jp_web_app):
            if method != "HEAD":
                code = await status_of(http_server_client, method, path, {**headers, **jp_auth_header})
                assert code == 403, (method, path)
