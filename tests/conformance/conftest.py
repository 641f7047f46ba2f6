"""Conformance: the documented behaviour of Ray's core API, on Ray or on rayjup.

The tests import ``ray`` and nothing of an engine. ``RAYJUP_CONFORMANCE_ENGINE`` says which one that
is: ``rayjup`` (default) or ``ray``. Remote functions and classes are defined inside the tests, so that
they travel by value and no worker has to import a test module.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ENGINE = os.environ.get("RAYJUP_CONFORMANCE_ENGINE", "rayjup")
if ENGINE == "rayjup":
    import rayjup.as_ray  # noqa: F401 - from here on `import ray` means rayjup
elif ENGINE != "ray":
    raise ValueError(f"RAYJUP_CONFORMANCE_ENGINE is {ENGINE!r}; it must be 'ray' or 'rayjup'")


@pytest.fixture(scope="session")
def engine() -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        import ray

        return ray

    return load


@dataclass(frozen=True)
class Gate:
    """Lets a test hold remote code where it is: ``wait`` (sent to a worker) returns after ``open``."""

    wait: Callable[[], None]
    open: Callable[[], None]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return make_gate(tmp_path / "gate")


def make_gate(file: Path) -> Gate:
    path = str(file)

    def wait() -> None:
        deadline = time.monotonic() + 90
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise TimeoutError("the test did not open the gate within 90 s")
            time.sleep(0.005)

    return Gate(wait=wait, open=file.touch)


@pytest.fixture
def counted(tmp_path: Path) -> Callable[[], int]:
    """A function that counts its calls, whatever processes they come from; returns the new count."""
    path = str(tmp_path / "count")

    def count() -> int:
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
            return file.tell()

    return count


def gone(pid: int) -> bool:
    """Whether the process has ended (its parent may not have taken note of it yet)."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="session")
def ended(eventually: Callable[..., None]) -> Callable[[int], None]:
    """``ended(pid)``: wait for the end of a process."""
    return lambda pid: eventually(lambda: gone(pid))


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """``eventually(condition, timeout_s=30)``: poll until true, fail when the time is over."""

    def poll(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.02)

    return poll


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port nobody listens on, outside of the range from which the system gives ports away by itself.

    So nobody is given it between the choice and its use.
    """

    def choose() -> int:
        while True:
            port = random.SystemRandom().randrange(10_000, 32_768)
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            return port

    return choose
