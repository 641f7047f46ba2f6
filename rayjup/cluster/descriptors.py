"""Cluster descriptors: one small private JSON file per running cluster.

A descriptor is how notebook, shell, side panel and command line see the same list of clusters,
and how a restarted kernel finds the cluster it had. The files lie in the Jupyter runtime
directory, are readable by their owner only (mode 0600) and are written atomically.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

DESCRIPTOR_VERSION = 1


@dataclass
class Descriptor:
    """What one needs to know to join, watch or stop a cluster.

    Times are seconds since the epoch. ``address`` is the Dask scheduler's address
    (``unix://…`` for a local cluster), ``agent_socket`` the path of the unix socket of a node
    agent on this machine, through which drivers and observers talk to the cluster.
    """

    cluster_id: str
    name: str
    address: str
    session_dir: str
    agent_socket: str
    head_pid: int
    head_start_time: float = 0.0
    created: float = 0.0
    started_by: str = "python"
    linger_s: float | None = None
    python: str = ""
    rayjup: str = ""
    version: int = DESCRIPTOR_VERSION
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return runtime_dir() / f"{self.cluster_id}.json"

    @property
    def names(self) -> tuple[str, ...]:
        """By what it may be meant."""
        return (
            *(self.name, self.cluster_id, self.address, self.agent_socket, self.session_dir),
            *self.extra.get("addresses", ()),
        )

    @property
    def network(self) -> str | None:
        """Host and port by which other machines reach the cluster; None: they don't."""
        addresses = self.extra.get("addresses")
        return addresses[0] if addresses else None

    @property
    def credentials(self) -> str | None:
        """The file that lets other machines in; None where there are none."""
        return self.extra.get("credentials")

    def is_alive(self) -> bool:
        """True while the head runs, or the node that starts another one (a recycled pid does not count)."""
        if process_start_time(self.head_pid) == self.head_start_time != 0.0:
            return True
        first = self.extra.get("node_start_time", 0.0)
        return bool(first and process_start_time(int(self.extra["node_pid"])) == first)

    def head(self) -> tuple[int, float]:
        """Pid and start time of the head; another one than is named here where that has ended."""
        return read_head(self.session_dir) or (self.head_pid, self.head_start_time)

    def write(self) -> None:
        """Write the file atomically with mode 0600."""
        directory = runtime_dir()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd, tmp = tempfile.mkstemp(dir=directory, prefix=".", suffix=".tmp")
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
        os.replace(tmp, self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def note_head(session_dir: str, pid: int) -> float:
    """Write down which process is the head of a cluster; its start time."""
    started = process_start_time(pid)
    path = Path(session_dir, "head")
    new = path.with_suffix(".new")
    new.write_text(f"{pid} {started}", encoding="ascii")
    os.replace(new, path)
    return started


def read_head(session_dir: str) -> tuple[int, float] | None:
    """Pid and start time of the head of a cluster, as far as they are written down."""
    try:
        pid, started = Path(session_dir, "head").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return None
    return int(pid), float(started)


def runtime_dir() -> Path:
    """The directory that holds the descriptors (inside Jupyter's runtime directory)."""
    base = os.environ.get("JUPYTER_RUNTIME_DIR")
    if not base:
        data = os.environ.get("JUPYTER_DATA_DIR")
        if not data:
            if sys.platform == "darwin":
                data = str(Path.home() / "Library" / "Jupyter")
            else:
                share = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
                data = str(Path(share) / "jupyter")
        base = str(Path(data) / "runtime")
    return Path(base) / "rayjup"


def read(path: Path) -> Descriptor | None:
    """The descriptor in ``path``; None when it vanished meanwhile or is not one of ours."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(raw, dict) or raw.get("version") != DESCRIPTOR_VERSION:
        return None
    known = {f.name for f in fields(Descriptor)}
    needed = {f.name for f in fields(Descriptor) if f.default is MISSING and f.default_factory is MISSING}
    if not needed <= set(raw):
        return None
    return Descriptor(**{k: v for k, v in raw.items() if k in known})


def list_clusters(prune: bool = True) -> list[Descriptor]:
    """All live clusters of this user, oldest first; files of dead ones are removed if ``prune``."""
    found = []
    for path in runtime_dir().glob("*.json"):
        descriptor = read(path)
        if descriptor is None:
            continue
        if descriptor.is_alive():
            found.append(descriptor)
        elif prune:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda d: (d.created, d.cluster_id))


def find(name_or_id: str) -> Descriptor | None:
    """The live cluster with this id, or the newest one with this name."""
    match = None
    for descriptor in list_clusters():
        if name_or_id in (descriptor.cluster_id, descriptor.name):
            match = descriptor
    return match


def which(address: str | None = None) -> Descriptor:
    """The live cluster that is meant by a name, an id or an address.

    Without one: what RAYJUP_ADDRESS or RAY_ADDRESS says, or the only one there is. ``"auto"`` is
    the newest.

    Raises
    ------
    ConnectionError
        There is none, or there are several.
    """
    clusters = list_clusters()
    given = address or os.environ.get("RAYJUP_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if given == "auto" and clusters:
        return clusters[-1]
    if given and given != "auto":
        for cluster in reversed(clusters):
            if given in cluster.names:
                return cluster
        known = ", ".join(c.name for c in clusters) or "none"
        raise ConnectionError(
            f"there is no running cluster {given!r} (running: {known}). Give the name, id or address of one."
        )
    if len(clusters) == 1:
        return clusters[0]
    if not clusters:
        raise ConnectionError(
            "there is no running cluster to ask. Call rayjup.init() first, or give the address of one."
        )
    raise ConnectionError(
        f"several clusters are running ({', '.join(c.name for c in clusters)}): say by address=… which one "
        "is meant."
    )


def process_start_time(pid: int) -> float:
    """When process ``pid`` started (clock ticks since boot on Linux, epoch seconds elsewhere).

    0.0 when there is no such process. Together with the pid it names a process uniquely.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        after_name = stat[stat.rindex(b")") + 2 :].split()
        if after_name[0] in (b"Z", b"X"):
            return 0.0
        return float(after_name[19])
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0
