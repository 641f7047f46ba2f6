"""Fixtures of the whole suite: a private place for the run, shared clusters, the leak check.

Only pytest and psutil have to be there: the conformance tests also run where rayjup is not installed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support import leaks

CHECKED = ("chaos", "cluster", "conformance", "docs", "extension", "libraries", "notebooks")
# Fixtures that keep a cluster from one test to the next: their tests are checked per file.
SHARING = {"ray_cluster"}


def pytest_configure(config: pytest.Config) -> None:
    """Give the run directories of its own, so that the user's clusters are neither seen nor touched."""
    # Short, because the path of a unix socket may have 107 bytes only.
    run_dir = Path(tempfile.mkdtemp(prefix="rjt-", dir="/tmp"))
    config.stash[RUN_DIR] = run_dir
    for variable, name in (
        ("JUPYTER_RUNTIME_DIR", "run"),
        ("TMPDIR", "tmp"),
        ("XDG_RUNTIME_DIR", "xdg"),
        ("RAYJUP_CACHE_DIR", "cache"),
    ):
        (run_dir / name).mkdir(mode=0o700)
        os.environ[variable] = str(run_dir / name)
    if importlib.util.find_spec("hypothesis") is not None:
        from hypothesis import HealthCheck, settings

        # How long an example takes says more about what else the machine does.
        settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("any machine")
    tempfile.tempdir = None  # forget the answer cached before TMPDIR was set
    os.environ[leaks.MARKER] = uuid.uuid4().hex
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that runs us in the background has it so; Python raises no KeyboardInterrupt then.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    run_dir = config.stash.get(RUN_DIR, None)
    if run_dir is not None:
        shutil.rmtree(run_dir, ignore_errors=True)


RUN_DIR = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def run_dir(pytestconfig: pytest.Config) -> Path:
    """The private directory of this test run."""
    return pytestconfig.stash[RUN_DIR]


def is_checked(request: pytest.FixtureRequest) -> bool:
    """True for tests of the checked folders, unless they run against Ray itself."""
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    return folder in CHECKED and os.environ.get("RAYJUP_CONFORMANCE_ENGINE") != "ray"


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_by_file(request: pytest.FixtureRequest, run_dir: Path) -> Iterator[None]:
    """Fail a file of tests whose shared cluster leaves something behind."""
    if not is_checked(request):
        yield
        return
    before = leaks.take(run_dir)
    yield
    left = leaks.wait_clean(before, run_dir)
    if left:
        pytest.fail(f"{request.path.name} left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def _nothing_left_by_test(request: pytest.FixtureRequest, run_dir: Path) -> Iterator[None]:
    """Fail a test with no shared cluster that leaves something behind."""
    passed_over = SHARING & set(request.fixturenames) or request.node.get_closest_marker("leaks")
    if passed_over or not is_checked(request):
        yield
        return
    before = leaks.take(run_dir)
    yield
    left = leaks.wait_clean(before, run_dir)
    if left:
        pytest.fail(f"{request.node.name} left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(scope="session")
def engine() -> Callable[[], ModuleType]:
    """Import and return the module under test (the conformance tests override this)."""

    def load() -> ModuleType:
        import rayjup

        return rayjup

    return load


@pytest.fixture(scope="module")
def ray_cluster(engine: Callable[[], ModuleType]) -> Iterator[ModuleType]:
    """A cluster of four CPUs shared by the tests of one file, made idle between them; the module."""
    module = engine()
    module.init(num_cpus=4)
    yield module
    module.shutdown()


@pytest.fixture(autouse=True)
def _same_import_path() -> Iterator[None]:
    """Programs whose ``main`` is called put directories first, where executors would look, too."""
    before = sys.path[:]
    yield
    sys.path[:] = before


@pytest.fixture(autouse=True)
def _idle_again(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test on the shared cluster: connected, and everything free; otherwise a new cluster."""
    if "ray_cluster" not in request.fixturenames:
        yield
        return
    module = request.getfixturevalue("ray_cluster")
    if not module.is_initialized():
        module.init(num_cpus=4)
    yield
    if module.is_initialized() and not becomes_idle(module, timeout_s=5.0):
        module.shutdown()


def becomes_idle(module: ModuleType, timeout_s: float) -> bool:
    """True as soon as every CPU of the cluster is free; False when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        total = module.cluster_resources().get("CPU", 0.0)
        if module.available_resources().get("CPU", 0.0) == total == 4.0:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
