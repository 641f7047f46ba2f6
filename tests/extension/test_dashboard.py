"""The dashboard's pages: who sees them, when Panel is loaded, and the way behind Jupyter's proxy."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from rayjup_lab.services.proxy.upstream import Upstream
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.websocket import websocket_connect

from rayjup.cluster import dashboards, manager
from rayjup.cluster.dashboards import Server
from rayjup.observe import metrics

needs_panel = pytest.mark.skipif(
    importlib.util.find_spec("panel") is None,
    reason="Panel is not installed: pip install 'rayjup[dashboard]'",
)


@pytest.fixture
def server(jp_environ: Any) -> Server:
    return dashboards.start(manager.start("pages", num_cpus=1))


async def fetch(url: str, **options: Any) -> Any:
    options = {"follow_redirects": False, "raise_error": False, "request_timeout": 60, **options}
    return await AsyncHTTPClient().fetch(url, **options)


async def loaded(get: Callable[[], Any]) -> str:
    """The page, when it is there."""
    for _ in range(240):
        answer = await get()
        assert answer.code == 200, answer.body
        text = answer.body.decode()
        if "being loaded" not in text:
            return str(text)
        await asyncio.sleep(0.25)
    raise AssertionError("the pages were not loaded within a minute")


@needs_panel
async def test_a_browser_logs_in_once_and_sees_pages(server: Server) -> None:
    before = own_memory(server.pid)
    # Without the token: a page that says so, and no Panel behind it.
    html = {"Accept": "text/html"}
    index = await fetch(server.url + "/", headers=html)
    assert (index.code, index.headers["Location"]) == (302, "pages/overview")
    for headers in ({}, {"Cookie": "rayjup-token=x"}, {"Authorization": "Bearer of-somebody-else"}):
        page = await fetch(server.url + "/pages/overview", headers=headers)
        assert page.code == 401 and b"--show-token" in page.body
    assert (await fetch(server.url + "/login?token=wrong")).code == 401

    entry = await fetch(f"{server.url}/login?token={server.token}")
    assert (entry.code, entry.headers["Location"]) == (302, "pages/overview")
    cookie = entry.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    session = {"Cookie": cookie.split(";")[0]}
    assert own_memory(server.pid) < before + 10_000_000, "nobody has opened a page, so Panel is not there"
    page = await loaded(lambda: fetch(server.url + "/pages/overview", headers=session))
    assert "<header><strong>rayjup</strong>" in page
    assert server.token not in page, "the token stays out of pages"
    assert not re.search(r"""(src|href)=["']https?://""", page), "everything comes from here"
    assert (await fetch(server.url + "/pages/no-such", headers=session)).code == 404
    assert own_memory(server.pid) > before + 20_000_000

    # The cookie reads; it does not change anything.
    refused = await fetch(server.url + "/api/jobs/", method="POST", body="{}", headers=session)
    assert refused.code == 401

    # A page of another site may not open a page's websocket, though the browser sends the cookie.
    address = server.url.replace("http", "ws", 1) + "/pages/overview/ws"
    with pytest.raises(HTTPClientError, match="401"):
        await websocket_connect(HTTPRequest(address, headers={**session, "Origin": "https://evil.example"}))


@needs_panel
async def test_pages_through_the_proxy(server: Server, jp_fetch: Any, jp_ws_fetch: Any, api: Any) -> None:
    cluster = (await api("GET", "clusters"))[1]["clusters"][0]["cluster_id"]
    status, where = await api("POST", "clusters", cluster, "dashboard", body={})
    assert (status, where["path"]) == (200, f"rayjup/clusters/{cluster}/dashboard/")

    async def get(*parts: str) -> Any:
        return await jp_fetch(
            "rayjup", "clusters", cluster, "dashboard", *parts, raise_error=False, request_timeout=60
        )

    page = await loaded(lambda: get("pages", "trials"))
    assert 'href="./overview"' in page and server.token not in page
    scripts = re.findall(r'<script[^>]* src="([^"]+)"', page)
    assert scripts and not any(script.startswith(("/", "http")) for script in scripts)
    for script in scripts:
        answer = await get("pages", *script.split("?")[0].split("/"))
        assert answer.code == 200 and len(answer.body) > 1000
    # The cluster's own interface is there, too, without its token.
    answer = await get("api", "topics", "jobs")
    assert answer.code == 200 and "jobs" in json.loads(answer.body)
    assert b"ray_cluster_active_nodes" in (await get("metrics")).body

    # Pages are live over a websocket.
    page = (await get("pages", "overview")).body.decode()
    token = json.loads(re.findall(r"const render_items = (\[.*?\]);", page)[0])[0]["token"]
    parts = ("rayjup", "clusters", cluster, "dashboard", "pages", "overview", "ws")
    socket = await jp_ws_fetch(*parts, headers={"Sec-WebSocket-Protocol": f"bokeh, {token}"})
    assert socket.protocol is not None
    header = json.loads(await asyncio.wait_for(socket.read_message(), 20))
    assert header["msgtype"] == "ACK"
    socket.close()


