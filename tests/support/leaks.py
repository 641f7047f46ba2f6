"""What a test may leave behind: nothing. A footprint is taken before and compared after.

Several test runs may share a machine, so only what belongs to this run counts: descendants of this
process, orphans that carry this run's marker in their environment or its directory in their command
line, and directories in /dev/shm unless their file ``owner`` names somebody else's living process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARKER = "RAYJUP_TEST_RUN"
SHM = Path("/dev/shm")
# The sampler of the leak check and pytest's own helpers have no name in common with rayjup; these
# two are started once per Python process by the standard library and live as long as it does.
STANDARD_LIBRARY_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@dataclass(frozen=True)
class Footprint:
    """Everything of this run that exists outside of this Python process."""

    processes: dict[tuple[int, float], str] = field(default_factory=dict)
    sockets: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def left_since(self, before: Footprint) -> list[str]:
        """One line for each thing that is here now and was not before."""
        lines = [
            f"process {key[0]}: {text}" for key, text in self.processes.items() if key not in before.processes
        ]
        lines += [f"listening socket {s}" for s in sorted(self.sockets - before.sockets)]
        lines += [f"file {f}" for f in sorted(self.files - before.files)]
        return lines


def take(run_dir: Path) -> Footprint:
    """The footprint of the test run whose private directory is ``run_dir``."""
    processes = own_processes(run_dir)
    files = shared_memory({key[0] for key in processes})
    # Descriptors, and session directories inside the one directory that is kept for them.
    files.update(str(p) for p in run_dir.glob("run/rayjup/*.json"))
    files.update(str(p) for p in run_dir.glob("tmp/rayjup*/*"))
    return Footprint(
        processes=processes,
        sockets=frozenset(listening(os.getpid())) | frozenset(unix_listening(run_dir)),
        files=frozenset(files),
    )


def wait_clean(before: Footprint, run_dir: Path, timeout_s: float = 20.0) -> list[str]:
    """What is left of a test when ``timeout_s`` has passed; empty as soon as nothing is."""
    return poll(lambda: take(run_dir).left_since(before), timeout_s)


def poll(look: Callable[[], list[str]], timeout_s: float) -> list[str]:
    """Call ``look`` until it returns nothing or the time is over; the last answer."""
    deadline = time.monotonic() + timeout_s
    pause = 0.01
    while True:
        left = look()
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(pause)
        pause = min(pause * 2, 0.2)


def own_processes(run_dir: Path) -> dict[tuple[int, float], str]:
    """All processes of this run but this one: (pid, start time) -> command line."""
    me = psutil.Process()
    found: dict[tuple[int, float], str] = {}
    family = {p.pid for p in me.children(recursive=True)}
    marker = f"{MARKER}={os.environ.get(MARKER, '')}".encode()
    for process in psutil.process_iter():
        if process.pid == me.pid:
            continue
        try:
            mine = process.pid in family or carries(process, run_dir, marker)
            if not mine or process.status() == psutil.STATUS_ZOMBIE:
                continue
            command = " ".join(process.cmdline()) or process.name()
            if not any(helper in command for helper in STANDARD_LIBRARY_HELPERS):
                found[process.pid, process.create_time()] = command
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def carries(process: psutil.Process, run_dir: Path, marker: bytes) -> bool:
    """True for a process that is not a descendant any more but was started by this run."""
    if str(run_dir) in " ".join(process.cmdline()):
        return True
    try:
        return marker in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def listening(pid: int) -> set[str]:
    """Addresses on which process ``pid`` listens with TCP."""
    try:
        connections = psutil.Process(pid).net_connections(kind="inet")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return set()
    return {f"{c.laddr.ip}:{c.laddr.port} of {pid}" for c in connections if c.status == psutil.CONN_LISTEN}


def unix_listening(run_dir: Path) -> set[str]:
    """Paths of listening unix sockets inside ``run_dir`` (Linux)."""
    try:
        lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    except FileNotFoundError:
        return set()
    found = set()
    for line in lines:
        columns = line.split(None, 7)
        accepts = len(columns) == 8 and int(columns[3], 16) & 0x10000
        if accepts and str(run_dir) in columns[7]:
            found.add(columns[7])
    return found


def shared_memory(own_pids: set[int]) -> set[str]:
    """Entries ``rayjup*`` of /dev/shm, without those of living processes of other runs."""
    found = set()
    for path in SHM.glob("rayjup*"):
        try:
            owner = int((path / "owner").read_text())
        except (OSError, ValueError):
            owner = 0  # not a directory, or nobody's: somebody has to answer for it
        if owner in own_pids or owner == os.getpid() or not psutil.pid_exists(owner) or owner == 0:
            found.add(str(path))
    return found
