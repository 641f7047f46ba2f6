"""``rayjup doctor``: what is wrong, or tight, on this machine."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psutil

from rayjup._version import __version__
from rayjup.base.paths import session_root
from rayjup.cluster import descriptors, manager

GOOD, TIGHT, WRONG = "ok", "tight", "wrong"
_SOCKET_ROOM = 60  # bytes of a socket's path below the session root
_EXTRAS = {
    "data": ("pandas", "polars"),
    "train": ("torch",),
    "tune": ("optuna",),
    "serve": ("starlette", "uvicorn"),
    "rllib": ("gymnasium",),
    "lab": ("jupyterlab",),
}

Finding = tuple[str, str, str]  # how it is, what, in which words


@click.command("doctor")
@click.option("--start/--no-start", "try_it", default=True, help="Also start a cluster and run a task on it.")
def doctor(try_it: bool) -> None:
    """Look for what keeps rayjup from working well here; exit code 1 when something is wrong."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        versions,
        shared_memory,
        limits,
        paths,
        leftovers,
        jupyter,
    ]
    if try_it:
        checks.append(a_cluster)
    worst = GOOD
    for check in checks:
        for state, what, text in check():
            mark = {GOOD: "✓", TIGHT: "!", WRONG: "✗"}[state]
            click.echo(f"{mark} {what}: {text}")
            worst = max(worst, state, key=(GOOD, TIGHT, WRONG).index)
    click.echo(
        {GOOD: "Nothing is wrong.", TIGHT: "It works; look at the lines with '!'."}.get(
            worst, "Mend the '✗'."
        )
    )
    if worst == WRONG:
        raise SystemExit(1)


def versions() -> Iterator[Finding]:
    """Python, rayjup, and which libraries can be used."""
    yield GOOD, "rayjup", f"{__version__} on Python {sys.version.split()[0]}, {sys.platform}"
    if not sys.platform.startswith("linux"):
        yield TIGHT, "platform", "rayjup is made for Linux; elsewhere parts are missing"
    for extra, packages in _EXTRAS.items():
        missing = [name for name in packages if not _installed(name)]
        if missing:
            yield TIGHT, extra, f"needs {', '.join(missing)}: pip install 'rayjup[{extra}]'"
        else:
            yield GOOD, extra, ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    if _installed("ray"):
        yield (
            TIGHT,
            "ray",
            "is installed as well; `import ray` is Ray unless rayjup.as_ray was imported before",
        )


def shared_memory(path: str = "/dev/shm") -> Iterator[Finding]:
    """Where objects lie."""
    if not os.path.isdir(path):
        yield TIGHT, "shared memory", f"there is no {path}: objects will lie in mapped files, which is slower"
        return
    usage = shutil.disk_usage(path)
    total = psutil.virtual_memory().total
    text = (
        f"{_gib(usage.free)} of {_gib(usage.total)} free in {path}; the machine has {_gib(total)} of memory"
    )
    if usage.total < 0.1 * total or usage.free < 256 * 2**20:
        yield TIGHT, "shared memory", f"{text}. Objects will lie in files (docker: --shm-size)"
    else:
        yield GOOD, "shared memory", text


def limits() -> Iterator[Finding]:
    """What the kernel allows one user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    state = GOOD if soft >= 4096 else TIGHT
    yield (
        state,
        "open files",
        f"{soft} (at most {hard})" + ("" if soft >= 4096 else "; raise it: ulimit -n 65536"),
    )
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    enough = processes in (-1, resource.RLIM_INFINITY) or processes >= 1024
    shown = "unlimited" if processes in (-1, resource.RLIM_INFINITY) else processes
    yield (GOOD if enough else TIGHT), "processes", f"{shown}" + ("" if enough else "; raise it: ulimit -u")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    state = GOOD if free > 2 * 2**30 else TIGHT
    yield state, "disk", f"{_gib(free)} free in {tempfile.gettempdir()}, for logs and spilled objects"


def paths() -> Iterator[Finding]:
    """Sockets have short names only, and lie where nobody else reads."""
    root = session_root()
    room = 107 - len(root) - _SOCKET_ROOM
    if room < 0:
        yield (
            WRONG,
            "paths",
            f"{root} is {-room} characters too long for sockets: set TMPDIR to a shorter directory",
        )
    else:
        yield GOOD, "paths", f"sessions in {root}"
    for directory in (Path(root), descriptors.runtime_dir()):
        if directory.exists() and directory.stat().st_uid != os.getuid():
            yield WRONG, "paths", f"{directory} belongs to somebody else: remove it or set TMPDIR"


def leftovers() -> Iterator[Finding]:
    """Clusters that run, and what dead ones left."""
    running = descriptors.list_clusters()
    yield GOOD, "clusters", ", ".join(each.name for each in running) or "none runs"
    root = Path(session_root())
    alive = {each.cluster_id for each in running}
    dead = [p.name for p in root.iterdir() if p.is_dir() and p.name not in alive] if root.is_dir() else []
    if dead:
        yield TIGHT, "leftovers", f"{len(dead)} session directories without a listed cluster in {root}"


def jupyter() -> Iterator[Finding]:
    """Whether the notebook side is there."""
    if not _installed("ipykernel"):
        yield TIGHT, "Jupyter", "ipykernel is missing: pip install 'rayjup[lab]'"
        return
    from jupyter_client.kernelspec import KernelSpecManager

    named = "rayjup" in KernelSpecManager().find_kernel_specs()
    yield (
        (GOOD if named else TIGHT),
        "Jupyter",
        "kernel registered" if named else "the rayjup kernel is not registered",
    )


def a_cluster() -> Iterator[Finding]:
    """Start one, run a task, stop it."""
    import rayjup

    started = time.perf_counter()
    cluster = manager.start(started_by="doctor", listed=True, num_cpus=1)
    try:
        rayjup.init(cluster.cluster_id, log_to_driver=False)
        answer = rayjup.get(rayjup.remote(_answer).remote(), timeout=20)
    finally:
        rayjup.shutdown()
        manager.stop(cluster)
    took = time.perf_counter() - started
    state = GOOD if answer == 42 else WRONG
    yield state, "a cluster", f"started, ran a task and stopped in {took:.1f} s"


def _answer() -> int:
    return 42


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
