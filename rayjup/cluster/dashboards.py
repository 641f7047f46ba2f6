"""Where the REST server of a cluster listens, and the token it wants to see.

The server writes both into a private file in the cluster's session directory; whoever may read that
may use the server. Elsewhere the token comes from RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH names, or
``~/.ray/auth_token``, as for Ray.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import descriptors
from rayjup.cluster.descriptors import Descriptor

DEFAULT_PORT = 8265
_START_S = 60.0


@dataclass(frozen=True)
class Server:
    """A REST server: its address, the token, the process, and the token before this one while that counts."""

    url: str
    token: str
    pid: int = 0
    older: str = ""
    until: float = 0.0


def write(session_dir: str, server: Server) -> None:
    """Let the user's other processes find the server (mode 0600, written at once)."""
    fd, new = tempfile.mkstemp(dir=session_dir, prefix=".dashboard-")
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(server), file)
    os.replace(new, Path(session_dir, "dashboard.json"))


def read(session_dir: str) -> Server | None:
    """The server of a cluster; None when none was started."""
    try:
        return Server(**json.loads(Path(session_dir, "dashboard.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def start(cluster: Descriptor, port: int | None = None, host: str = "127.0.0.1") -> Server:
    """The server of a cluster, started if there is none.

    Parameters
    ----------
    port
        None: 8265, or the next that is free.
    """
    running = read(cluster.session_dir)
    if running is not None:
        return running
    command = [sys.executable, "-m", "rayjup.dashboard", "--cluster", cluster.cluster_id, "--host", host]
    if port is not None:
        command += ["--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_START_S, check=False)
    running = read(cluster.session_dir)
    if running is None:
        raise RaySystemError(
            f"the dashboard of the cluster {cluster.name} did not start: "
            f"{done.stderr.strip()[-2000:] or 'no output'}"
        )
    return running


def renew_token(server: Server, grace_s: float | None) -> None:
    """Have a server take another token; the one it has ends after ``grace_s`` seconds.

    None: take no other one, but end the one before it.

    Raises
    ------
    ConnectionError
        It does not answer.
    """
    body = json.dumps({"grace_s": grace_s}).encode() if grace_s is not None else None
    method = "POST" if body is not None else "DELETE"
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/api/token", data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_START_S) as answer:
            answer.read()
    except OSError as error:
        raise ConnectionError(f"the dashboard at {server.url} takes no other token: {error}") from error


def find(address: str | None, *, may_start: bool = True) -> Server:
    """The server that is meant by an address.

    Parameters
    ----------
    address
        ``http://host:port``; or the name, id or address of a cluster of this user, whose server is
        started if need be; None: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or the only cluster.

    Raises
    ------
    ConnectionError
        There is no such cluster.
    """
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or None
    if address is None or not address.startswith(("http://", "https://")):
        cluster = descriptors.which(address)
        running = read(cluster.session_dir)
        if running is None and may_start:
            running = start(cluster)
        if running is None:
            raise ConnectionError(
                f"the cluster {cluster.name} has no dashboard; 'rayjup dashboard' starts it."
            )
        return running
    url = address.rstrip("/")
    where = urlsplit(url)
    clusters = descriptors.list_clusters()
    for cluster in clusters:
        running = read(cluster.session_dir)
        if running is not None and _same(running.url, url):
            return Server(url, running.token, running.pid)
    token = token_of_user()
    here = where.hostname in ("localhost", "127.0.0.1")
    if may_start and here and token is None and len(clusters) == 1 and read(clusters[0].session_dir) is None:
        return start(clusters[0], where.port or DEFAULT_PORT)
    return Server(url, token or "")


def token_of_user() -> str | None:
    """The token set by environment variable or file, as Ray looks for it."""
    token = os.environ.get("RAY_AUTH_TOKEN")
    if token:
        return token.strip()
    for path in (os.environ.get("RAY_AUTH_TOKEN_PATH"), os.path.expanduser("~/.ray/auth_token")):
        if path and os.path.isfile(path):
            return Path(path).read_text(encoding="utf-8").strip()
    return None


def _same(one: str, other: str) -> bool:
    a, b = urlsplit(one), urlsplit(other)
    local = ("localhost", "127.0.0.1", "::1")
    return a.port == b.port and (a.hostname == b.hostname or (a.hostname in local and b.hostname in local))