async def test_grafana_shows_what_there_is_to_show(server: Server) -> None:
    bearer = {"Authorization": f"Bearer {server.token}"}
    assert (await fetch(server.url + "/api/grafana.json")).code == 401
    board = json.loads((await fetch(server.url + "/api/grafana.json", headers=bearer)).body)
    text = (await fetch(server.url + "/metrics", headers=bearer)).body.decode()
    assert "ray_cluster_active_nodes" in text
    # What a cluster has not got (GPUs, tasks up to now), it says nothing of.
    known = set(re.findall(r'"((?:ray|rayjup)_\w+)"', inspect.getsource(metrics)))
    assert set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) <= known
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(shown) >= 8
    for expression in shown:
        names = set(re.findall(r"\b(?:ray|rayjup)_\w+", expression))
        assert names and names <= known, f"{names - known} of {expression!r} is no metric"
    numbers = [panel["id"] for panel in board["panels"]]
    assert board["uid"] and board["title"] and len(set(numbers)) == len(numbers)


def own_memory(pid: int) -> int:
    """Bytes of memory that a process has of its own."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


class TestUpstream:
    """What goes to the server behind the proxy, and what comes back."""

    here = Upstream("http://127.0.0.1:9", "/base/rayjup/clusters/c/serve/")

    def test_what_is_meant_for_jupyter_stays_here(self) -> None:
        given = HTTPHeaders(
            {
                "Authorization": "token secret",
                "Cookie": "_xsrf=a; username-127-0-0-1-8888=b; jupyterhub-session-id=c; mine=d",
                "X-XSRFToken": "a",
                "Origin": "http://127.0.0.1:8888",
                "Connection": "keep-alive, x-drop",
                "X-Drop": "1",
                "X-Mine": "2",
            }
        )
        sent = dict(self.here.request_headers(given, "https").get_all())
        assert sent == {
            "Cookie": "mine=d",
            "X-Mine": "2",
            "X-Forwarded-Prefix": "/base/rayjup/clusters/c/serve",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "",
        }

    def test_the_dashboard_gets_its_token_and_no_cookies(self) -> None:
        there = Upstream("http://127.0.0.1:9", "/x/", "its-token")
        sent = dict(there.request_headers(HTTPHeaders({"Cookie": "mine=d"}), "http").get_all())
        assert sent["Authorization"] == "Bearer its-token" and "Cookie" not in sent

    @pytest.mark.parametrize(
        ("location", "seen"),
        [
            ("/pages/overview", "/base/rayjup/clusters/c/serve/pages/overview"),
            ("/a?b=c", "/base/rayjup/clusters/c/serve/a?b=c"),
            ("http://127.0.0.1:9/a", "/base/rayjup/clusters/c/serve/a"),
            ("https://elsewhere.example/a", "https://elsewhere.example/a"),
            ("next", "next"),
        ],
    )
    def test_addresses_are_as_the_browser_sees_them(self, location: str, seen: str) -> None:
        assert self.here.seen(location) == seen

    def test_cookies_of_the_application_stay_with_it(self) -> None:
        given = HTTPHeaders({"Set-Cookie": "a=b; Path=/; HttpOnly", "Transfer-Encoding": "chunked"})
        assert list(self.here.response_headers(given)) == [
            ("Set-Cookie", "a=b; Path=/base/rayjup/clusters/c/serve/; HttpOnly")
        ]
