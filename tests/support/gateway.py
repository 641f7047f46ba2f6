"""A server of dask-gateway, as somebody would run it, whose clusters are processes of this machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.clusters import poll
from support.machines import LONG
from support.ports import quiet_port

_CONFIG = """
import sys
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = "open sesame"
c.DaskGateway.address = "127.0.0.1:{private}"
c.Proxy.address = c.Proxy.tcp_address = "127.0.0.1:{public}"
# Dask has no commands of these names any more.
dask = [sys.executable, "-m", "dask"]
c.ClusterConfig.scheduler_cmd = [*dask, "scheduler"]
c.ClusterConfig.worker_cmd = [*dask, "worker", "--no-nanny", "--resources", "CPU=2 pods=1"]
c.ClusterConfig.environment = {environ!r}
c.LocalBackend.clusters_directory = {directory!r}
"""


def why_not() -> str:
    """Why no gateway can run here; empty where one can."""
    if os.environ.get(LONG) != "1":
        return f"it takes long: 'make clusters' runs it ({LONG}=1)"
    for package in ("dask_gateway", "dask_gateway_server"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: pip install 'rayjup[gateway]' dask-gateway-server"
    return ""


@contextmanager
def server(directory: Path, environ: dict[str, str]) -> Iterator[dict[str, str]]:
    """A gateway; what its users have in their environment. ``environ``: of its clusters' processes."""
    private, public = quiet_port("127.0.0.1"), quiet_port("127.0.0.1")
    names = ("PYTHONPATH", "TMPDIR", "JUPYTER_RUNTIME_DIR", "RAYJUP_CACHE_DIR")
    given = {name: os.environ[name] for name in names if name in os.environ}
    config = directory / "gateway.py"
    config.write_text(
        _CONFIG.format(
            private=private,
            public=public,
            environ={**given, **environ},
            directory=str(directory / "clusters"),
        )
    )
    with (directory / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask_gateway_server", "-f", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
        )

    def answers() -> bool:
        assert process.poll() is None, (directory / "gateway.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{public}/api/health", timeout=5):
                return True
        except OSError:  # nobody listens, or who does hangs up: it is coming up
            return False

    try:
        poll(answers, 60)
        yield {
            "DASK_GATEWAY__ADDRESS": f"http://127.0.0.1:{public}",
            "DASK_GATEWAY__AUTH__TYPE": "basic",
            "DASK_GATEWAY__AUTH__KWARGS__USERNAME": "me",
            "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": "open sesame",
        }
    finally:
        process.terminate()  # it ends its clusters
        process.wait(60)
