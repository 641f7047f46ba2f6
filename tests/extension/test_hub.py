"""The extension in a server that JupyterHub starts for a user who has logged in."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.jupyterlab import set_up_home

from rayjup.cluster import descriptors, manager

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        importlib.util.find_spec("jupyterhub") is None,
        reason="JupyterHub is not installed: pip install jupyterhub",
    ),
    pytest.mark.skipif(
        shutil.which("configurable-http-proxy") is None,
        reason="JupyterHub's proxy is not on the path: npm install -g configurable-http-proxy",
    ),
]

CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}/lab-of-many"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = ["{python}", "-m", "jupyterhub.singleuser", "--allow-root"]
c.Spawner.args = ["--ServerApp.jpserver_extensions={{'rayjup_lab': True, 'jupyterlab': True}}"]
c.Spawner.env_keep = {keep}
c.Spawner.http_timeout = 90
c.Spawner.start_timeout = 90
c.JupyterHub.db_url = "sqlite:///{home}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{home}/secret"
"""


@pytest.fixture
def jp_server_cleanup() -> None:
    """JupyterHub starts the server here; there is none in this process to clean up."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A hub on a free loopback port, under a prefix: its address."""
    home = tmp_path
    set_up_home(home)
    runtime = home / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_PATH": str(home / "share"),
        "CONFIGPROXY_AUTH_TOKEN": os.urandom(16).hex(),
    }
    environment.pop("JUPYTER_NO_CONFIG", None)
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(3)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        port, own, api = (one.getsockname()[1] for one in held)
    keep = ["PATH", "PYTHONPATH", "TMPDIR", *(name for name in environment if name.startswith("JUPYTER_"))]
    config = home / "hub.py"
    config.write_text(CONFIG.format(port=port, hub=own, api=api, python=sys.executable, keep=keep, home=home))
    with (home / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(config)],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield f"http://127.0.0.1:{port}/lab-of-many"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            for descriptor in descriptors.list_clusters():
                manager.stop(descriptor.cluster_id)


def test_a_user_of_a_hub(hub: str, tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    with httpx.Client(timeout=60, follow_redirects=True) as browser:
        wait_for(lambda: browser.get(f"{hub}/hub/login").status_code == 200, log)
        xsrf = browser.cookies.get("_xsrf", path="/lab-of-many/hub/")
        entry = browser.post(
            f"{hub}/hub/login", data={"username": "ada", "password": "x", "_xsrf": xsrf}, params={"next": ""}
        )
        assert entry.status_code in (200, 424), entry.text[:500]
        mine = f"{hub}/user/ada"
        browser.get(f"{hub}/hub/spawn/ada")
        # Until the server is up, the hub answers with pages of its own; then a page leads through its login.
        wait_for(lambda: browser.get(f"{mine}/lab").url.path == "/lab-of-many/user/ada/lab", log)
        token = browser.cookies.get("_xsrf", path="/lab-of-many/user/ada/")
        assert token
        headers = {"X-XSRFToken": token}  # a hub wants to see it even where nothing is changed
        found = browser.get(f"{mine}/rayjup/clusters", headers=headers)
        assert found.status_code == 200, log.read_text()[-5000:]
        assert found.json() == {"clusters": [], "starting": []}

        # A browser of the hub has to send the token against forgery, too.
        refused = browser.post(f"{mine}/rayjup/clusters", json={"num_cpus": 1})
        assert refused.status_code == 403
        made = browser.post(
            f"{mine}/rayjup/clusters", json={"num_cpus": 1, "name": "of-ada"}, headers=headers
        )
        assert made.status_code == 201, made.text
        cluster = made.json()["cluster_id"]
        assert made.headers["Location"].endswith(f"/lab-of-many/user/ada/rayjup/clusters/{cluster}")

        # The dashboard below the user's own prefix.
        where = browser.post(f"{mine}/rayjup/clusters/{cluster}/dashboard", json={}, headers=headers)
        assert where.json()["path"] == f"rayjup/clusters/{cluster}/dashboard/"
        metrics = browser.get(f"{mine}/{where.json()['path']}metrics", headers={"Sec-Fetch-Mode": "navigate"})
        assert "ray_cluster_active_nodes" in metrics.text
        watch(hub, browser, cluster)

    # Somebody else, and nobody at all, get nothing.
    with httpx.Client(timeout=60) as stranger:
        answer = stranger.get(f"{mine}/rayjup/clusters")
        assert answer.status_code in (302, 403) and "of-ada" not in answer.text


def watch(hub: str, browser: httpx.Client, cluster: str) -> None:
    """The websocket through hub's proxy."""
    from websockets.sync.client import connect

    cookies = "; ".join(
        f"{c.name}={c.value}"
        for c in browser.cookies.jar
        if c.path in ("/lab-of-many/user/ada/", "/lab-of-many/")
    )
    address = hub.replace("http", "ws", 1) + "/user/ada/rayjup/live"
    with connect(address, additional_headers={"Cookie": cookies}, origin=hub.rsplit("/", 1)[0]) as line:  # type: ignore[arg-type]
        line.send(json.dumps({"type": "subscribe", "topic": "snapshot", "cluster": cluster}))
        message: dict[str, Any] = json.loads(line.recv(timeout=20))
        assert (message["type"], message["topic"]) == ("whole", "snapshot")
        assert message["document"]["name"] == "of-ada"


def wait_for(condition: Any, log: Path, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return
        assert time.monotonic() < deadline, log.read_text()[-6000:]
        time.sleep(0.5)
