"""A JupyterLab as a user starts it, and what a browser test needs besides. Imported as fixtures."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest

from rayjup.cluster import descriptors, manager

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "extension"


@pytest.fixture
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            return program
    pytest.skip("no Chromium on the path: install the package chromium to run the browser test")


@pytest.fixture
def panel_is_built() -> None:
    if not (EXTENSION / "node_modules" / "playwright-core").is_dir():
        pytest.skip("the browser driver is missing: run `npm ci` in extension/")
    if not (EXTENSION / "rayjup_lab" / "labextension" / "package.json").is_file():
        pytest.skip("the panel is not built: run `npm run build:prod` in extension/")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def set_up_home(home: Path) -> Path:
    """A Jupyter of its own below ``home``, with this checkout's panel and kernel; its notebooks."""
    share = home / "share"
    for link, target in (
        (share / "labextensions" / "@rayjup" / "lab", EXTENSION / "rayjup_lab" / "labextension"),
        (share / "kernels" / "rayjup", ROOT / "kernels" / "kernelspec"),
    ):
        link.parent.mkdir(parents=True)
        link.symlink_to(target)
    # No questions about news and updates over the pictures.
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    write_json(
        settings / "notification.jupyterlab-settings", {"fetchNews": "false", "checkForUpdates": False}
    )
    # All cells are in the page, whether they are to be seen or not.
    settings = home / "config" / "lab" / "user-settings" / "@jupyterlab" / "notebook-extension"
    write_json(settings / "tracker.jupyterlab-settings", {"windowingMode": "none"})
    work = home / "work"
    work.mkdir()
    return work


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A JupyterLab server on a free loopback port: its ``url``, ``token``, and directory ``work``."""
    work = set_up_home(tmp_path)
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    # For this process too: it looks at the same list of clusters.
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(runtime))
    token = secrets.token_hex(16)
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_PATH": str(tmp_path / "share"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_TOKEN": token,
    }
    # The other tests of this folder run without the configuration of the environment; a user does not.
    environment.pop("JUPYTER_NO_CONFIG", None)
    server = LabServer(environment, work, runtime, tmp_path / "lab.log")
    try:
        yield Lab(url=server.start(), token=token, work=str(work), server=server)
    finally:
        server.stop()
        for descriptor in descriptors.list_clusters():
            manager.stop(descriptor.cluster_id)


class Lab(TypedDict):
    """Where JupyterLab is, and the server itself."""

    url: str
    token: str
    work: str
    server: LabServer


class LabServer:
    """The process of JupyterLab; after `start` it may be started again on the same port."""

    def __init__(self, environment: dict[str, str], work: Path, runtime: Path, log: Path) -> None:
        self._environment, self._work, self._runtime, self._log = environment, work, runtime, log
        self._port = "0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Start it and wait; its address."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"),
                    *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self._port}"),
                    *(
                        f"--ServerApp.root_dir={self._work}",
                        "--ServerApp.jpserver_extensions={'rayjup_lab': True}",
                    ),
                ],
                env=self._environment,
                cwd=self._work,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        url = wait_for_url(self._process, self._runtime, self._log)
        self._port = url.removeprefix("http://127.0.0.1:").partition("/")[0]
        return url

    def stop(self) -> None:
        """End it, by force if it does not go."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def wait_for_url(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Where the server listens, from the file it writes about itself."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, f"JupyterLab ended with {server.returncode}:\n{log.read_text()[-4000:]}"
        # The file of another server is not its own; and it may be half written.
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            info = json.loads(Path(runtime, f"jpserver-{server.pid}.json").read_text())
            if info:
                return f"http://127.0.0.1:{info['port']}{info['base_url'].rstrip('/')}"
        time.sleep(0.05)
    pytest.fail(f"JupyterLab did not come up within 60 s:\n{log.read_text()[-4000:]}")
